"""Encrypted contents: read with the key only; listed, completed and verified without it."""

from dataclasses import replace

import pytest

from interlock.core.errors import RecordingError
from interlock.domain.container import (
    KEYS_SIZE,
    PREAMBLE_SIZE,
    BlockBuilder,
    Chain,
    ContentKey,
    Decoder,
    FreshKey,
    Held,
    Standing,
    decode,
    keys_block,
    opened_for_player,
    verify,
)
from interlock.domain.recording import FrameKind, Header, Output
from interlock.domain.session import Exit
from interlock.domain.survey import describe, survey
from interlock.testing.recordings import AUTHORITY, CONTENT, SALT, SID, Made, made, signer

LOCKED = made([b"secret %d" % number for number in range(5)], by=signer(), content=CONTENT)
PLAIN = made([b"secret %d" % number for number in range(5)], by=signer())


def unlock(wrapped: bytes) -> bytes:
    """An identity that is a recipient."""
    assert wrapped == CONTENT.wrapped
    return CONTENT.key


def output(recording: Made | bytes, **options: object) -> bytes:
    """All that it shows."""
    data = recording if isinstance(recording, bytes) else recording.data
    frames = decode([data], **options)  # type: ignore[arg-type]
    return b"".join(frame.body.data for frame in frames if isinstance(frame.body, Output))


def test_who_has_the_key_reads_what_others_would_without_encryption() -> None:
    """Frame by frame; nothing of what was shown stands in the file."""
    assert list(decode([LOCKED.data], unlock)) == list(decode([PLAIN.data]))
    assert b"secret 3" in PLAIN.data
    assert b"secret" not in LOCKED.data


def test_without_a_key_the_refusal_says_what_is_needed() -> None:
    """Not an empty recording, and not damage."""
    with pytest.raises(RecordingError, match="the recording is encrypted: give the identity"):
        output(LOCKED)


def test_the_wrong_key_is_no_damage_either() -> None:
    """Each block is authenticated."""
    with pytest.raises(RecordingError, match="its key does not fit"):
        output(LOCKED, unlock=lambda _wrapped: bytes(32))


def test_what_the_audit_log_says_needs_no_key() -> None:
    """Whose it was, how long it took and how it ended: recovery and lists need nothing else."""
    found, plain = survey([LOCKED.data]), survey([PLAIN.data])
    assert found.header == plain.header
    assert (found.exit, found.last, found.coverage) == (Exit(status=0), plain.last, plain.coverage)
    assert (found.lost, found.closed) == (0, True)
    assert describe([LOCKED.data], LOCKED.data[-4096:]) == describe([PLAIN.data], PLAIN.data[-4096:])


def test_a_part_is_as_long_as_its_last_block_says() -> None:
    """Of a recorder that died, whose output nobody here can read."""
    assert survey([b"".join(LOCKED.blocks[:7])]).last == survey([b"".join(PLAIN.blocks[:6])]).last == 3_000_000


def test_verifying_needs_no_key() -> None:
    """Hashes and signatures are over what is in the file."""
    found = verify([LOCKED.data], [AUTHORITY.public], sid=SID)
    assert (found.standing, found.encrypted, found.problem) == (Standing.SIGNED, True, None)
    assert not verify([PLAIN.data], [AUTHORITY.public], sid=SID).encrypted


def test_a_block_at_another_place_is_not_decrypted() -> None:
    """Its place is part of what is authenticated, so who can make checksums gains nothing."""
    chain = Chain.begin(SALT, ContentKey(CONTENT.key))
    builder = BlockBuilder(SALT, chain=chain)
    builder.add(FrameKind.STDOUT, 5, b"secret")
    builder.take()
    builder.add(FrameKind.STDOUT, 5, b"secret")
    second = builder.take()
    [*_] = decoder_of(second)
    moved = bytearray(second)
    moved[13] = 7  # its number
    chain.number = 7
    forged = chain.add(bytes(moved[:66]), bytes(moved[66:]))
    with pytest.raises(RecordingError, match="does not fit"):
        decoder_of(forged)


def decoder_of(block: bytes) -> list[object]:
    """What a reader makes of a block of this recording."""
    return list(Decoder.inside(2, SALT, key=ContentKey(CONTENT.key)).feed(block))


def test_no_two_blocks_are_encrypted_alike() -> None:
    """The same output at the same moment, in two blocks and in two recordings."""
    bodies = set()
    for salt in (b"saltsalt", b"othersal"):
        builder = BlockBuilder(salt, chain=Chain.begin(salt, ContentKey(salt * 4)))
        for _ in range(3):
            builder.add(FrameKind.STDOUT, 5, b"secret")
            bodies.add(builder.take()[66:])
    assert len(bodies) == 6


def test_a_recording_is_handed_to_a_player_with_its_key_in_the_open() -> None:
    """It plays and verifies, and nothing else of it is different."""
    handed = opened_for_player(LOCKED.data[: LOCKED.offset(2)], unlock) + LOCKED.data[LOCKED.offset(2) :]
    assert output(handed) == output(PLAIN)
    assert verify([handed], [AUTHORITY.public], sid=SID).standing is Standing.SIGNED
    assert handed[PREAMBLE_SIZE + KEYS_SIZE :] == LOCKED.data[PREAMBLE_SIZE + KEYS_SIZE :]
    assert opened_for_player(PLAIN.data, unlock) == PLAIN.data


def test_the_keys_block_is_always_of_one_size() -> None:
    """However many recipients; too many are refused."""
    sizes = {len(keys_block(SALT, Held.AGE, bytes(size))) for size in (0, 200, 4027)}
    assert sizes == {KEYS_SIZE}
    with pytest.raises(RecordingError, match="too many recipients"):
        keys_block(SALT, Held.AGE, bytes(4028))


def test_a_keys_block_of_another_recording_is_noticed() -> None:
    """It is missing, or its checksum has another salt in it."""
    other = made(by=signer(), content=FreshKey(bytes(32), b"another"), salt=b"othersal")
    data = b"".join((LOCKED.blocks[0], other.blocks[1], *LOCKED.blocks[2:]))
    found = verify([data], [AUTHORITY.public], sid=SID)
    assert found.problem is not None
    assert found.problem.offset == PREAMBLE_SIZE
    header = next(decode([LOCKED.data], unlock)).body
    assert isinstance(header, Header)
    assert replace(header, user="") != header
