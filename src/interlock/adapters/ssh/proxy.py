"""The proxy's SSH port: accepts clients, and puts a forwarding node between each routed one and its target."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import cast

import asyncssh
import structlog

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.bridge import open_bridge
from interlock.adapters.ssh.dial import SSH_PORT
from interlock.adapters.ssh.door import Door, DoorServices, Joins, Jump, JumpEnd
from interlock.adapters.ssh.entrance import Entrance
from interlock.adapters.ssh.forwarder import Forwarder
from interlock.adapters.ssh.fronted import Fronted, Fronts
from interlock.adapters.ssh.guarded import address
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.passage import Passage
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.adapters.ssh.seams.tunnel import DoorConnection
from interlock.adapters.ssh.strangers import Strangers
from interlock.core import extensions
from interlock.core.errors import Denied, InterlockError, TargetError
from interlock.core.limits import LOGIN_TIMEOUT_S
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.duties import FORWARDER_DUTIES
from interlock.domain.identity import Claims
from interlock.domain.party import parse_wish
from interlock.domain.target import Route, SubKind, Target

_log = structlog.get_logger()

BACKLOG = 1024
"""Connections that may wait to be accepted."""

RENEWAL_S = 24 * 3600.0
"""Seconds between two host certificates of a running gateway."""


Way = Passage | Entrance
"""How an authenticated client is led on."""


class ProxyServer:
    """One listening port. `run` belongs into a TaskGroup; `stop` ends it."""

    def __init__(self, parts: ProxyParts, host_key: asyncssh.SSHKey) -> None:
        self._parts = parts
        self._host_key = host_key
        self._forwarders: set[Forwarder] = set()
        self._dialling: dict[Way, asyncio.Task[None]] = {}  # those that have no forwarder yet
        self._doors: set[ClientLegConnection] = set()  # until they are routed or gone
        self._strangers = Strangers[ClientLegConnection](parts.strangers)
        self._host_certificates: dict[str, asyncssh.SSHCertificate] = {}
        self._fronts = Fronts(parts.fronts, parts.strangers, self._accept) if parts.fronts else None
        self._listeners: list[asyncio.Server] = []
        self._door_options: asyncssh.SSHServerConnectionOptions  # set by listen, renewed by run
        self._tasks: asyncio.TaskGroup | None = None  # set while `run` runs
        self._stopping = asyncio.Event()
        self._farewell = ""  # what everybody is told at the end
        self._joining: dict[ClientLegConnection, Entrance] = {}  # those that take part in a session here
        self._services = DoorServices(
            parts.passwords,
            parts.confirming,
            parts.portal,
            parts.tunnels,
            self._route,
            self._jump,
            self._arrived,
            self._strangers.left,
            self._gone,
            self._joins,
            self._asks,
        )

    async def listen(self, host: str, port: int, *, share: bool = False) -> tuple[str, int]:
        """Open the port; the address it got. OSError if it is taken. ``share``: with others that say so."""
        loop = asyncio.get_running_loop()
        self._door_options = await self._options(self._parts.names, self._door)
        listener = await loop.create_server(self._factory(loop), host, port, backlog=BACKLOG, reuse_port=share)
        self._listeners.append(listener)
        bound = listener.sockets[0].getsockname()
        return bound[0], bound[1]

    async def listen_on(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections from sockets that listen already, which others may hold, too."""
        loop = asyncio.get_running_loop()
        self._door_options = await self._options(self._parts.names, self._door)
        for each in sockets:
            listener = await loop.create_server(self._factory(loop), sock=each, backlog=BACKLOG)
            self._listeners.append(listener)

    def close_door(self) -> None:
        """Accept nobody any more; everybody who is here stays."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    @property
    def busy(self) -> bool:
        """Whether anybody is here who came for more than to ask the portal something, or may yet."""
        here = any(entrance.here for entrance in self._joining.values())
        jumping = any(connection.count_channels() for connection in self._doors)
        return bool(here or jumping or self._forwarders or self._dialling or len(self._strangers) or self._fronts)

    async def run(self) -> None:
        """Serve until `stop`; returns when every connection has ended."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            renewal = tasks.create_task(self._renew(), name="proxy.renewal")
            await self._stopping.wait()
            renewal.cancel()
        self._tasks = None
        self._parts.tunnels.close(self._farewell)  # last: sessions were ended through them

    async def _renew(self) -> None:
        """Fresh host certificates every day: they live for weeks, and so do gateways."""
        while True:
            await asyncio.sleep(RENEWAL_S)
            try:
                await self.renew()
            except InterlockError as error:  # the old one goes on, and tomorrow is another day
                _log.warning("proxy.host_certificate_not_renewed", reason=error.reason)

    async def renew(self, ciphers: Sequence[str] | None = None) -> None:
        """Show fresh host certificates from the next connection on; ``ciphers``: and offer these."""
        if ciphers is not None:
            self._parts = replace(self._parts, ciphers=ciphers)
        self._host_certificates.clear()
        self._door_options = await self._options(self._parts.names, self._door)

    def _door(self) -> Door:
        return Door(self._parts.gate, self._services)

    async def stop(self, text: str) -> None:
        """Accept nobody any more, tell everybody, and let `run` return."""
        self.close_door()
        self._farewell = text
        self._stopping.set()
        if self._fronts is not None:
            self._fronts.close()
        for forwarder in list(self._forwarders):
            forwarder.shut_down(text)
        for passage, task in list(self._dialling.items()):
            passage.disconnect(text)
            task.cancel()
        here = [connection for connection, entrance in self._joining.items() if entrance.here]
        for connection in [*self._doors, *here]:
            with contextlib.suppress(OSError):
                connection.disconnect(asyncssh.DISC_BY_APPLICATION, text)

    # --- connections ------------------------------------------------------------------------------

    def _factory(self, loop: asyncio.AbstractEventLoop) -> Callable[[], asyncio.Protocol]:
        fronts = self._fronts
        return self._accept if fronts is None else lambda: Fronted(loop, fronts)

    def _accept(self) -> DoorConnection:
        connection = DoorConnection(asyncio.get_running_loop(), self._door_options)
        connection.accepted_at = self._parts.gate.clock.monotonic()
        self._doors.add(connection)
        return connection

    def _arrived(self, connection: ClientLegConnection) -> None:
        """A stranger; when there are too many, one of the source that sends most is closed for it."""
        name = connection.get_extra_info("peername")
        surplus = self._strangers.arrived(connection, str(name[0]) if name else "")
        if surplus is not None:
            surplus.abort()

    def _gone(self, connection: ClientLegConnection) -> None:
        self._doors.discard(connection)
        if (entrance := self._joining.pop(connection, None)) is not None:
            entrance.gone()
        self._strangers.left(connection)

    async def _options(
        self, names: Sequence[str], owner: Callable[[], asyncssh.SSHServer], *, keep: bool = True
    ) -> asyncssh.SSHServerConnectionOptions:
        certificate = await self._host_certificate(tuple(names), keep=keep)
        return asyncssh.SSHServerConnectionOptions(
            loop=asyncio.get_running_loop(),
            server_factory=owner,
            config=None,
            server_version=extensions.SOFTWARE,
            server_host_keys=[(self._host_key, certificate)],
            gss_host=None,
            host_based_auth=False,
            agent_forwarding=False,  # asyncssh would make sockets for it; only relayed connections have it
            password_auth=False,
            login_timeout=LOGIN_TIMEOUT_S,
            kex_algs=list(algorithms.SERVED_KEX),
            encryption_algs=list(self._parts.ciphers),
            mac_algs=list(algorithms.SERVED_MACS),
            compression_algs=list(algorithms.COMPRESSION),
            line_editor=False,
            encoding=None,
        )

    async def _host_certificate(self, names: tuple[str, ...], *, keep: bool) -> asyncssh.SSHCertificate:
        key = ",".join(names)
        cached = self._host_certificates.get(key)
        if cached is None:
            line = await self._parts.hosts.issue_host(self._host_key.export_public_key().decode(), names)
            cached = asyncssh.import_certificate(line)
            if keep:
                self._host_certificates[key] = cached
        return cached

    # --- the two roads ----------------------------------------------------------------------------

    def _route(self, connection: ClientLegConnection, claims: Claims, route: Route, client_addr: str) -> None:
        self._gone(connection)
        wish = parse_wish(route)
        if wish is None:
            self._serve(Passage(self._parts, connection, claims, route.login, route.target, client_addr))
        else:
            entrance = self._joining[connection] = Entrance(self._parts, connection, claims, wish, client_addr)
            self._serve(entrance)

    async def _asks(self, claims: Claims, route: Route) -> bool:
        """Whether a second factor has to confirm a connection; to what is no target here, if any role says so."""
        if not await self._parts.permits.asks(claims, "", ""):  # hardly anybody is asked
            return False
        elsewhere = parse_wish(route) is not None or await self._parts.leaves.find(route.target) is not None
        return elsewhere or await self._parts.permits.asks(claims, route.login, route.target)

    def _joins(self, connection: ClientLegConnection) -> Joins | None:
        entrance = self._joining.get(connection)
        return entrance.session if entrance is not None else None

    async def _jump(self, outer: ClientLegConnection, claims: Claims | None, host: str, port: int) -> Jump:
        """Answer a direct-tcpip: our own SSH server in the target's place, or a bridge if the node records."""
        if claims is None:
            text = "a jump needs a certificate: run ilsh login"
            raise Denied(text, reason="direct-tcpip after a sign-in by password")
        if claims.forwarded is not None:
            raise Denied("other clusters' people reach nodes here by their own gateway only")
        if await self._parts.leaves.find(host) is not None:
            return await self._jump_to_leaf(outer, claims, host, port)
        target = await self._parts.permits.find(claims, host)
        mode = await self._parts.permits.mode_before_login(claims, target, host)
        if port not in (SSH_PORT, target.port):
            text = f"only the SSH port of {target.hostname} can be reached through this gateway"
            raise Denied(text, reason=f"direct-tcpip to {host}:{port}")
        recorded = target.sub_kind is not SubKind.NODE or FORWARDER_DUTIES[mode, target.sub_kind].emits
        if not recorded and await self._bridges(claims, target):
            return await self._bridge(outer, claims, target)
        names = tuple(dict.fromkeys((host, target.hostname)))
        return await self._jump_end(claims, target.id, names, address(outer.get_extra_info("peername")))

    async def _bridges(self, claims: Claims, target: Target) -> bool:
        """Whether the node can judge the person by itself: behind a bridge it takes our address for theirs."""
        if claims.enrolled or claims.source_networks:  # it knows no plain keys
            return False
        if await self._parts.permits.asks_on(claims, target):  # which nobody could do across a bridge
            return False
        roles = await self._parts.permits.current_roles(claims)
        return all(role.options.source_networks is None for role in roles)

    async def _jump_to_leaf(self, outer: ClientLegConnection, claims: Claims, host: str, port: int) -> Jump:
        """Always answered here: the leaf does not know the person's certificate."""
        if port != SSH_PORT:
            text = f"only the SSH port of {host} can be reached through this gateway"
            raise Denied(text, reason=f"direct-tcpip to {host}:{port}")
        # Its certificate is not kept: only the leaf knows its nodes, so there could be any number of names.
        client_addr = address(outer.get_extra_info("peername"))
        return await self._jump_end(claims, host, (host,), client_addr, keep=False)

    async def _bridge(self, outer: ClientLegConnection, claims: Claims, target: Target) -> Jump:
        """Bytes to and from our node, encrypted end to end: the node records.

        It sees our address as its client's, unless it is reached by its tunnel, which says whose it really is; for
        the others the event does (ADR-0003).
        """
        gate = self._parts.gate
        client_addr = address(outer.get_extra_info("peername"))
        bridged = await open_bridge(target, self._parts.tunnels, client_addr)
        if outer.is_closed():
            bridged.abandon()
            raise TargetError("the connection is closed")
        fields: dict[str, JsonValue] = {
            "user": claims.identity.user,
            "addr": target.addr or target.hostname,
            "addr.remote": client_addr,
            "server_id": target.id,
            "server_hostname": target.hostname,
            "success": True,
        }
        if bridged.local_addr:
            fields["addr.local"] = bridged.local_addr
        gate.events.emit(gate.factory.make(Kind.PORT, fields))
        return bridged

    async def _jump_end(
        self, claims: Claims, target: str, names: tuple[str, ...], client_addr: str, *, keep: bool = True
    ) -> Jump:
        def serve(connection: ClientLegConnection, own: Claims, login: str, addr: str) -> None:
            self._serve(Passage(self._parts, connection, own, login, target, addr))

        async def asks(own: Claims, login: str) -> bool:
            return await self._asks(own, Route(login, target))

        options = await self._options(
            names,
            lambda: JumpEnd(self._parts.gate, self._parts.passwords, asks, claims.identity, client_addr, serve),
            keep=keep,
        )
        inner = ClientLegConnection(asyncio.get_running_loop(), options)
        inner.accepted_at = self._parts.gate.clock.monotonic()
        return cast(Jump, inner)

    def _serve(self, passage: Way) -> None:
        if self._tasks is None or self._stopping.is_set():
            passage.abort()
        else:
            self._dialling[passage] = self._tasks.create_task(self._pass(passage), name="proxy.passage")

    async def _pass(self, passage: Way) -> None:
        """One client's way through. Whatever goes wrong ends this connection and no other."""
        try:
            try:
                forwarder = await passage.open()
            finally:
                del self._dialling[passage]
            if forwarder is None:
                return
            self._forwarders.add(forwarder)
            try:
                await forwarder.run()
            finally:
                self._forwarders.discard(forwarder)
        except Exception:  # noqa: BLE001 - a bug met by one client must not end the others
            _log.exception("proxy.passage_failed", client=passage.client_addr)
            passage.give_up()
        finally:
            passage.leave()
