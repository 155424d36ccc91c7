"""A node apart from auth, end to end: real gRPC, a real data directory, and the real ssh as the client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from interlock.adapters.age import identity
from interlock.adapters.rpc.server import AuthRpcServer, Bound
from interlock.core.errors import ConfigError, Denied, RecordingError, SignInFailed
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.auth_rpc import auth_rpc_server
from interlock.daemons.local import Local, open_local
from interlock.daemons.membership import JoinBy
from interlock.daemons.node import NodeSettings
from interlock.daemons.node_identity import IdentityFile
from interlock.daemons.node_remote import run_node
from interlock.domain.audit import JsonValue
from interlock.domain.container import Standing, decode, verify
from interlock.domain.rbac import Role
from interlock.domain.recording import Output
from interlock.domain.signing import DaemonRole, read_public_keys
from interlock.domain.target import SubKind, Target
from interlock.ports import Clock, EventFilter, User
from interlock.services.keys.daemonca import DAEMON_LIFE, open_daemon_ca
from interlock.services.keys.joining import JoinSources, create_token
from interlock.services.sessions.claims import SessionClaims
from interlock.testing.openssh import SshClient, current_login, make_key
from interlock.testing.procs import Completed

pytestmark = pytest.mark.slow

LOOPBACK = "127.0.0.1"


@dataclass
class Gateway:
    """Auth with its two listeners, a user with a certificate, and nothing else."""

    local: Local
    client: SshClient
    bound: Bound
    server: AuthRpcServer
    recipients: tuple[str, ...] = ()  # for whom recordings are encrypted, from the next start on

    async def stop(self) -> None:
        """Auth goes away."""
        await self.server.stop(0)

    async def start_again(self) -> None:
        """Auth comes back at the same addresses."""
        self.server = await auth_rpc_server(
            self.local,
            SessionClaims(),
            JoinSources(),
            self.local.lock_feed(strict=False),
            recipients=self.recipients,
        )
        await self.server.start(service=self.bound.service, join=self.bound.join)

    async def join_by(self, ttl: timedelta = timedelta(hours=1)) -> JoinBy:
        """A fresh token for this auth."""
        local = self.local
        ca = await open_daemon_ca(
            local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
        )
        token = await create_token(local.tokens, pin=ca.pin, clock=local.clock, entropy=local.entropy, ttl=ttl)
        return JoinBy(self.bound.join, token)

    async def ssh(self, port: int, *command: str) -> Completed:
        """Run a command on the node with the stock client, directly."""
        arguments = ("-p", str(port), "-o", "HostKeyAlias=node1", f"{current_login()}@{LOOPBACK}", *command)
        return await asyncio.to_thread(self.client.run, *arguments)

    async def listed(self) -> bool:
        """Whether the node is in the inventory."""
        return [node.hostname for node in await self.local.inventory.targets()] == ["node1"]

    async def events(self, kind: str) -> list[dict[str, JsonValue]]:
        """What the audit log has of a kind."""
        return await self.local.audit.events(EventFilter(event=kind))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A listening auth."""
    async with open_local(tmp_path / "gateway") as local:
        now, login = local.clock.now(), current_login()
        await local.roles.add_role(Role("access", (login,), {"env": "test"}))
        await local.users.add_user(User("alice", ("access",), None, False, now))
        key = make_key(tmp_path / "id")
        certificate = await local.authority.issue_user(
            "alice", ["access"], [login], key.public, timedelta(hours=1)
        )
        key.certificate.write_text(certificate)
        known_hosts = [f"@cert-authority * {local.authority.export('host')}"]
        server = await auth_rpc_server(local, SessionClaims(), JoinSources(), local.lock_feed(strict=False))
        bound = await server.start(service=f"{LOOPBACK}:0", join=f"{LOOPBACK}:0")
        gateway = Gateway(local, SshClient(tmp_path / "client", [key], known_hosts), bound, server)
        try:
            yield gateway
        finally:
            await gateway.stop()


def settings(tmp_path: Path) -> NodeSettings:
    """A node on a free port of the loopback address."""
    return NodeSettings(tmp_path / "node", "node1", host=LOOPBACK, port=0, labels={"env": "test"})


@asynccontextmanager
async def running(
    gateway: Gateway, wanted: NodeSettings, join_by: JoinBy | None, clock: Clock | None = None
) -> AsyncIterator[asyncio.Future[int]]:
    """The node, running until the block ends; the result is its port once it listens."""
    stopping = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_node(
                wanted,
                join_by=join_by,
                clock=clock or gateway.local.clock,
                entropy=gateway.local.entropy,
                stopping=stopping,
                on_ready=lambda _host, bound: port.set_result(bound),
            )
        )
        try:
            yield port
        finally:
            stopping.set()


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the check holds; the test's own time limit ends a wait in vain."""
    while not await check():  # noqa: ASYNC110 - the state is another process' or a database's
        await asyncio.sleep(0.05)


