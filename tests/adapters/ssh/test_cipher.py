"""Packet ciphers against asyncssh's own, in both directions; nothing but whole, genuine packets passes."""

import itertools
import os
from collections.abc import Callable

import pytest
from asyncssh.encryption import Encryption, get_encryption, get_encryption_params
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.ssh.algorithms import ALL_CIPHERS, MACS
from interlock.adapters.ssh.cipher import GcmCipher, PacketCipher, make_cipher
from interlock.adapters.ssh.seams.keys import Keys
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PACKET

SEQ = 0xFFFFFFFD
"""So that the sequence number wraps during a test."""


class Suite:
    """One cipher and MAC with fixed keys: as often as wanted, asyncssh's object and ours."""

    def __init__(self, cipher: str, mac: str) -> None:
        self.names = cipher.encode(), mac.encode()
        key_size, iv_size, block, mac_key_size, mac_size, etm = get_encryption_params(*self.names)
        self.key, self.iv, self.mac_key = os.urandom(key_size), os.urandom(iv_size), os.urandom(mac_key_size)
        self.block, self.mac_size, self.etm = max(8, block), mac_size, etm

    def library(self) -> Encryption:
        """A fresh object of asyncssh's."""
        return get_encryption(self.names[0], self.key, self.iv, self.names[1], self.mac_key, self.etm)

    def ours(self, seq: int = SEQ) -> PacketCipher:
        """A fresh cipher of ours, with the same keys."""
        name = self.names[0]
        aead = (self.key, self.iv) if b"gcm" in name else None
        header = 1 if self.etm else 5
        chacha = self.key if b"chacha" in name else b""
        keys = Keys(self.library(), self.block, header, self.mac_size, aead, chacha, strict=False)
        return make_cipher(keys, seq)

    def packet(self, payload: bytes, encryption: Encryption, seq: int = SEQ) -> bytes:
        """A packet as asyncssh would send it."""
        head = 1 if self.etm else 5
        padding = -(head + len(payload)) % self.block
        padding += self.block if padding < 4 else 0
        return self.raw(bytes([padding]) + payload + os.urandom(padding), encryption, seq)

    def raw(self, plain: bytes, encryption: Encryption, seq: int = SEQ) -> bytes:
        """A packet around any content."""
        sealed, tag = encryption.encrypt_packet(seq, len(plain).to_bytes(4, "big"), plain)
        return sealed + tag

    def unpack(self, packet: bytes, encryption: Encryption, seq: int) -> bytes:
        """The payload, as asyncssh would read it."""
        first, length = encryption.decrypt_header(seq, packet[: self.block], 4)
        end = 4 + int.from_bytes(length, "big")
        assert len(packet) == end + self.mac_size
        plain = encryption.decrypt_packet(seq, first, packet[self.block : end], 4, packet[end:])
        assert plain
        return plain[1 : -plain[0]]


def suites() -> list[tuple[str, str]]:
    """Every pair that can be negotiated."""
    with_mac = [cipher for cipher in ALL_CIPHERS if cipher.endswith("ctr")]
    without = [(cipher, "") for cipher in ALL_CIPHERS if not cipher.endswith("ctr")]
    return [*without, *itertools.product(with_mac, MACS)]


@pytest.fixture(params=suites(), ids="-".join)
def suite(request: pytest.FixtureRequest) -> Suite:
    """Each in turn."""
    return Suite(*request.param)


def opened(cipher: PacketCipher, data: bytes) -> tuple[int, bytes]:
    """Where the packet at offset 5 of a larger buffer ends, and its payload."""
    buffer = memoryview(bytearray(b"12345" + data + b"behind"))
    after = cipher.open(buffer, 5, 5 + len(data))
    if not after:
        return 0, b""
    length = int.from_bytes(buffer[5:9], "big")
    assert bytes(buffer[:5]) == b"12345"
    return after - 5, bytes(buffer[10 : 9 + length - buffer[9]])


SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 100, 32_768, 200_000]


def test_reads_what_asyncssh_writes(suite: Suite) -> None:
    """Every packet of a sequence that wraps around, to the byte."""
    theirs, ours = suite.library(), suite.ours()
    for n, size in enumerate(SIZES):
        payload = os.urandom(size)
        packet = suite.packet(payload, theirs, (SEQ + n) & 0xFFFFFFFF)
        assert opened(ours, packet) == (len(packet), payload)
    assert ours.seq == (SEQ + len(SIZES)) & 0xFFFFFFFF


