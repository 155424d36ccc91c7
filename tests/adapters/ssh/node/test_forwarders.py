"""What a forwarder's certificate says: who records, for which node it is, and where the person is."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import asyncssh
import pytest
from asyncssh.packet import String

from interlock.adapters.ssh import record
from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.duties import NODE_DUTIES, RecordingMode
from interlock.domain.identity import Claims, Joining
from interlock.domain.session import SessionContext
from interlock.testing.node import NODE_ID, World
from interlock.testing.visiting import Channel, Later, forwarder


@pytest.mark.parametrize("records", [True, False])
async def test_forwarder_takes_duties_over_by_certificate_only(world: World, records: bool) -> None:
    """The signed claim decides who records; policy was asked by the forwarder already."""
    async with forwarder(world, records=records) as connection:
        channel = Channel(connection)
        session = await channel.open()
        await channel.run(b"true")
        await session.closed.wait()
        ctx = world.sessions.all[0].ctx
        assert ctx.duties == NODE_DUTIES[ctx.mode, records]
        assert ctx.mode is RecordingMode.NODE  # the certificate's word, whoever records
        assert ctx.identity.user == "bob"
        assert world.admission.asked == []


async def test_forwarders_certificate_for_another_node(world: World) -> None:
    """What was issued for one target opens no other."""
    other = DaemonId("77777777-2222-4333-8444-555555555555")
    async with forwarder(world, records=True, target=other, client="198.51.100.7:4711") as connection:
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open()
        assert "issued for another node" in refused.value.reason
    assert world.sink.events[0].fields["addr.remote"] == "198.51.100.7:4711"


async def test_the_persons_address_comes_with_the_forwarders_certificate(world: World) -> None:
    """In events and in the environment it is the person's, not the proxy's, which is all that TCP shows."""
    async with forwarder(world, records=False, client="[2001:db8::7]:4711") as connection:
        channel = Channel(connection)
        session = await channel.open()
        await channel.run(b"echo $SSH_CLIENT; echo $SSH_CONNECTION")
        await session.closed.wait()
    assert world.sessions.all[0].ctx.client_addr == "[2001:db8::7]:4711"
    port = world.port
    assert session.output.decode() == f"2001:db8::7 4711 {port}\n2001:db8::7 4711 127.0.0.1 {port}\n"


async def test_a_forwarder_that_names_no_address(world: World) -> None:
    """What TCP shows is better than nothing."""
    async with forwarder(world, records=False) as connection:
        await Channel(connection).open()
        assert world.sessions.all[0].ctx.client_addr.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("client", "admitted"), [("198.51.100.7:4711", True), ("192.0.2.1:4711", False), ("", False)]
)
async def test_a_bound_certificate_is_judged_by_the_persons_address(
    world: World, client: str, admitted: bool
) -> None:
    """A source address is where the person is; the proxy's would let everybody in, or nobody."""

    class Bound:
        """Binds every certificate to a network."""

        def read(self, certificate: bytes, *, now: datetime) -> Claims:
            return replace(world.claims.read(certificate, now=now), source_networks=("198.51.100.0/24",))

    assert world.server is not None
    world.server.claims = Bound()
    if admitted:
        async with forwarder(world, records=False, client=client) as connection:
            await Channel(connection).open()
    else:
        with pytest.raises(asyncssh.PermissionDenied):
            await forwarder(world, records=False, client=client).__aenter__()
        assert str(world.sink.events[0].fields["addr.remote"]).startswith("127.0.0.1:")


async def test_a_forwarders_connection_outlives_its_certificate(world: World) -> None:
    """It is valid for minutes, to log in with; who may open sessions later is the forwarder's to ask."""
    async with forwarder(world, records=True) as connection:
        assert world.server is not None
        world.server.clock = Later(timedelta(hours=1))
        world.admission.refusal = Denied("not asked")
        await Channel(connection).open()


async def test_what_a_forwarder_asks_in_vain_is_told_by_the_node(world: World) -> None:
    """Only the node knows why, but the session's ID is the forwarder's: auth takes no event of ours under it."""
    async with forwarder(world, records=True) as connection:
        channel = Channel(connection)
        await channel.open()
        assert not await channel._make_request(b"subsystem", String(b"netconf"))
    live = world.sessions.all[0]
    assert live.refusals == []
    ((public, reason),) = world.sessions.refused
    assert public == "this host does not serve the subsystem netconf"
    assert reason == f"subsystem netconf (in session {live.sid}, which the forwarder records)"
    (who,) = world.sessions.refused_to
    assert not isinstance(who, SessionContext)
    assert (who["user"], who["server_id"]) == ("bob", NODE_ID)


async def test_who_takes_part_in_a_session_has_no_record_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long they stay: the session tells of them, and at a worker a record would be their end."""
    monkeypatch.setattr(record, "RECORD_AFTER_S", 0.0)
    joining = Joining(SessionId("11111111-1111-4111-8111-111111111111"), (JoinMode.OBSERVER,))
    async with forwarder(world, records=False, joining=joining) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match="one session only"):
            await Channel(connection).open()
        async with forwarder(world, records=False, joining=joining):
            pass  # without asking for anything
        async with forwarder(world, records=False):
            while not world.sessions.all:  # noqa: ASYNC110 - a list that grows has no event
                await asyncio.sleep(0)
    await world.stop()
    assert len(world.sessions.all) == 1
