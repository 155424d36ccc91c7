"""What scripted targets and clients say, and what to look at when one of them offends.

That is: the words that the person sees, and the reason in the audit log.
"""

from collections.abc import Awaitable, Callable

from interlock.core import wire
from interlock.core.messages import Open, channel_request
from interlock.core.wire import string, uint32
from interlock.domain.target import SubKind
from interlock.testing.hostile import Gone, HostKey, RawSsh, Script, raw_server
from interlock.testing.ssh_pair import Gateway

SID = b"11111111-2222-4333-8444-000000000001"
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


async def start(world: Gateway, command: str = "cat") -> tuple[RawSsh, int]:
    """A client whose session runs, and the target's number of its channel."""
    client = await world.raw_client("plain1")
    return client, await begin(client, command)


async def begin(client: RawSsh, command: str = "cat") -> int:
    """Run this on the first channel of a client that is logged in; the target's number of the channel."""
    client.send(open_session())
    confirmation = await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
    number = wire.Reader(confirmation[5:]).uint32()
    client.send(channel_request(number, b"exec", want_reply=True, data=string(command)))
    await client.expect(wire.CHANNEL_SUCCESS)
    return number