async def test_a_node_joins_is_listed_and_runs_a_recorded_command(gateway: Gateway, tmp_path: Path) -> None:
    """The whole way: token, inventory, admission by auth, events, tracker and recording delivered over gRPC."""
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        number = await port

        await eventually(gateway.listed)
        done = await gateway.ssh(number, "echo $SSH_SESSION_ID")
        assert done.check().stdout.strip()
    sid = done.stdout.strip()
    node = (await gateway.local.inventory.target("node1")).id
    for kind in ("session.start", "session.end", "session.upload"):
        found = await gateway.events(kind)
        assert [(event["sid"], event["recorded_by"]) for event in found] == [(sid, node)]
    assert [info.sid for info in await gateway.local.recordings.recordings()] == [sid]
    assert await gateway.local.trackers.live() == []
    keys = read_public_keys(gateway.local.authority.export("recordings"))
    stored = [piece async for piece in gateway.local.recordings.read(SessionId(sid))]
    proved = verify(stored, keys, sid=SessionId(sid))
    assert (proved.standing, proved.problem) == (Standing.SIGNED, None)
    assert proved.signer is not None
    assert (proved.signer.daemon, proved.signer.role) == (node, DaemonRole.NODE)


async def test_a_node_encrypts_for_whom_auth_says(gateway: Gateway, tmp_path: Path) -> None:
    """From its first session on; auth stores what it cannot read, and verifies it all the same."""
    own = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{own}\n")
    await gateway.stop()
    gateway.recipients = (str(own.to_public()),)
    await gateway.start_again()
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        (await gateway.ssh(await port, "echo what was shown")).check()
    [info] = await gateway.local.recordings.recordings()
    stored = [piece async for piece in gateway.local.recordings.read(info.sid)]
    assert info.meta["command"] == "echo what was shown"
    shown = [
        frame.body.data
        for frame in decode(stored, identity(tmp_path / "identity"))
        if isinstance(frame.body, Output)
    ]
    assert b"".join(shown) == b"what was shown\n"
    with pytest.raises(RecordingError, match="encrypted"):
        list(decode(stored))
    keys = read_public_keys(gateway.local.authority.export("recordings"))
    proved = verify(stored, keys, sid=info.sid)
    assert (proved.standing, proved.encrypted) == (Standing.SIGNED, True)


