"""What the node refuses somebody is told in the audit log, and does not flood it."""

import asyncssh
import pytest
from asyncssh.packet import String

from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.audit import Kind
from interlock.domain.session import SessionKind
from interlock.testing.echo import until
from interlock.testing.node import World
from interlock.testing.visiting import Channel, visit

REFUSED = {
    "X11": (b"x11-req", b"\0" + String(b"MIT-MAGIC-COOKIE-1") + String(b"00") + bytes(4), "X11 forwarding"),
    "agent": (b"auth-agent-req@openssh.com", b"", "agent forwarding"),
    "NUL": (b"exec", String(b"id\0id"), "NUL"),
    "subsystem": (b"subsystem", String(b"netconf\xff"), "subsystem netconf\\xff"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_request_is_an_event_of_the_session(world: World, name: str) -> None:
    """ssh tells its user nothing of it, or no cause, so the audit log must."""
    request, payload, words = REFUSED[name]
    async with visit(world) as connection:
        channel = Channel(connection)
        await channel.open()
        assert not await channel._make_request(request, payload)
        assert await channel.run(b"true")
    ((what, public, reason),) = world.sessions.all[0].refusals
    assert what == request.decode()
    assert words in public
    assert reason


async def test_a_second_start_is_an_event_of_the_session(world: World) -> None:
    """What runs is in the recording; what was asked for besides is not."""
    async with visit(world) as connection:
        channel = Channel(connection)
        await channel.open()
        assert await channel.run(b"cat")
        assert not await channel._make_request(b"exec", String(b"id"))
    assert [reason for _, _, reason in world.sessions.all[0].refusals] == ["a second start: exec"]


async def test_refused_forwardings_are_events(world: World) -> None:
    """With the address where they were to lead; in a session of the connection's own."""
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match=r"^port forwarding is not allowed by your roles"):
            await connection.open_connection("db1", 5432)
        with pytest.raises(asyncssh.ChannelOpenError, match="socket forwarding is not allowed by your roles"):
            await connection.open_unix_connection("/run/docker.sock")
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("::1", 8080, "localhost", 80)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_path("/tmp/x", "/tmp/y")
    (record,) = world.sessions.all
    assert record.begun is not None
    assert record.begun.kind is SessionKind.CONNECTION
    assert {kind for kind, _ in record.told} == {Kind.PORT_FAILURE}
    shown = [fields for _, fields in record.told]
    assert [fields["addr"] for fields in shown] == ["db1:5432", "/run/docker.sock", "[::1]:8080", "/tmp/x"]
    assert "remote port forwarding" in str(shown[2]["error"])
    await until(lambda: record.ends == [(0, 0, "")])


async def test_refusals_do_not_flood_the_audit_log(world: World) -> None:
    """After so many on one connection, the last one says that more follow."""
    async with visit(world) as connection:
        channel = Channel(connection)
        await channel.open()
        for _ in range(REFUSALS_TOLD + 5):
            assert not await channel._make_request(b"auth-agent-req@openssh.com")
    refusals = world.sessions.all[0].refusals
    assert len(refusals) == REFUSALS_TOLD
    assert [reason for _, _, reason in refusals if "later refusals" in reason] == [refusals[-1][2]]
