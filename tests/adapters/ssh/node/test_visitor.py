"""Session IDs between the node and a forwarder: queries, parameters and announcements."""

import asyncio

import asyncssh
import pytest
from asyncssh.packet import String

from interlock.adapters.ssh.node.server import NodeOptions
from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.ids import SessionId
from interlock.testing.node import World, node_world
from interlock.testing.visiting import Channel, visit

V1 = b"session-id-query@goteleport.com"
V2 = b"session-id-query-v2@goteleport.com"
SUCCESS, FAILURE = 81, 82


async def ask(connection: asyncssh.SSHClientConnection, request: bytes) -> int:
    """The type of the answer to a global request."""
    kind, _ = await connection._make_global_request(request)
    return kind


async def test_queries_succeed(world: World) -> None:
    """A node of today answers both queries, and refuses what it does not know."""
    async with visit(world) as connection:
        assert await ask(connection, V2) == SUCCESS
        assert await ask(connection, V1) == SUCCESS
        assert await ask(connection, b"something-else@example.com") == FAILURE


async def test_id_is_announced_right_after_the_channel_is_accepted(world: World) -> None:
    """Nobody has to start anything to learn the ID: it follows the confirmation, 36 bytes, once."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open()
        await channel.heard.wait()
        assert await channel.run(b"echo $SSH_SESSION_ID")
        await session.closed.wait()
        sid = world.sessions.all[0].sid
        assert channel.announced == [sid.encode()]
        assert len(channel.announced[0]) == 36
        assert session.output.decode().strip() == sid


async def test_channels_opened_at_once_each_hear_their_own_id(world: World) -> None:
    """Announcements travel on the channel that they are about, so concurrent opens cannot mix them up."""
    async with visit(world) as connection:
        channels = [Channel(connection) for _ in range(10)]
        async with asyncio.TaskGroup() as tasks:
            opening = [tasks.create_task(channel.open()) for channel in channels]
        for channel, opened in zip(channels, opening, strict=True):
            await channel.run(b"printf %s $SSH_SESSION_ID")
            await opened.result().closed.wait()
            assert channel.announced == [bytes(opened.result().output)]
        assert {channel.announced[0].decode() for channel in channels} == {live.sid for live in world.sessions.all}


async def test_node_of_v1_announces_after_the_start(world: World) -> None:
    """A node that knows only the first query names the session once something runs."""
    async with node_world(world.directory / "v1", NodeOptions(answers_v2=False)) as old, visit(old) as connection:
        assert (await ask(connection, V2), await ask(connection, V1)) == (FAILURE, SUCCESS)
        channel = Channel(connection)
        session = await channel.open()
        assert await channel.run(b"true")
        await session.closed.wait()
        assert channel.announced == [old.sessions.all[0].sid.encode()]


async def test_node_of_old_announces_nothing(world: World) -> None:
    """Before v1 there were neither answers nor announcements."""
    options = NodeOptions(announce_session_id=False)
    async with node_world(world.directory / "old", options) as old, visit(old) as connection:
        assert (await ask(connection, V2), await ask(connection, V1)) == (FAILURE, FAILURE)
        channel = Channel(connection)
        session = await channel.open()
        await channel.run(b"true")
        await session.closed.wait()
        assert channel.announced == []


async def test_session_parameters_are_read(world: World) -> None:
    """Extra data does not harm the connection; the web proxy's address reaches the environment."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open(SessionParams(web_proxy_addr="gw.example.com:443", reason="repair").encode())
        await channel.run(b"echo $SSH_SESSION_WEBPROXY_ADDR")
        await session.closed.wait()
        assert session.output == b"gw.example.com:443\n"


async def test_joining_is_refused(world: World) -> None:
    """Nobody gets a session of his own who asked for somebody else's."""
    wanted = SessionParams(
        join_session_id=SessionId("11111111-1111-4111-8111-111111111111"), join_mode=JoinMode.PEER
    )
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open(wanted.encode())
        assert (refused.value.code, refused.value.reason) == (
            1,
            "join sessions through the gateway: ssh join%11111111-1111-4111-8111-111111111111@GATEWAY",
        )
        assert world.sessions.all == []
    assert (
        world.sessions.refused[0][1]
        == "wanted to join 11111111-1111-4111-8111-111111111111 without the gateway's word"
    )


