"""A target that breaks the protocol: the person learns of it, the audit log learns why, nothing is left."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.adapters.ssh import leg
from interlock.core import negotiation, wire
from interlock.core.messages import Open, channel_message, channel_request, global_request, open_failure
from interlock.core.wire import string, uint32
from interlock.domain.target import SubKind
from interlock.testing.hostile import Gone, HostKey, RawSsh, raw_server
from interlock.testing.offences import (
    NUMBER,
    SID,
    Act,
    announce,
    as_node,
    confirm,
    data,
    open_session,
    refused,
    says,
    then,
)
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import Gateway, gateway

pytestmark = pytest.mark.slow

OTHER_SID = b"11111111-2222-4333-8444-000000000002"


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
async def test_r11_offence_before_the_id(world: Gateway, name: str) -> None:
    """The client's channel is refused, or its connection ended, in words; the reason is in the audit log."""
    offence = BEFORE_THE_ID[name]
    shown, reason = await refused(world, then(offence.act))
    assert offence.shown in shown
    assert offence.reason in reason


async def test_r11_padding_shows_nothing_of_other_sessions(world: Gateway) -> None:
    """A CLOSE with more padding than packet ends the connection; not a byte of the shared buffer is passed on."""
    hidden = b"somebody else's secret"

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        peer.send(confirm(opened))
        peer.send(announce(opened))
        await peer.expect(wire.CHANNEL_REQUEST)
        head = bytes([wire.CHANNEL_CLOSE]) + uint32(opened.sender)
        peer.write(peer.sealed(bytes([250]) + head + bytes(42)))
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port, plain_target(world), await world.client("plain1") as other:
        echoed = await other.run("cat", input=hidden * 1000, encoding=None)
        assert echoed.stdout == hidden * 1000
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(channel_request(NUMBER, b"shell"))
            assert VIOLATED in await client.wait_gone()
            assert not any(line.startswith("< CHANNEL_CLOSE") for line in client.log.lines)


async def running(peer: RawSsh) -> Open:
    """A node up to the running session."""
    opened = await as_node(peer)
    peer.send(confirm(opened))
    peer.send(announce(opened))
    await peer.expect(wire.CHANNEL_REQUEST)
    return opened


DURING_THE_SESSION = {
    name: offence
    for name, offence in BEFORE_THE_ID.items()
    if name
    not in {
        "an ID that is not a UUID",
        "closes before the ID",
        "refuses",
        "EOF before the ID",
        "data before the confirmation",
        "data before the ID",
        "data on an unknown channel",
    }
} | {
    "another ID": Offence(says(lambda o: announce(o, OTHER_SID)), VIOLATED, "changed the session ID"),
    "data on an unknown channel": Offence(says(lambda _: data(99, b"x")), VIOLATED + UNKNOWN, "channel 99"),
    "an unsolicited channel reply": Offence(
        says(lambda o: channel_message(wire.CHANNEL_SUCCESS, o.sender)), VIOLATED, "request that was never made"
    ),
    "data after its close": Offence(
        says(lambda o: channel_message(wire.CHANNEL_CLOSE, o.sender), lambda o: data(o.sender, b"late")),
        VIOLATED,
        "after its close",
    ),
    "two closes": Offence(
        says(*[lambda o: channel_message(wire.CHANNEL_CLOSE, o.sender)] * 2), VIOLATED, "after its close"
    ),
    "a data length beyond the packet": Offence(
        says(lambda o: bytes([94]) + uint32(o.sender) + uint32(1000) + b"short"), VIOLATED, "data length"
    ),
    "a window adjust of four words": Offence(
        says(lambda o: bytes([93]) + uint32(o.sender) * 4), VIOLATED, "window adjust"
    ),
    "an exit status of two bytes": Offence(
        says(lambda o: channel_request(o.sender, b"exit-status", data=b"12")), VIOLATED, "could not be decoded"
    ),
}


@pytest.mark.parametrize("name", DURING_THE_SESSION)
async def test_r11_offence_during_the_session(world: Gateway, name: str) -> None:
    """The client is told, and the session has exactly one end, with the reason."""
    offence = DURING_THE_SESSION[name]

    async def script(peer: RawSsh) -> None:
        await offence.act(peer, await running(peer))
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(channel_request(NUMBER, b"shell"))
            shown = await client.wait_gone()
    assert offence.shown in shown
    await world.wait_clean()
    events = await world.events()
    assert [each["event"] for each in events if each["sid"] == SID.decode()][:5] == [
        "session.start",
        "client.disconnect",
        "session.end",
        "session.leave",
        "session.data",
    ]
    assert offence.reason in str(events[1]["reason"])


FLOOD = 3000

