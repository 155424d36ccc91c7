"""A target that breaks the protocol: the person learns of it, the audit log learns why, nothing is left."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from interlock.core import negotiation, wire
from interlock.core.messages import Open, channel_message, channel_request, open_failure
from interlock.core.wire import string, uint32
from interlock.domain.target import SubKind
from interlock.testing.hostile import Gone, HostKey, RawSsh, Script, raw_server
from interlock.testing.ssh_pair import Gateway

SID = b"11111111-2222-4333-8444-000000000001"
OTHER_SID = b"11111111-2222-4333-8444-000000000002"
NUMBER = 7
"""The target's number of the client's channel."""

Act = Callable[[RawSsh, Open], Awaitable[None]]


def confirm(opened: Open, number: int = NUMBER) -> bytes:
    """The target accepts."""
    fields = uint32(opened.sender) + uint32(number) + uint32(1 << 20) + uint32(32768)
    return bytes([wire.CHANNEL_OPEN_CONFIRMATION]) + fields


def announce(opened: Open, sid: bytes = SID) -> bytes:
    """The target names the session."""
    return channel_request(opened.sender, b"current-session-id@goteleport.com", data=sid)


def data(recipient: int, content: bytes) -> bytes:
    """CHANNEL_DATA."""
    return bytes([wire.CHANNEL_DATA]) + uint32(recipient) + string(content)


def open_session(number: int = 0, kind: bytes = b"session") -> bytes:
    """CHANNEL_OPEN."""
    return bytes([wire.CHANNEL_OPEN]) + string(kind) + uint32(number) + uint32(1 << 20) + uint32(32768)


async def as_node(peer: RawSsh) -> Open:
    """Behave up to the client's channel open."""
    await peer.admit()
    await peer.expect(wire.GLOBAL_REQUEST)
    peer.send(bytes([wire.REQUEST_SUCCESS]))
    return Open.decode(await peer.expect(wire.CHANNEL_OPEN))


def then(act: Act) -> Script:
    """A node that behaves until the open, does this, and then listens."""

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        await act(peer, opened)
        await peer.wait_gone()

    return script


def says(*messages: Callable[[Open], bytes]) -> Act:
    """Sends these."""

    async def act(peer: RawSsh, opened: Open) -> None:
        for message in messages:
            peer.send(message(opened))

    return act


async def ask(world: Gateway, name: str = "evil1") -> str:
    """Open a session as a person would; the text that their client shows."""
    async with await world.raw_client(name) as client:
        client.send(open_session())
        try:
            answer = await client.expect(wire.CHANNEL_OPEN_FAILURE)
        except Gone as gone:
            return str(gone)
        reader = wire.Reader(answer[9:])
        return reader.text()


async def refused(world: Gateway, script: Script, *, kind: SubKind = SubKind.NODE) -> tuple[str, str]:
    """What the person and the audit log learn of a target that gets nowhere."""
    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=kind)
        shown = await ask(world)
    await world.wait_clean()
    events = await world.events("session.rejected")
    assert len(events) == 1, events
    assert events[0]["user"] == "alice"
    assert events[0]["server_hostname"] == "evil1"
    assert not await world.events("session.start")
    return shown, str(events[0]["reason"])


@dataclass(frozen=True, slots=True)
class Offence:
    """What a target does when a session is opened, and the words that must be found."""

    act: Act
    shown: str
    reason: str


async def vanish(peer: RawSsh, opened: Open) -> None:
    """Drop the connection."""
    del opened
    await peer.close()


async def bad_mac(peer: RawSsh, opened: Open) -> None:
    """A packet with one bit changed."""
    packet = bytearray(peer.packet(confirm(opened)))
    packet[-1] ^= 1
    peer.write(bytes(packet))


def sealed(content: bytes) -> Act:
    """A packet whose inside is malformed."""

    async def act(peer: RawSsh, opened: Open) -> None:
        del opened
        peer.write(peer.sealed(content))

    return act


def raw(content: bytes) -> Act:
    """Bytes that are no packet."""

    async def act(peer: RawSsh, opened: Open) -> None:
        del opened
        peer.write(content)

    return act


