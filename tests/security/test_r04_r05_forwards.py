"""What is forwarded beside sessions, between asyncssh peers through the proxy: bytes, refusals, audit (R4, R5)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh import record
from interlock.domain.access import RoleOptions
from interlock.domain.audit import JsonValue
from interlock.domain.rbac import Role
from interlock.testing.echo import EXCHANGED, echo, exchange
from interlock.testing.plain_target import Chatter, plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, Gateway


class Forwarding(Chatter):
    """Admits everybody and forwards everything."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        del dest_host, dest_port, orig_host, orig_port
        return True

    def unix_connection_requested(self, dest_path: str) -> bool:
        del dest_path
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        del listen_host, listen_port
        return True

    def unix_server_requested(self, listen_path: str) -> bool:
        del listen_path
        return True


def allow(world: Gateway, **options: Any) -> None:
    """What the user's role says from now on."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(**options))


@contextlib.asynccontextmanager
async def forwarding(world: Gateway) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A client whose target forwards everything."""
    async with plain_target(world, server_factory=Forwarding), await world.client("plain1") as client:
        yield client


def told(events: list[dict[str, JsonValue]]) -> list[tuple[JsonValue | None, ...]]:
    """The port events in short."""
    fields = ("code", "channel", "addr", "success", "tx", "rx")
    return [tuple(event.get(field) for field in fields) for event in events if event["event"] == "port"]


async def session_of(world: Gateway) -> list[dict[str, JsonValue]]:
    """All events of the only session there was; each of them has its ID."""
    await world.wait_clean()
    events = await world.events()
    events = [event for event in events if event["event"] != "cert.create"]
    assert len({event.get("sid") for event in events}) == 1
    assert [event["ei"] for event in events] == list(range(len(events)))
    assert [event["event"] for event in events].count("session.start") == 1
    assert [event["event"] for event in events].count("session.end") == 1
    return events


async def test_r04_a_port_without_a_session_has_a_record_of_its_own(world: Gateway) -> None:
    """-W and -N -L: start, port, bytes both ways, end; the recording is there as well."""
    allow(world, local_forwarding=True)
    async with echo() as port, forwarding(world) as client:
        await exchange(*await client.open_connection(LOOPBACK, port, encoding=None))
    events = await session_of(world)
    assert [event["event"] for event in events] == [
        "session.start", "port", "port", "session.end", "session.leave", "session.data", "session.upload",
    ]  # fmt: skip
    address = f"{LOOPBACK}:{port}"
    assert told(events) == [
        ("T3003I", "direct-tcpip", address, True, None, None),
        ("T3003S", "direct-tcpip", address, True, EXCHANGED, EXCHANGED),
    ]
    data = next(event for event in events if event["event"] == "session.data")
    assert (data["tx"], data["rx"]) == (EXCHANGED, EXCHANGED)
    assert len(await world.recordings.recordings()) == 1


async def test_r04_forwards_of_a_session_carry_its_id(world: Gateway) -> None:
    """Port events are among the session's own, and numbered with them."""
    allow(world, local_forwarding=True)
    async with (
        echo() as port,
        forwarding(world) as client,
        client.create_process("cat", encoding=None) as process,
    ):
        process.stdin.write(b"x")
        assert await process.stdout.readexactly(1) == b"x"
        await exchange(*await client.open_connection(LOOPBACK, port, encoding=None))
        process.stdin.write_eof()
        await process.wait()
    events = await session_of(world)
    assert len(told(events)) == 2


async def test_r04_sockets_both_ways(world: Gateway, tmp_path: Path) -> None:
    """direct-streamlocal and streamlocal-forward."""
    allow(world, local_forwarding=True, remote_forwarding=True)
    here, there = tmp_path / "here", tmp_path / "there"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async with (
        await asyncio.start_unix_server(serve, there),
        plain_target(world, server_factory=Forwarding),
        await world.client("plain1") as client,
    ):
        await exchange(*await client.open_unix_connection(str(there), encoding=None))
        listener = await client.forward_remote_path(str(here), str(there))
        await exchange(*await asyncio.open_unix_connection(str(here)))
        listener.close()
        await listener.wait_closed()
    events = await session_of(world)
    kinds = [(code, channel) for code, channel, *_ in told(events)]
    assert kinds == [
        ("T3003I", "direct-streamlocal@openssh.com"),
        ("T3003S", "direct-streamlocal@openssh.com"),
        ("T3003I", "streamlocal-forward@openssh.com"),
        ("T3003I", "forwarded-streamlocal@openssh.com"),
        ("T3003S", "forwarded-streamlocal@openssh.com"),
    ]


