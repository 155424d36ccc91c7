"""The node's front: it listens, keeps connections, sessions and processes together, and stops in order.

Who a client is and what it may do is decided in `visitor`, what a session does in `session`. Options that make a
node behave as older ones did are constructor switches, so that every pairing of old and new is a test fixture.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.child import Children
from interlock.adapters.ssh.node.environment import SessionFacts
from interlock.adapters.ssh.node.forwarding.reach import Protected
from interlock.adapters.ssh.node.forwarding.session import SessionForwards
from interlock.adapters.ssh.node.house import Caller
from interlock.adapters.ssh.node.live import Announcement, Live
from interlock.adapters.ssh.node.party import NodePartySession
from interlock.adapters.ssh.node.refusals import Refusals
from interlock.adapters.ssh.node.session import ShellSession
from interlock.adapters.ssh.node.spawn import restore_ignored_signals
from interlock.adapters.ssh.node.visitor import Visitor
from interlock.adapters.ssh.party import Place, Shared
from interlock.adapters.ssh.seams.forward import ForwardingConnection
from interlock.adapters.ssh.seams.node import NodeConnection, NodeSession
from interlock.core.errors import ConfigError, Denied
from interlock.core.extensions import SESSION_ID_QUERY_V1, SESSION_ID_QUERY_V2, SOFTWARE, JoinMode
from interlock.core.ids import SessionId
from interlock.core.limits import (
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_MAX_MISSED,
    LOGIN_TIMEOUT_S,
    MAX_CONNECTIONS_PREAUTH,
    REKEY_BYTES,
    REKEY_SECONDS,
)
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.identity import Claims, Forwarded, Joining
from interlock.domain.party import Participant, choose_mode
from interlock.domain.session import SessionContext
from interlock.domain.target import Target
from interlock.ports import Admission, ClaimsReader, Clock, Entropy, EventSink
from interlock.services.access.tenure import Tenures

STOP_GRACE_S = 2.0
"""Seconds that clients get to read the farewell, and processes to leave, before both are cut off."""

LiveT_co = TypeVar("LiveT_co", bound=Live, covariant=True)


class Registry(Protocol, Generic[LiveT_co]):
    """`services.sessions.sessions.Sessions`, as far as the node needs it."""

    def agree(self, ctx: SessionContext) -> LiveT_co:
        """A session whose ID is agreed; InterlockError refuses it."""
        ...

    def find(self, sid: SessionId) -> Shared | None:
        """The live session with this ID, if it is this daemon that tells of it."""
        ...

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Emit ``session.rejected``."""
        ...


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How the node behaves. The first four describe older nodes when switched off."""

    announce_session_id: bool = True
    answers_v1: bool = True
    answers_v2: bool = True  # False: the ID is announced after shell or exec, as nodes before v2 did
    takes_hand_over: bool = True  # False: the node records whatever the forwarder's certificate says (ADR-0002)
    ciphers: Sequence[str] = (
        algorithms.ALL_CIPHERS
    )  # whatever a forwarder or a client behind a bridge may be set to
    extra_path: str = ""  # appended to PATH, so that `interlock status` is found in sessions


class NodeServer:
    """Our SSH server on a host. ``host_key`` is a private key in OpenSSH PEM, ``host_certificate`` one line."""

    def __init__(
        self,
        *,
        target: Target,
        cluster: str,
        host_key: str,
        host_certificate: str,
        claims: ClaimsReader,
        admission: Admission,
        sessions: Registry[Live],
        tenures: Tenures,
        audit: EventSink,
        clock: Clock,
        entropy: Entropy,
        options: NodeOptions | None = None,
        protected: Protected = frozenset(),
    ) -> None:
        self.target = target
        self.cluster = cluster
        self.claims = claims
        self.admission = admission
        self.clock = clock
        self.entropy = entropy
        self.protected = protected
        self.tenures = tenures
        self._sessions = sessions
        self._audit = audit
        self._options = options or NodeOptions()
        self._host_key = host_key
        self._host_certificate = host_certificate
        self._ssh_options: asyncssh.SSHServerConnectionOptions | None = None  # set by listen and renew
        self._server: asyncio.Server | None = None
        self._visitors: set[Caller] = set()
        self._running: set[ShellSession] = set()
        self._children = Children()
        self._empty = asyncio.Event()
        self._empty.set()

    async def prepare(self) -> None:
        """Be ready to `accept`; ConfigError for a bad key. `listen` includes it."""
        restore_ignored_signals()
        self._ssh_options = await self._load_options()

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections and return the bound address; OSError if that fails, ConfigError for a bad key."""
        await self.prepare()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.accept, host, port)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def renew(self, host_certificate: str) -> None:
        """Show another host certificate from the next connection on; ConfigError if it does not fit the key."""
        self._host_certificate = host_certificate
        self._ssh_options = await self._load_options()

    def describe(self, target: Target) -> None:
        """This node's address or labels have changed; its ID never does."""
        self.target = replace(target, id=self.target.id)

    async def stop(self, message: str) -> None:
        """Tell everybody ``message``, end every session properly, and leave no connection and no process."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in list(self._running):
            session.terminate(message)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await self._empty.wait()
        except TimeoutError:
            self._each_connection(lambda c: c.disconnect(asyncssh.DISC_BY_APPLICATION, message))
        await self._children.end_all(STOP_GRACE_S)
        self._each_connection(NodeConnection.abort)
        await self._empty.wait()

    # what visitors ask

    def answers(self, request: str) -> bool:
        """Whether we set and share the ID as the query asks."""
        options = self._options
        asked = {
            SESSION_ID_QUERY_V1.decode(): options.answers_v1,
            SESSION_ID_QUERY_V2.decode(): options.answers_v2,
        }
        return options.announce_session_id and asked.get(request, False)

    def forwarded(self, claims: Claims) -> Forwarded | None:
        """What a forwarder said in the certificate, if there is one and the node reads it."""
        return claims.forwarded if self._options.takes_hand_over else None

    def report(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Emit an event outside of sessions."""
        uid = self.entropy.uuid()
        self._audit.emit(AuditEvent(kind, self.clock.now(), uid, self.cluster, fields=fields))

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Emit ``session.rejected``."""
        self._sessions.rejected(who, public=public, reason=reason)

    def agree(self, ctx: SessionContext) -> Live:
        """A session under the ID of ``ctx``; InterlockError if the registry has a reason against it."""
        return self._sessions.agree(ctx)

    def begin(
        self,
        connection: NodeConnection,
        live: Live,
        account: Account,
        facts: SessionFacts,
        refusals: Refusals,
        forwards: SessionForwards,
        on_over: Callable[[], None],
    ) -> NodeSession:
        """What takes the channel of a session that was agreed."""

        def over(session: ShellSession) -> None:
            self._running.discard(session)
            on_over()

        announces = self._options.announce_session_id
        at_open = announces and self._options.answers_v2
        session = ShellSession(
            connection,
            live,
            account,
            replace(facts, extra_path=self._options.extra_path),
            children=self._children,
            refusals=refusals,
            announcement=Announcement(at_open=at_open, at_start=announces and not at_open),
            forwards=forwards,
            on_over=over,
        )
        self._running.add(session)
        return session

    def occupants(self, connection: NodeConnection) -> list[ShellSession]:
        """The sessions of one connection."""
        return [session for session in self._running if session.belongs_to(connection)]

    def join(
        self, connection: NodeConnection, ctx: SessionContext, joining: Joining, mode: JoinMode | None
    ) -> NodeSession:
        """A channel of somebody who takes part in a session here; Denied if that cannot be."""
        live = self._sessions.find(joining.sid)
        if live is None:
            raise Denied("this session has ended", reason=f"{joining.sid} is not live on this node")
        owner = live.ctx.identity.user
        chosen = choose_mode(ctx.identity.user, joining.modes, mode, owner=owner)
        live.parties.check_open()
        place = Place(live, Participant(ctx.identity, chosen, ctx.client_addr), joining.modes)
        return NodePartySession(place, connection)

    def arrived(self, visitor: Caller) -> bool:
        """Keep the connection, unless too many others have not said who they are (R17)."""
        self._visitors.add(visitor)
        self._empty.clear()
        return sum(not each.decided for each in self._visitors) <= MAX_CONNECTIONS_PREAUTH

    def left(self, visitor: Caller) -> None:
        """Forget the connection."""
        self._visitors.discard(visitor)
        if not self._visitors:
            self._empty.set()

    def accept(self) -> ForwardingConnection:
        """What takes one client's connection, whatever transport brings it."""
        if self._ssh_options is None:
            msg = "prepare makes the options before anything is accepted"
            raise RuntimeError(msg)
        return ForwardingConnection(asyncio.get_running_loop(), self._ssh_options)

    def _each_connection(self, action: Callable[[NodeConnection], None]) -> None:
        for visitor in list(self._visitors):
            if visitor.connection is not None:
                action(visitor.connection)

    async def _load_options(self) -> asyncssh.SSHServerConnectionOptions:
        try:
            key = asyncssh.import_private_key(self._host_key)
            certificate = asyncssh.import_certificate(self._host_certificate)
            made: asyncssh.SSHServerConnectionOptions = await asyncssh.SSHServerConnectionOptions.construct(
                server_factory=lambda: Visitor(self),
                server_host_keys=[(key, certificate)],
                server_version=SOFTWARE,
                config=None,
                encoding=None,
                line_editor=False,
                agent_forwarding=False,
                x11_forwarding=False,
                public_key_auth=True,
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                gss_host=None,
                send_server_host_keys=False,
                encryption_algs=list(self._options.ciphers),
                kex_algs=list(algorithms.SERVED_KEX),
                mac_algs=list(algorithms.SERVED_MACS),
                compression_algs=list(algorithms.COMPRESSION),
                login_timeout=LOGIN_TIMEOUT_S,
                keepalive_interval=KEEPALIVE_INTERVAL_S,
                keepalive_count_max=KEEPALIVE_MAX_MISSED,
                rekey_bytes=REKEY_BYTES,
                rekey_seconds=REKEY_SECONDS,
            )
            return made  # noqa: TRY300  # the annotation is what asyncssh's own lacks
        except (asyncssh.KeyImportError, ValueError) as error:
            raise ConfigError("the node's host key or certificate cannot be used", reason=str(error)) from None
