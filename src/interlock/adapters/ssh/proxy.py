"""The proxy's SSH port: accepts clients, and puts a forwarding node between each routed one and its target."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import asyncssh
import structlog

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.dial import Dialler
from interlock.adapters.ssh.door import Door, DoorServices, Gate, Jump, JumpEnd, address
from interlock.adapters.ssh.forwarder import Forwarder, Parties
from interlock.adapters.ssh.portal import PasswordCheck
from interlock.adapters.ssh.seams import ClientLegConnection, TargetLegConnection
from interlock.core import extensions, wire
from interlock.core.errors import Denied, InterlockError, TargetError
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.core.limits import KEEPALIVE_INTERVAL_S, LOGIN_TIMEOUT_S, MAX_CONNECTIONS_PREAUTH
from interlock.core.negotiation import Support
from interlock.core.opening import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.domain.audit import JsonValue
from interlock.domain.duties import FORWARDER_DUTIES, RecordingMode
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.session import SessionContext
from interlock.domain.target import Route, SubKind, Target
from interlock.ports import Entropy, HostIssuer, TargetSource
from interlock.services.portal import Portal
from interlock.services.sessions import Sessions

_log = structlog.get_logger()

SSH_PORT = 22


class Permits(Protocol):
    """The proxy's questions to policy."""

    async def permit_for(self, claims: Claims, login: str, target: Target) -> Permit:
        """Proof that the login is allowed; Denied otherwise."""
        ...

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The roles that count now."""
        ...


@dataclass(frozen=True, slots=True)
class ProxyParts:
    """What the proxy is made of."""

    daemon_id: DaemonId
    gate: Gate
    permits: Permits
    targets: TargetSource
    mode: Callable[[], Awaitable[RecordingMode]]
    dialler: Dialler
    hosts: HostIssuer
    sessions: Sessions
    passwords: PasswordCheck
    portal: Portal
    entropy: Entropy
    names: Sequence[str]  # what clients call the proxy: principals of its host certificate
    ciphers: Sequence[str] = algorithms.FAST_CIPHERS
    keepalive_interval: float = KEEPALIVE_INTERVAL_S


class ProxyServer:
    """One listening port. `run` belongs into a TaskGroup; `stop` ends it."""

    def __init__(self, parts: ProxyParts, host_key: asyncssh.SSHKey) -> None:
        self._parts = parts
        self._host_key = host_key
        self._forwarders: set[Forwarder] = set()
        self._dialling: dict[_Passage, asyncio.Task[None]] = {}  # those that have no forwarder yet
        self._doors: set[ClientLegConnection] = set()  # until they are routed or gone
        self._strangers: set[ClientLegConnection] = set()  # those of them that have not authenticated
        self._host_certificates: dict[str, asyncssh.SSHCertificate] = {}
        self._listener: asyncio.Server | None = None
        self._tasks: asyncio.TaskGroup | None = None  # set while `run` runs
        self._stopping = asyncio.Event()
        self._services = DoorServices(
            parts.passwords, parts.portal, self._route, self._jump, self._strangers.discard, self._gone
        )

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the port; the address it got. OSError if it is taken."""
        loop = asyncio.get_running_loop()
        options = await self._options(self._parts.names, lambda: Door(self._parts.gate, self._services))
        self._listener = await loop.create_server(lambda: self._accept(loop, options), host, port, backlog=1024)
        bound = self._listener.sockets[0].getsockname()
        return bound[0], bound[1]

    async def run(self) -> None:
        """Serve until `stop`; returns when every connection has ended."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._stopping.wait()
        self._tasks = None

    async def stop(self, text: str) -> None:
        """Accept nobody any more, tell everybody, and let `run` return."""
        if self._listener is not None:
            self._listener.close()
        self._stopping.set()
        for forwarder in list(self._forwarders):
            forwarder.shut_down(text)
        for passage, task in list(self._dialling.items()):
            passage.disconnect(text)
            task.cancel()
        for connection in list(self._doors):
            with contextlib.suppress(OSError):
                connection.disconnect(asyncssh.DISC_BY_APPLICATION, text)

    # --- connections ------------------------------------------------------------------------------

    def _accept(
        self, loop: asyncio.AbstractEventLoop, options: asyncssh.SSHServerConnectionOptions
    ) -> asyncio.BaseProtocol:
        if len(self._strangers) >= MAX_CONNECTIONS_PREAUTH:
            return _TurnedAway()
        connection = ClientLegConnection(loop, options)
        self._doors.add(connection)
        self._strangers.add(connection)
        return connection

    def _gone(self, connection: ClientLegConnection) -> None:
        self._doors.discard(connection)
        self._strangers.discard(connection)

    async def _options(
        self, names: Sequence[str], owner: Callable[[], asyncssh.SSHServer]
    ) -> asyncssh.SSHServerConnectionOptions:
        certificate = await self._host_certificate(tuple(names))
        options: asyncssh.SSHServerConnectionOptions = await asyncssh.SSHServerConnectionOptions.construct(
            server_factory=owner,
            config=None,
            server_version=extensions.SOFTWARE,
            server_host_keys=[(self._host_key, certificate)],
            gss_host=None,
            host_based_auth=False,
            password_auth=False,
            login_timeout=LOGIN_TIMEOUT_S,
            kex_algs=list(algorithms.KEX),
            encryption_algs=list(self._parts.ciphers),
            mac_algs=list(algorithms.MACS),
            compression_algs=list(algorithms.COMPRESSION),
            line_editor=False,
            encoding=None,
        )
        return options

    async def _host_certificate(self, names: tuple[str, ...]) -> asyncssh.SSHCertificate:
        key = ",".join(names)
        cached = self._host_certificates.get(key)
        if cached is None:
            line = await self._parts.hosts.issue_host(self._host_key.export_public_key().decode(), names)
            cached = self._host_certificates[key] = asyncssh.import_certificate(line)
        return cached

    # --- the two roads ----------------------------------------------------------------------------

    def _route(self, connection: ClientLegConnection, claims: Claims, route: Route, client_addr: str) -> None:
        self._gone(connection)
        self._serve(_Passage(self._parts, connection, claims, route.login, route.target, client_addr))

    async def _jump(self, outer: ClientLegConnection, claims: Claims | None, host: str, port: int) -> Jump:
        """Answer a direct-tcpip: our own SSH server in the target's place, or a bridge if the node records."""
        if claims is None:
            text = "a jump needs a certificate: run ilsh login"
            raise Denied(text, reason="direct-tcpip after a sign-in by password")
        target = await self._parts.targets.target(host)
        roles = await self._parts.permits.current_roles(claims)
        if not any(role.matches(target) for role in roles):
            text = f"access denied: no role of yours reaches {target.hostname}"
            raise Denied(
                text, reason=f"{claims.identity.user} has {', '.join(r.name for r in roles) or 'no role'}"
            )
        if port not in (SSH_PORT, target.port):
            text = f"only the SSH port of {target.hostname} can be reached through this gateway"
            raise Denied(text, reason=f"direct-tcpip to {host}:{port}")
        mode = await self._parts.mode()
        if target.sub_kind is SubKind.NODE and not FORWARDER_DUTIES[mode, target.sub_kind].records:
            return await self._bridge(outer, target)
        return await self._jump_end(claims, target, host, address(outer.get_extra_info("peername")))

    async def _bridge(self, outer: ClientLegConnection, target: Target) -> Jump:
        """Bytes to and from our node, encrypted end to end: the node records."""
        try:
            return cast(Jump, await outer.forward_connection(target.host, target.port))
        except asyncssh.ChannelOpenError as error:
            public = f"{target.hostname} is unreachable"
            raise TargetError(public, reason=f"{public}: {error.reason}") from error

    async def _jump_end(self, claims: Claims, target: Target, host: str, client_addr: str) -> Jump:
        def serve(connection: ClientLegConnection, own: Claims, login: str, addr: str) -> None:
            self._serve(_Passage(self._parts, connection, own, login, target.id, addr))

        names = tuple(dict.fromkeys((host, target.hostname)))
        options = await self._options(
            names, lambda: JumpEnd(self._parts.gate, claims.identity, client_addr, serve)
        )
        return cast(Jump, ClientLegConnection(asyncio.get_running_loop(), options))

    def _serve(self, passage: "_Passage") -> None:
        if self._tasks is None or self._stopping.is_set():
            passage.abort()
        else:
            self._dialling[passage] = self._tasks.create_task(self._pass(passage), name="proxy.passage")

    async def _pass(self, passage: "_Passage") -> None:
        """One client's way through. Whatever goes wrong ends this connection and no other."""
        try:
            try:
                forwarder = await passage.open()
            finally:
                del self._dialling[passage]
            self._forwarders.add(forwarder)
            try:
                await forwarder.run()
            finally:
                self._forwarders.discard(forwarder)
        except Exception:  # noqa: BLE001 - a bug met by one client must not end the others
            _log.exception("proxy.passage_failed", client=passage.client_addr)
            passage.give_up()


