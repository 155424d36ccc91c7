"""Session IDs between the node and a forwarder: queries, parameters, announcements, and who has which duty."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import asyncssh
import pytest
from asyncssh.channel import SSHChannel, SSHClientChannel
from asyncssh.packet import SSHPacket, String

from interlock.adapters.ssh.node import judgement
from interlock.adapters.ssh.node.server import NodeOptions
from interlock.adapters.system import SystemClock
from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.audit import Kind
from interlock.domain.duties import NODE_DUTIES, RecordingMode
from interlock.domain.identity import Claims, Identity
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.session import SessionContext, SessionKind
from interlock.testing.echo import until
from interlock.testing.node import NODE_ID, World, node_world

V1 = b"session-id-query@goteleport.com"
V2 = b"session-id-query-v2@goteleport.com"
SUCCESS, FAILURE = 81, 82
PROXY_ID = DaemonId("99999999-2222-4333-8444-555555555555")


class Session(asyncssh.SSHClientSession[bytes]):
    """Collects what a channel shows."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self.output += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


class Channel(SSHClientChannel[bytes]):
    """A session channel that notes announcements as a forwarder does."""

    def __init__(self, connection: asyncssh.SSHClientConnection, window: int = 1 << 20) -> None:
        super().__init__(connection, asyncio.get_running_loop(), "strict", None, "strict", window, 32768)
        self.announced: list[bytes] = []
        self.heard = asyncio.Event()

    def _process_current_session_id_at_goteleport_dot_com_request(self, packet: SSHPacket) -> bool:
        self.announced.append(packet.get_remaining_payload())
        self.heard.set()
        return True

    async def open(self, extra: bytes = b"") -> Session:
        """Open with this extra data; ChannelOpenError if refused."""
        await SSHChannel._open(self, b"session", extra)
        session = Session()
        self._session = session
        return session

    async def run(self, command: bytes) -> bool | None:
        """Ask for a command, which may be any bytes."""
        granted = await self._make_request(b"exec", String(command))
        self.resume_reading()
        return granted


@contextlib.asynccontextmanager
async def visit(world: World, certificate: str | None = None) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to the node, as alice or with another certificate for a key of hers."""
    key = await world.key()
    private = asyncssh.read_private_key(str(key.path))
    shown = asyncssh.import_certificate(certificate or key.certificate.read_text())
    async with asyncssh.connect(
        "127.0.0.1",
        world.port,
        username=world.login,
        client_keys=[(private, shown)],
        known_hosts=None,
        config=None,
    ) as connection:
        yield connection


async def ask(connection: asyncssh.SSHClientConnection, request: bytes) -> int:
    """The type of the answer to a global request."""
    kind, _ = await connection._make_global_request(request)
    return kind


@contextlib.asynccontextmanager
async def forwarder(
    world: World, *, records: bool, target: DaemonId = NODE_ID, client: str = ""
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection as a forwarding node makes it."""
    now = SystemClock().now()
    identity = Identity("bob", ("access",), "test")
    claims = Claims(identity, (world.login,), now, now + timedelta(hours=1), 1)
    role = Role("access", (world.login,), {"*": "*"})
    permit = Permit.decide(claims, [role], world.login, replace(world.target, id=target), now=now)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    credential = world.authority.sign_for_target(permit, public, by=PROXY_ID, records=records, client_addr=client)
    shown = asyncssh.import_certificate(credential.certificate)
    async with asyncssh.connect(
        "127.0.0.1", world.port, username=world.login, client_keys=[(key, shown)], known_hosts=None, config=None
    ) as connection:
        yield connection


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


async def test_a_removed_user_opens_no_more_sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that was let in before (ControlMaster), too; what runs already goes on."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 0.0)
    async with visit(world) as connection:
        running = Channel(connection)
        session = await running.open()
        assert await running.run(b"cat")
        world.admission.refusal = Denied("access denied: your account no longer exists", reason="no user any more")
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open()
        assert (refused.value.code, refused.value.reason) == (1, "access denied: your account no longer exists")
        running.write(b"still here")
        running.write_eof()
        await session.closed.wait()
        assert session.output == b"still here"
    assert ("access denied: your account no longer exists", "no user any more") in world.sessions.refused
    assert world.sink.events == []


async def test_who_is_let_in_again_need_not_connect_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that was corrected, or an auth that was away."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 0.0)
    world.admission.refusal = Denied("not now")
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match="not now"):
            await Channel(connection).open()
        world.admission.refusal = None
        await Channel(connection).open()


async def test_policy_is_not_asked_for_every_channel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer holds for seconds, a refusal too, so that twenty sessions at once cost one question."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 3600.0)
    async with visit(world) as connection:
        for _ in range(3):
            await Channel(connection).open()
        assert len(world.admission.asked) == 1
    world.admission.refusal = Denied("no")
    async with visit(world) as connection:
        for _ in range(3):
            with pytest.raises(asyncssh.ChannelOpenError):
                await Channel(connection).open()
        assert len(world.admission.asked) == 2
    assert (len(world.sink.events), world.sessions.refused) == (1, [])


async def test_a_certificate_that_expires_opens_no_more_sessions(world: World) -> None:
    """At once, whenever policy was asked last."""
    async with visit(world) as connection:
        await Channel(connection).open()
        assert world.server is not None
        world.server.clock = Later(timedelta(hours=1))
        with pytest.raises(asyncssh.ChannelOpenError, match="your certificate has expired: run ilsh login"):
            await Channel(connection).open()
    assert len(world.sessions.refused) == 1


async def test_a_forwarders_connection_outlives_its_certificate(world: World) -> None:
    """It is valid for minutes, to log in with; who may open sessions later is the forwarder's to ask."""
    async with forwarder(world, records=True) as connection:
        assert world.server is not None
        world.server.clock = Later(timedelta(hours=1))
        world.admission.refusal = Denied("not asked")
        await Channel(connection).open()


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


class Later:
    """The system's clock, but ahead."""

    def __init__(self, by: timedelta) -> None:
        self._by = by
        self._clock = SystemClock()

    def now(self) -> datetime:
        return self._clock.now() + self._by

    def monotonic(self) -> float:
        return self._clock.monotonic()