HARMLESS: dict[str, Callable[[Open], bytes]] = {
    "host keys": lambda _: global_request(b"hostkeys-00@openssh.com", want_reply=False) + string(b"key"),
    "an unknown global request": lambda _: global_request(b"flood@example.com", want_reply=True),
    "a keepalive": lambda _: global_request(b"keepalive@openssh.com", want_reply=False),
    "an ignored message": lambda _: bytes([wire.IGNORE]) + string(bytes(20_000)),
    "a debug message": lambda _: bytes([wire.DEBUG, 1]) + string("text") + string(""),
    "an unknown message": lambda _: bytes([200]) + b"whatever",
    "its own ID again": announce,
    "an unknown channel request": lambda o: channel_request(o.sender, b"no@such", want_reply=True),
    "an agent channel": lambda _: open_session(3, b"auth-agent@openssh.com"),
    "an X11 channel": lambda _: open_session(4, b"x11") + string("::1") + uint32(6010),
    "late authentication": lambda _: bytes([50]) + string("root"),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_r18_flood_of_what_is_harmless_once(world: Gateway, name: str) -> None:
    """Thousands of them reach nobody, and the session goes on. The audit log has a bounded number of events."""
    message = HARMLESS[name]

    async def script(peer: RawSsh) -> None:
        opened = await running(peer)
        for _ in range(FLOOD):
            peer.write(peer.packet(message(opened)))
            await peer.flush()
        peer.send(data(opened.sender, b"still here"))
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(channel_request(NUMBER, b"shell"))
            assert b"still here" in await client.expect(wire.CHANNEL_DATA)
            passed = [line for line in client.log.lines if "keepalive" not in line]
    assert len(passed) < 20
    assert len(await world.events()) < 200


# --- key exchanges and silence -------------------------------------------------------------------


async def session(world: Gateway, act: Callable[[RawSsh, Open], Awaitable[None]]) -> str:
    """Run a session whose target does this once it runs; how the client's connection ends."""

    async def script(peer: RawSsh) -> None:
        await act(peer, await running(peer))
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(channel_request(NUMBER, b"shell"))
            return await client.wait_gone()


async def test_r11_data_in_a_key_exchange(world: Gateway) -> None:
    """After its KEXINIT a target may send nothing else (RFC 4253 §7.1)."""

    async def act(peer: RawSsh, opened: Open) -> None:
        peer.follows = False
        peer.begin_exchange()
        peer.send(data(opened.sender, b"x"))

    assert "connection data during a key exchange" in await session(world, act)


async def test_r20_another_host_key_in_a_later_exchange(world: Gateway) -> None:
    """R20: the target that was verified stays the target."""

    async def act(peer: RawSsh, opened: Open) -> None:
        del opened
        peer.host_key = HostKey()
        with contextlib.suppress(Gone):
            await peer.exchange_keys()

    assert "the target violated the SSH protocol" in await session(world, act)
    events = await world.events("client.disconnect")
    assert "ost key" in str(events[0]["reason"])


@pytest.mark.parametrize("half", ["answers ours", "begins its own"])
async def test_r18_key_exchange_without_end(world: Gateway, monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    """While a target does not finish, the client waits, a bounded time and in bounded memory."""
    monkeypatch.setattr(leg, "KEY_EXCHANGE_TIMEOUT_S", 0.3)
    if half == "answers ours":
        monkeypatch.setattr(leg, "REKEY_BYTES", 200_000)

    async def script(peer: RawSsh) -> None:
        await running(peer)
        peer.follows = False
        if half == "begins its own":
            peer.begin_exchange()
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(channel_request(NUMBER, b"shell"))
            for _ in range(600):  # 19 MB: more than may ever wait
                client.write(client.packet(data(NUMBER, bytes(32_000))))
            shown = await client.wait_gone()
    assert "a key exchange was not finished in time" in shown


async def alive(client: RawSsh) -> str:
    """Answer keepalives until the other side goes; its last words."""
    try:
        while True:
            await client.expect(wire.GLOBAL_REQUEST)
            client.send(bytes([wire.REQUEST_FAILURE]))
    except Gone as gone:
        return str(gone)


async def test_silent_target_is_found_dead(tmp_path: Path) -> None:
    """A target that answers nothing any more, keepalives included, ends the session in words."""

    async def script(peer: RawSsh) -> None:
        await running(peer)
        await peer.wait_gone()

    key = HostKey()
    async with gateway(tmp_path, keepalive_interval=0.05) as world:
        async with raw_server(script, key) as port:
            world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
            async with await world.raw_client("evil1") as client:
                client.send(open_session())
                await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
                client.send(channel_request(NUMBER, b"shell"))
                assert await alive(client) == "the target closed the connection: no answer to keepalives"
        await world.wait_clean()
        assert len(await world.events("session.end")) == 1


async def test_target_that_never_names_the_session(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the client's channel is refused."""
    monkeypatch.setattr(negotiation, "SESSION_ID_WAIT_S", 0.1)
    shown, reason = await refused(world, then(says(confirm)))
    assert shown == negotiation.NO_SESSION_ID
    assert "no session ID after" in reason


async def test_target_that_never_answers_the_query(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same if it does not even say whether it knows the protocol."""
    monkeypatch.setattr(negotiation, "SESSION_ID_WAIT_S", 0.1)

    async def script(peer: RawSsh) -> None:
        await peer.admit()
        opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
        peer.send(confirm(opened))
        await peer.wait_gone()

    shown, _ = await refused(world, script)
    assert shown == negotiation.NO_SESSION_ID


async def test_target_that_rejects_the_connection(world: Gateway) -> None:
    """A FAILURE with text refuses all channels with that text, and code 1."""

    async def script(peer: RawSsh) -> None:
        await peer.admit()
        await peer.expect(wire.GLOBAL_REQUEST)
        peer.send(bytes([wire.REQUEST_FAILURE]) + b"node is draining")
        await peer.wait_gone()

    shown, reason = await refused(world, script)
    assert shown == "remote session open failed: node is draining"
    assert "draining" in reason


@pytest.mark.parametrize("states", range(4))
async def test_r18_target_that_never_answers_the_open_and_a_client_that_leaves(
    world: Gateway, states: int
) -> None:
    """Whoever leaves first in whatever state, nothing is left."""
    reached = asyncio.Event()

    async def script(peer: RawSsh) -> None:
        await peer.admit()
        if states > 0:
            await peer.expect(wire.GLOBAL_REQUEST)
            peer.send(bytes([wire.REQUEST_SUCCESS]))
        if states > 1:
            opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
            peer.send(confirm(opened))
            if states > 2:
                peer.send(announce(opened))
        await peer.flush()
        reached.set()
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await reached.wait()
    await world.wait_clean()