async def test_a_command_that_is_no_text_is_recorded_like_any_other(gateway: Gateway, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 in a command do not stop the node, whose next session is served as well."""
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        number = await port
        await eventually(gateway.listed)
        for _ in range(2):
            (await gateway.ssh(number, b"echo \xff\xe9".decode("utf-8", "surrogateescape"))).check()
    assert len(await gateway.events("session.upload")) == 2


async def test_a_node_that_has_joined_needs_no_token(gateway: Gateway, tmp_path: Path) -> None:
    """The second start uses the stored identity: same ID, same host key, same certificates."""
    first = await gateway.join_by()
    async with running(gateway, settings(tmp_path), first) as port:
        await port
        await eventually(gateway.listed)
    stored = IdentityFile(tmp_path / "node").load()
    async with running(gateway, settings(tmp_path), None) as port:
        (await gateway.ssh(await port, "true")).check()
    # The old token in a start script that nobody changed does no harm either.
    async with running(gateway, settings(tmp_path), first) as port:
        await port
    assert IdentityFile(tmp_path / "node").load() == stored
    assert (tmp_path / "node" / "identity.json").stat().st_mode & 0o777 == 0o600


async def test_what_happens_while_auth_is_away_is_delivered_later(gateway: Gateway, tmp_path: Path) -> None:
    """A session that is running when auth goes away ends normally; events and recording arrive when it is back."""
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        number = await port
        await eventually(gateway.listed)
        go = tmp_path / "go"
        command = f"echo started; until [ -e {go} ]; do sleep 0.05; done; echo done"
        async with asyncio.TaskGroup() as tasks:
            session = tasks.create_task(gateway.ssh(number, command))

            async def started() -> bool:
                return len(await gateway.events("session.start")) == 1

            await eventually(started)
            await gateway.stop()
            go.touch()
        assert session.result().check().stdout == "started\ndone\n"
        assert await gateway.events("session.end") == []
        await gateway.start_again()

        async def delivered() -> bool:
            return len(await gateway.events("session.upload")) == 1

        await eventually(delivered)
    assert len(await gateway.events("session.end")) == 1
    assert len(await gateway.local.recordings.recordings()) == 1


async def test_a_node_starts_while_auth_is_away(gateway: Gateway, tmp_path: Path) -> None:
    """It listens, refuses what it cannot ask about, and serves as soon as auth is back."""
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        await port
    await gateway.stop()
    async with running(gateway, settings(tmp_path), None) as port:
        number = await port
        refused = await gateway.ssh(number, "true")
        assert refused.rc == 255
        assert "the gateway cannot decide on your access now" in refused.stderr
        await gateway.start_again()

        async def served() -> bool:
            return (await gateway.ssh(number, "true")).rc == 0

        await eventually(served)


async def test_joining_waits_for_auth(gateway: Gateway, tmp_path: Path) -> None:
    """A node that is started before auth joins when auth comes."""
    join_by = await gateway.join_by()
    await gateway.stop()
    async with running(gateway, settings(tmp_path), join_by) as port:
        await gateway.start_again()
        assert await port


async def test_a_waiting_node_can_be_stopped(gateway: Gateway, tmp_path: Path) -> None:
    """Nobody has to wait for auth in order to stop."""
    join_by = await gateway.join_by()
    await gateway.stop()
    async with running(gateway, settings(tmp_path), join_by) as port:
        pass
    assert not port.done()


async def run_once(gateway: Gateway, wanted: NodeSettings, join_by: JoinBy | None) -> None:
    """A start that fails, or stops at once."""
    stopping = asyncio.Event()
    local = gateway.local
    await run_node(
        wanted,
        join_by=join_by,
        clock=local.clock,
        entropy=local.entropy,
        stopping=stopping,
        on_ready=lambda _host, _port: stopping.set(),
    )


async def test_a_used_token_ends_the_start(gateway: Gateway, tmp_path: Path) -> None:
    """Another node has had it."""
    join_by = await gateway.join_by()
    await run_once(gateway, settings(tmp_path), join_by)
    other = replace(settings(tmp_path), data_dir=tmp_path / "other", hostname="node2")
    with pytest.raises(SignInFailed):
        await run_once(gateway, other, join_by)


async def test_a_first_start_without_a_token_says_what_to_do(gateway: Gateway, tmp_path: Path) -> None:
    """One sentence with the options that are missing."""
    with pytest.raises(ConfigError, match="--join TOKEN and --auth HOST:PORT or --proxy HOST:PORT"):
        await run_once(gateway, settings(tmp_path), None)


async def test_a_registered_hosts_name_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """A token does not divert the sessions of a host that an administrator has registered."""
    taken = Target(DaemonId("22222222-2222-4222-8222-222222222222"), "node1", "10.0.0.1", 22, SubKind.AGENTLESS)
    await gateway.local.inventory.add_target(taken)
    with pytest.raises(Denied, match="node1"):
        await run_once(gateway, settings(tmp_path), await gateway.join_by())


async def test_another_name_needs_another_token(gateway: Gateway, tmp_path: Path) -> None:
    """The names are in the certificates: changing them is joining again."""
    await run_once(gateway, settings(tmp_path), await gateway.join_by())
    renamed = replace(settings(tmp_path), hostname="node2")
    with pytest.raises(ConfigError, match="join again, since it joined as node1, not as node2"):
        await run_once(gateway, renamed, None)
    await run_once(gateway, renamed, await gateway.join_by())


async def test_an_address_that_is_taken_is_one_sentence(gateway: Gateway, tmp_path: Path) -> None:
    """Not a traceback."""
    async with running(gateway, settings(tmp_path), await gateway.join_by()) as port:
        other = replace(settings(tmp_path), data_dir=tmp_path / "other", hostname="node2", port=await port)
        with pytest.raises(ConfigError, match=f"cannot listen on {LOOPBACK}"):
            await run_once(gateway, other, await gateway.join_by())


class Ahead:
    """A clock that is days ahead of the gateway's."""

    def __init__(self, real: Clock, by: timedelta) -> None:
        self._real = real
        self._by = by

    def now(self) -> datetime:
        return self._real.now() + self._by

    def monotonic(self) -> float:
        return self._real.monotonic()


async def test_certificates_are_renewed_at_half_life(gateway: Gateway, tmp_path: Path) -> None:
    """By themselves; the node keeps its ID, stays listed over the new connection, and stores what is new."""
    await run_once(gateway, settings(tmp_path), await gateway.join_by())
    file = IdentityFile(tmp_path / "node")
    before = file.load()
    assert before is not None
    ahead = Ahead(gateway.local.clock, DAEMON_LIFE / 2 + timedelta(hours=1))
    async with running(gateway, settings(tmp_path), None, ahead) as port:
        await port

        async def renewed() -> bool:
            now = file.load()
            return now is not None and now.certificate != before.certificate

        await eventually(renewed)
    after = file.load()
    assert after is not None
    assert (after.id, after.key, after.host_key) == (before.id, before.key, before.host_key)
    assert after.host_certificate != before.host_certificate


async def test_an_identity_that_has_expired_needs_a_new_token(gateway: Gateway, tmp_path: Path) -> None:
    """Whoever was away for longer than its identity lasts joins again, and says so."""
    await run_once(gateway, settings(tmp_path), await gateway.join_by())
    late = Ahead(gateway.local.clock, DAEMON_LIFE + timedelta(hours=1))
    stopping = asyncio.Event()
    with pytest.raises(ConfigError, match="identity has expired: give it --join TOKEN"):
        await run_node(
            settings(tmp_path), join_by=None, clock=late, entropy=gateway.local.entropy, stopping=stopping
        )
