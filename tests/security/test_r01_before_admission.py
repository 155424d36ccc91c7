"""R1: nothing is opened before a session is admitted: in every state before, each kind of channel is refused."""

import asyncio

import pytest

from interlock.core import wire
from interlock.core.messages import Open, channel_request, global_request
from interlock.core.wire import string, uint32
from interlock.domain.access import RoleOptions
from interlock.domain.target import SubKind
from interlock.testing.hostile import HostKey, RawSsh, connect_raw, raw_server
from interlock.testing.offences import announce, as_node, confirm, data, open_session
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

TO = string("127.0.0.1") + uint32(22) + string("127.0.0.1") + uint32(1)
OPENS: dict[str, bytes] = {
    "session": open_session(1),
    "direct-tcpip": open_session(1, b"direct-tcpip") + TO,
    "forwarded-tcpip": open_session(1, b"forwarded-tcpip") + TO,
    "streamlocal": open_session(1, b"direct-streamlocal@openssh.com") + string("/run/x") + string("") + uint32(0),
    "x11": open_session(1, b"x11") + string("127.0.0.1") + uint32(6000),
    "agent": open_session(1, b"auth-agent@openssh.com"),
    "tun": open_session(1, b"tun@openssh.com") + uint32(1) + uint32(0),
    "tunnel": open_session(1, b"tunnel-ssh@interlock.dev") + string("x"),
}
LISTENS: dict[str, bytes] = {
    "tcpip-forward": global_request(b"tcpip-forward", want_reply=True) + string("") + uint32(0),
    "streamlocal-forward": global_request(b"streamlocal-forward@openssh.com", want_reply=True) + string("/run/x"),
}
ALL = OPENS | LISTENS
ROUTE = f"{LOGIN}%evil1"


async def bring(world: Gateway, client: RawSsh, state: str) -> None:
    """A client in a state before it is known."""
    own = await world.credential()
    await client.exchange_versions()
    if state == "versions":
        return
    await client.exchange_keys()
    if state == "keys":
        return
    await client.request_service()
    if state == "asked":
        client.offer(ROUTE, own)
        await client.expect(60)
    if state == "refused":
        client.sign(ROUTE, own, by=(await world.credential("mallory")).key)
        await client.expect(51)
    if state == "keys changed":  # which must not end the authentication (CVE-2026-67279)
        await client.exchange_keys()


@pytest.mark.parametrize("state", ["versions", "keys", "service", "asked", "refused", "keys changed"])
@pytest.mark.parametrize("what", ALL)
async def test_r01_before_it_is_known_a_client_opens_nothing(world: Gateway, state: str, what: str) -> None:
    """The connection ends, and there is nothing to record."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await bring(world, client, state)
        client.follows = False
        client.send(ALL[what])
        async with asyncio.timeout(5):
            await client.wait_gone()
        assert not [line for line in client.log.lines if "CHANNEL" in line and line.startswith("<")]
    assert not await world.events("session.start")


@pytest.mark.slow
@pytest.mark.parametrize("what", ALL)
async def test_r01_while_the_target_is_reached_nothing_is_opened(world: Gateway, what: str) -> None:
    """What the client sends meanwhile waits, and is judged as if it had come afterwards."""
    go, heard = asyncio.Event(), list[bytes]()

    async def script(peer: RawSsh) -> None:
        await peer.handshake()
        await go.wait()
        await peer.expect(5)
        peer.send(bytes([6]) + string("ssh-userauth"))
        await peer.expect(wire.USERAUTH_REQUEST)
        peer.send(bytes([52]))
        while True:
            heard.append(await peer.receive())
            if heard[-1][0] == wire.CHANNEL_OPEN:
                peer.send(confirm(Open.decode(heard[-1])))

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line])
        async with await world.raw_client("evil1") as client:
            client.send(ALL[what])
            await client.flush()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.receive()
            assert not heard
            go.set()
            answer = await client.expect(91, 92, wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)
    assert answer[0] == (91 if what == "session" else 92 if what in OPENS else wire.REQUEST_FAILURE)
    assert [each[0] for each in heard if each[0] != wire.GLOBAL_REQUEST] == ([90] if what == "session" else [])
    await world.wait_clean()
    if what in {"direct-tcpip", "streamlocal", *LISTENS}:  # what was refused has a record of its own
        assert await world.events("session.start")


@pytest.mark.parametrize("what", ALL)
async def test_r01_a_portal_opens_nothing_but_its_own_subsystem(world: Gateway, what: str) -> None:
    """No target is behind it: whoever wants one says which, and is judged for it."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        client.send(ALL[what])
        answer = await client.expect(91, 92, wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)
        if what != "session":
            assert answer[0] in (92, wire.REQUEST_FAILURE)


@pytest.mark.parametrize("kind", [b"exec", b"shell", b"subsystem"])
async def test_r01_a_portal_runs_nothing(world: Gateway, kind: bytes) -> None:
    """It answers in words, and closes."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        client.send(open_session(0))
        number = wire.Reader((await client.expect(91))[5:]).uint32()
        text = string("sftp" if kind == b"subsystem" else "echo $((6*7))")
        client.send(channel_request(number, kind, want_reply=True, data=b"" if kind == b"shell" else text))
        said = b""
        while (payload := await client.receive())[0] not in (wire.CHANNEL_CLOSE, wire.CHANNEL_FAILURE):
            said += payload
    assert b"42" not in said
    assert not await world.events("session.start")


@pytest.mark.parametrize("what", ALL)
async def test_r01_a_session_that_waits_for_its_moderators_opens_nothing(world: Gateway, what: str) -> None:
    """And what is typed before they are there reaches no target."""
    world.add_person("mallory", RoleOptions(require_moderators=1))
    heard: list[bytes] = []

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        peer.send(confirm(opened))
        peer.send(announce(opened))
        while True:
            heard.append(await peer.receive())

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        client = await connect_raw(LOOPBACK, world.port)
        async with client:
            await client.log_in(ROUTE, await world.credential("mallory"))
            client.send(open_session(0))
            number = wire.Reader((await client.expect(91))[5:]).uint32()
            size = string("xterm") + uint32(80) + uint32(24) + uint32(0) * 2 + string("")
            client.send(channel_request(number, b"pty-req", want_reply=True, data=size))
            client.send(channel_request(number, b"shell", want_reply=True))
            client.send(data(number, b"rm -rf /\n"))
            client.send(ALL[what])
            if what != "session":
                answer = await client.expect(92, wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)
                assert answer[0] in (92, wire.REQUEST_FAILURE)
            else:
                client.send(data(number, b"more"))
    assert not any(b"rm -rf" in each for each in heard)
    assert {each[0] for each in heard} <= {wire.CHANNEL_REQUEST, wire.CHANNEL_OPEN, 96, 97, wire.GLOBAL_REQUEST}