async def test_malformed_parameters_cost_the_channel_only(world: World) -> None:
    """The connection and its other channels live on."""
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open(b"\0\0\0\5ab")
        assert (refused.value.code, refused.value.reason) == (2, "malformed session parameters")
        await Channel(connection).open()
    assert [public for public, _ in world.sessions.refused] == ["malformed session parameters"]
    assert "could not be decoded" in world.sessions.refused[0][1]


async def test_command_of_arbitrary_bytes(world: World) -> None:
    """A command need not be UTF-8; file names in Latin-1 exist."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open()
        assert await channel.run(b"printf '\xe9\xff'")
        await session.closed.wait()
        assert session.output == b"\xe9\xff"
        started = world.sessions.all[0].begun
        assert started is not None
        assert started.command == "printf '\\xe9\\xff'"


async def test_command_that_cannot_be_started(world: World) -> None:
    """One argument has a limit in the kernel; the person reads so, and the session has a proper end."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open()
        assert await channel.run(b"x" * 140_000)
        await session.closed.wait()
        assert b"Argument list too long" in session.output
        assert channel.get_exit_status() == 254
        assert world.sessions.all[0].exits[0].error.startswith("cannot start")


async def test_second_start_is_refused(world: World) -> None:
    """One channel, one command (R19)."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open()
        assert await channel.run(b"read line; echo $line")
        assert not await channel._make_request(b"exec", String(b"id"))
        assert not await channel._make_request(b"shell")
        assert not await channel._make_request(b"env", String(b"LANG"), String(b"C"))
        channel.write(b"once\n")
        await session.closed.wait()
        assert session.output == b"once\n"


async def test_signal_reaches_the_process_group(world: World) -> None:
    """RFC 4254 §6.9; an unknown name does nothing."""
    async with visit(world) as connection:
        channel = Channel(connection)
        session = await channel.open()
        await channel.run(b"trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.01; done")
        while b"ready" not in session.output:  # noqa: ASYNC110  # asyncssh has no event for data in this session
            await asyncio.sleep(0.01)
        channel.send_signal("BOGUS")
        channel.send_signal("USR1")
        await session.closed.wait()
        assert (bytes(session.output).splitlines()[-1], channel.get_exit_status()) == (b"got", 7)


async def test_channel_that_never_starts_ends_without_a_trace(world: World) -> None:
    """Opened and closed: the session ends, and no exit is told."""
    async with visit(world) as connection:
        channel = Channel(connection)
        await channel.open()
        channel.close()
        await channel.wait_closed()
        live = world.sessions.all[0]
        await live.ended.wait()
        assert (live.begun, live.exits, len(live.ends)) == (None, [], 1)


async def test_too_many_channels(world: World) -> None:
    """The limit is said and audited, and the connection stays usable."""
    async with visit(world) as connection:
        channels = [Channel(connection) for _ in range(64)]
        for channel in channels:
            await channel.open()
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open()
        assert "too many channels" in refused.value.reason
        assert len(world.sessions.refused) == 1
        channels[0].close()
        await channels[0].wait_closed()
        await Channel(connection).open()


async def test_client_with_a_huge_window_that_stops_reading(world: World) -> None:
    """What the socket does not take stays with the process: the node's memory does not grow (R18)."""
    async with visit(world) as connection:
        channel = Channel(connection, window=1 << 30)
        session = await channel.open()
        assert await channel.run(b"head -c 60000000 /dev/zero")
        connection._transport.pause_reading()  # type: ignore[union-attr]
        live = world.sessions.all[0]
        sent = -1
        while sent != live.traffic()[1]:
            sent = live.traffic()[1]
            await asyncio.sleep(0.2)
        assert sent < 30_000_000
        connection._transport.resume_reading()  # type: ignore[union-attr]
        await session.closed.wait()
        assert len(session.output) == 60_000_000


async def test_connection_lost_during_the_start(world: World) -> None:
    """A client that is gone before its process runs leaves none behind."""
    async with visit(world) as connection:
        channel = Channel(connection)
        await channel.open()
        channel._send_request(b"exec", String(b"sleep 1000"), want_reply=True)
        await asyncio.sleep(0)
        connection.abort()
        while not world.sessions.all:  # noqa: ASYNC110  # two sides of one loop
            await asyncio.sleep(0.01)
        await world.sessions.all[0].ended.wait()
    await world.stop()
    assert len(world.sessions.all[0].ends) == 1