async def test_r04_a_remote_port(world: Gateway) -> None:
    """-R 0: the target chooses the port; what connects to it reaches the client."""
    allow(world, remote_forwarding=True)
    async with echo() as port, forwarding(world) as client:
        listener = await client.forward_remote_port("", 0, LOOPBACK, port)
        await exchange(*await asyncio.open_connection(LOOPBACK, listener.get_port()))
        listener.close()
        await listener.wait_closed()
    events = await session_of(world)
    assert [row[:2] for row in told(events)] == [
        ("T3003I", "tcpip-forward"),
        ("T3003I", "forwarded-tcpip"),
        ("T3003S", "forwarded-tcpip"),
    ]


REFUSED = {
    "port forwarding": lambda client: client.open_connection(LOOPBACK, 1),
    "socket forwarding": lambda client: client.open_unix_connection("/run/x"),
}


@pytest.mark.parametrize("words", REFUSED)
async def test_r05_without_the_role_it_is_refused_in_words(world: Gateway, words: str) -> None:
    """The person reads why, the audit log has it in a session of the connection's own (R5)."""
    async with forwarding(world) as client:
        with pytest.raises(asyncssh.ChannelOpenError, match=f"{words} is not allowed by your roles") as caught:
            await REFUSED[words](client)
        assert caught.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
    events = await session_of(world)
    assert [(row[0], row[3]) for row in told(events)] == [("T3003E", False)]


async def test_r05_listening_without_the_role_is_refused(world: Gateway) -> None:
    """The target never hears of it."""
    async with forwarding(world) as client:
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("", 0, LOOPBACK, 1)
    assert [row[:2] for row in told(await session_of(world))] == [("T3003E", "tcpip-forward")]


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "0xa9fea9fe", "2852039166", "::ffff:169.254.169.254", "fe80::1"]
)
async def test_r05_metadata_addresses_are_refused_in_all_spellings(world: Gateway, host: str) -> None:
    """R5."""
    allow(world, local_forwarding=True)
    async with forwarding(world) as client:
        with pytest.raises(asyncssh.ChannelOpenError, match="link-local and metadata addresses"):
            await client.open_connection(host, 80)
    assert [row[0] for row in told(await session_of(world))] == ["T3003E"]


async def test_r04_a_connection_that_only_stays_has_a_record(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-N: it is listed while it lasts, and has a start and an end."""
    monkeypatch.setattr(record, "RECORD_AFTER_S", 0.0)
    async with plain_target(world), await world.client("plain1"):
        while not world.sessions.live:  # noqa: ASYNC110  # a list that grows has no event
            await asyncio.sleep(0)
    events = await session_of(world)
    assert "client.disconnect" not in {event["event"] for event in events}


async def test_r04_a_short_connection_without_anything_has_a_record_too(world: Gateway) -> None:
    """However soon it went."""
    async with plain_target(world):
        async with await world.client("plain1"):
            pass
        await session_of(world)


async def test_r05_access_that_is_taken_away_counts_at_once(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy is asked again before a forward opens on a connection that is older than a few seconds."""
    allow(world, local_forwarding=True)
    async with echo() as port, forwarding(world) as client:
        await exchange(*await client.open_connection(LOOPBACK, port, encoding=None))
        allow(world)
        monkeypatch.setattr("interlock.adapters.ssh.passage.JUDGEMENT_S", -1.0)
        with pytest.raises(asyncssh.ChannelOpenError, match="not allowed by your roles"):
            await client.open_connection(LOOPBACK, port)
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("", 0, LOOPBACK, 1)


async def test_r04_a_forward_ends_with_its_connection(world: Gateway) -> None:
    """The client vanishes in the middle: the forward has an end, and then the record."""
    allow(world, local_forwarding=True)
    async with echo() as port, plain_target(world, server_factory=Forwarding):
        client = await world.client("plain1")
        reader, writer = await client.open_connection(LOOPBACK, port, encoding=None)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        client.abort()
        await client.wait_closed()
        events = await session_of(world)
    assert [row[0] for row in told(events)] == ["T3003I", "T3003S"]