VIOLATED = "the target violated the SSH protocol: "
UNKNOWN = "a message names a channel that is not open"

BEFORE_THE_ID = {
    "an ID that is not a UUID": Offence(
        says(confirm, lambda o: announce(o, b"../../etc/passwd")), negotiation.NO_SESSION_ID, "not a session ID"
    ),
    "closes before the ID": Offence(
        says(confirm, lambda o: channel_message(wire.CHANNEL_CLOSE, o.sender)),
        negotiation.NO_SESSION_ID,
        "closed the channel before its ID",
    ),
    "refuses": Offence(
        says(lambda o: open_failure(o.sender, 4, "no room today")), "no room today", "code 4: no room today"
    ),
    "EOF before the ID": Offence(
        says(confirm, lambda o: channel_message(wire.CHANNEL_EOF, o.sender)), VIOLATED, "EOF before the session ID"
    ),
    "data before the confirmation": Offence(says(lambda o: data(o.sender, b"x")), VIOLATED + UNKNOWN, "channel 0"),
    "data before the ID": Offence(
        says(confirm, lambda o: data(o.sender, b"x")), VIOLATED, "data while NEGOTIATING"
    ),
    "data on an unknown channel": Offence(
        says(confirm, lambda _: data(99, b"x")), VIOLATED + UNKNOWN, "channel 99"
    ),
    "a confirmation of what nobody opened": Offence(
        says(lambda _: bytes([91]) + uint32(99) + uint32(1) * 3), VIOLATED + UNKNOWN, "open of channel 99"
    ),
    "two confirmations": Offence(says(confirm, confirm), VIOLATED + UNKNOWN, "open of channel 0"),
    "an unsolicited global reply": Offence(
        says(lambda _: bytes([wire.REQUEST_SUCCESS])), VIOLATED, "a reply to a request that was never made"
    ),
    "a cut message": Offence(says(lambda _: bytes([91, 0, 0])), VIOLATED, "a message could not be decoded"),
    "a goodbye": Offence(
        says(lambda _: bytes([1]) + uint32(2) + string("too many users") + string("")),
        "the target closed the connection: too many users",
        "too many users",
    ),
    "a malformed goodbye": Offence(says(lambda _: bytes([1, 0])), VIOLATED, "a message could not be decoded"),
    "vanishes": Offence(vanish, "the target closed the connection", "connection to the target was lost"),
    "a bad MAC": Offence(bad_mac, VIOLATED, "a packet failed its integrity check"),
    "a packet of 4 GiB": Offence(raw(b"\xff" * 64), VIOLATED, "packet_length 4294967295"),
    "a packet of nothing": Offence(sealed(b""), VIOLATED, "packet_length 0"),
    "a misaligned packet": Offence(sealed(bytes([4]) + bytes(32)), VIOLATED, "packet_length 33"),
    "a packet that is all padding": Offence(sealed(bytes([15]) + bytes([94]) * 15), VIOLATED, "padding"),
    "more padding than packet": Offence(sealed(bytes([200]) + bytes([97]) * 15), VIOLATED, "padding"),
    "less padding than allowed": Offence(sealed(bytes([3, 2]) + bytes(14)), VIOLATED, "padding"),
    "NEWKEYS out of the blue": Offence(
        says(lambda _: bytes([wire.NEWKEYS])), VIOLATED, "not allowed in this state"
    ),
    "half a key exchange": Offence(
        says(lambda _: bytes([31]) + string(b"x") * 3), VIOLATED, "without a key exchange"
    ),
    "a broken KEXINIT": Offence(
        says(lambda _: bytes([wire.KEXINIT]) + bytes(20)), VIOLATED, "not allowed in this state"
    ),
}


@pytest.mark.parametrize("name", BEFORE_THE_ID)
async def test_offence_before_the_id(world: Gateway, name: str) -> None:
    """The client's channel is refused, or its connection ended, in words; the reason is in the audit log."""
    offence = BEFORE_THE_ID[name]
    shown, reason = await refused(world, then(offence.act))
    assert offence.shown in shown
    assert offence.reason in reason