class _TurnedAway(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it, before it costs anything."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


class _Passage:
    """From an authenticated client to a forwarder with a target, or with a refusal in its place."""

    def __init__(
        self,
        parts: ProxyParts,
        connection: ClientLegConnection,
        claims: Claims,
        login: str,
        target_name: str,
        client_addr: str,
    ) -> None:
        self.client_addr = client_addr
        self._parts = parts
        self._connection = connection
        self._claims = claims
        self._login = login
        self._target_name = target_name
        self._target: Target | None = None
        self._permit: Permit | None = None

    def abort(self) -> None:
        """Drop the client."""
        self._connection.abort()

    def give_up(self) -> None:
        """A bug of ours: tell the client that it is not to blame, note it, and drop it."""
        public = "internal error of the gateway: its log has the details"
        self._parts.sessions.rejected(self._facts(), public=public, reason=public)
        with contextlib.suppress(OSError):
            self.disconnect(public)
        self.abort()

    def disconnect(self, text: str) -> None:
        """Tell the client, then drop it. Only while there is no forwarder."""
        self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, text)

    async def open(self) -> Forwarder:
        """Decide, dial, and make the forwarder."""
        mode = RecordingMode.PROXY
        connection: TargetLegConnection | None = None
        refusal: Refusal | None = None
        try:
            mode = await self._parts.mode()
            target = self._target = await self._parts.targets.target(self._target_name)
            permit = self._permit = await self._parts.permits.permit_for(self._claims, self._login, target)
            records = FORWARDER_DUTIES[mode, target.sub_kind].records
            connection = await self._parts.dialler.dial(permit, records=records)
        except InterlockError as error:
            code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED if isinstance(error, Denied) else wire.OPEN_CONNECT_FAILED
            refusal = Refusal(code, error.public, error.reason)
        relay = Relay(self._relay_options(mode, connection, refusal), self._mint)
        return Forwarder(
            self._connection,
            connection,
            relay=relay,
            parties=Parties(lambda sid: self._context(sid, mode), self._facts),
            sessions=self._parts.sessions,
            keepalive_interval=self._parts.keepalive_interval,
        )

    def _relay_options(
        self, mode: RecordingMode, connection: TargetLegConnection | None, refusal: Refusal | None
    ) -> RelayOptions:
        version = str(connection.get_extra_info("server_version", "")) if connection else ""
        ours = self._target is not None and self._target.sub_kind is SubKind.NODE
        return RelayOptions(
            support=Support.UNKNOWN if ours else Support.NO,
            passes_params=ours and extensions.understands_params(version.encode()),
            recording_proxy=mode is RecordingMode.PROXY,
            refusal=refusal,
        )

    def _mint(self) -> SessionId:
        return parse_session_id(self._parts.entropy.uuid())

    def _context(self, sid: SessionId, mode: RecordingMode) -> SessionContext:
        permit = self._permit
        if permit is None:
            raise Denied("access denied", reason="a session without a permit")
        return SessionContext(
            sid=sid,
            identity=permit.identity,
            login=permit.login,
            target=permit.target,
            mode=mode,
            duties=FORWARDER_DUTIES[mode, permit.target.sub_kind],
            daemon_id=self._parts.daemon_id,
            client_addr=self.client_addr,
            local_addr=address(self._connection.get_extra_info("sockname")),
            client_version=str(self._connection.get_extra_info("client_version", "")),
        )

    def _facts(self) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = {
            "user": self._claims.identity.user,
            "login": self._login[:64],
            "server_hostname": self._target_name[:128],
            "addr.remote": self.client_addr,
            "proto": "ssh",
            "recorded_by": self._parts.daemon_id,
        }
        if self._target is not None:
            fields |= {"server_id": self._target.id, "server_hostname": self._target.hostname}
        return fields