def test_writes_what_asyncssh_reads(suite: Suite) -> None:
    """The same the other way round."""
    theirs, ours = suite.library(), suite.ours()
    for n, size in enumerate(SIZES):
        payload = os.urandom(size)
        assert suite.unpack(ours.frame(payload), theirs, (SEQ + n) & 0xFFFFFFFF) == payload


def test_seals_in_place_what_it_opened(suite: Suite) -> None:
    """A packet of one leg becomes one of the other in the same bytes, if both frame alike."""
    if not suite.ours().family:
        return
    left, right = suite, Suite(suite.names[0].decode(), suite.names[1].decode())
    writer, opener, sealer, reader = left.library(), left.ours(), right.ours(7), right.library()
    for n, size in enumerate(SIZES):
        payload = os.urandom(size)
        buffer = bytearray(left.packet(payload, writer, (SEQ + n) & 0xFFFFFFFF))
        view = memoryview(buffer)
        after = opener.open(view, 0, len(buffer))
        sealer.seal(view, 0, after)
        assert after == len(buffer)
        assert right.unpack(bytes(buffer), reader, 7 + n) == payload


def test_incomplete_packets_at_every_length(suite: Suite) -> None:
    """Until the last byte is there nothing happens, however often it is tried."""
    ours = suite.ours()
    packet = suite.packet(b"payload" * 5, suite.library())
    for size in range(len(packet)):
        assert opened(ours, packet[:size]) == (0, b"")
    assert opened(ours, packet) == (len(packet), b"payload" * 5)


def test_every_flipped_bit_is_found(suite: Suite) -> None:
    """Wherever it is: in length, content or tag."""
    packet = suite.packet(b"payload", suite.library())
    for at in range(len(packet)):
        damaged = bytearray(packet)
        damaged[at] ^= 0x10
        # A damaged length may ask for more bytes than there are: then they come.
        with pytest.raises(RemoteProtocolError) as caught:
            opened(suite.ours(), bytes(damaged) + bytes(MAX_PACKET + 64))
        assert caught.value.rule in {Rule.BAD_MAC, Rule.OVERSIZED_PACKET}


def lengths(suite: Suite) -> list[int]:
    """Sizes of content that no packet may have."""
    head = 0 if suite.etm else 4
    fits = suite.block * 3 - head
    return [0, 1, fits - 1, fits + 1, fits + 4, MAX_PACKET + suite.block - head]


@pytest.mark.parametrize("which", range(6))
def test_genuine_packets_of_impossible_length(suite: Suite, which: int) -> None:
    """The tag does not make them acceptable: empty, not padded to blocks, too long."""
    size = lengths(suite)[which]
    packet = suite.raw(bytes([4]) + bytes(max(size - 1, 0)) if size else b"", suite.library())
    with pytest.raises(RemoteProtocolError) as caught:
        opened(suite.ours(), packet + bytes(64))
    assert caught.value.rule is Rule.OVERSIZED_PACKET


def test_announced_lengths_are_judged_before_their_bytes_are_there() -> None:
    """4 GiB are refused at the fourth byte, not waited for."""
    cipher = GcmCipher(bytes(16), bytes(12), 0)
    for length in (0, 1, 15, 17, MAX_PACKET + 16, 0xFFFFFFFF):
        with pytest.raises(RemoteProtocolError, match="longer than allowed"):
            cipher.open(memoryview(bytearray(length.to_bytes(4, "big"))), 0, 4)


@given(
    st.sampled_from(suites()),
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    st.lists(st.integers(1, 200)),
)
def test_result_does_not_depend_on_how_bytes_arrive(
    names: tuple[str, str], payloads: list[bytes], cuts: list[int]
) -> None:
    """Any stream of packets gives the same payloads, in whatever pieces it is read."""
    suite = Suite(*names)
    theirs = suite.library()
    stream = b"".join(suite.packet(p, theirs, (SEQ + n) & 0xFFFFFFFF) for n, p in enumerate(payloads))
    assert read_in_pieces(suite.ours(), stream, cuts) == payloads


def read_in_pieces(cipher: PacketCipher, stream: bytes, cuts: list[int]) -> list[bytes]:
    """What a leg does with a socket."""
    got: list[bytes] = []
    waiting = b""
    sizes: Callable[[], int] = iter([*cuts, *[len(stream)] * 2]).__next__
    at = 0
    while at < len(stream):
        size = sizes()
        waiting, at = waiting + stream[at : at + size], at + size
        while True:
            after, payload = opened(cipher, waiting)
            if not after:
                break
            got.append(payload)
            waiting = waiting[after:]
    return got
