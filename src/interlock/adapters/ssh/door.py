"""The two SSH servers that the proxy shows to clients: the door, and the one at the end of a jump.

Both admit by user certificate alone; the door also signs people in by password, for the portal. Nothing is
granted before the client has signed with the certificate's key (R12); what it may reach is decided later, when
refusals can be told in words.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

import asyncssh

from interlock.adapters.ssh.browser import Confirming, Questions
from interlock.adapters.ssh.guarded import Gate, Guarded
from interlock.adapters.ssh.portal import Answerer, Challenge, KeyboardInteractive, PasswordCheck, PortalSession
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.adapters.ssh.seams.tunnel import ByteSession, DoorConnection, TunnelHooks
from interlock.adapters.ssh.tunnel.entrance import NodeCaller, TunnelEntrance
from interlock.core.certificate import TOUCHED
from interlock.core.errors import Denied, InterlockError
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.lock import Subject
from interlock.domain.target import Route, parse_route
from interlock.services.access.caller import Caller
from interlock.services.access.locks import LockWatch

LOCK_GRACE_S = 1.0
"""Seconds that a node behind a jump has to tell a person of a lock before the gateway ends the jump."""

Joins = Callable[[], Coroutine[None, None, asyncssh.SSHServerSession[bytes]]]
"""Makes the next channel of somebody who joins a session; ChannelOpenError if they may not."""

Jump = asyncssh.SSHTCPSession[bytes]
"""What takes the bytes of a jump: an SSH server of ours, or a bridge."""


@dataclass(frozen=True, slots=True)
class DoorServices:
    """What the door leads to."""

    passwords: PasswordCheck
    confirming: Confirming
    portal: Answerer
    tunnels: TunnelEntrance
    route: Callable[[ClientLegConnection, Claims, Route, str], None]  # takes a connection over
    jump: Callable[[ClientLegConnection, Claims | None, str, int], Coroutine[None, None, Jump]]
    arrived: Callable[[ClientLegConnection], None]
    admitted: Callable[[ClientLegConnection], None]
    gone: Callable[[ClientLegConnection], None]
    joins: Callable[[ClientLegConnection], Joins | None]  # a connection that was routed to a session here
    asks: Callable[[Claims, Route], Awaitable[bool]]  # whether a second factor has to confirm a connection there


class Door(Guarded, TunnelHooks):
    """The proxy's SSH server: ``login%node`` is routed, a plain user name is a portal and may jump.

    Nodes come to the same port, under user names that no person can have, and are `NodeCaller`'s from then on.
    """

    def __init__(self, gate: Gate, services: DoorServices) -> None:
        super().__init__(gate, services.passwords)
        self._services = services
        self._route: Route | None = None
        self._node: NodeCaller | None = None  # set while the user name is a node's
        self._questions: Questions | None = None
        self._signed_in = ""  # the user that a password proved
        self._device = ""  # `Identity.device` of that sign-in
        self._jumps_refused = 0
        self._lock_timer: asyncio.TimerHandle | None = None
        self._lock_watch: LockWatch | None = None  # of a portal; who is routed is watched on the way
        self._since = gate.clock.now()  # when authentication succeeded; until then, when it began

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Report a stranger."""
        super().connection_made(conn)
        self._services.arrived(self.connection)

    def begin_auth(self, username: str) -> bool:
        """Read the route in the user name."""
        super().begin_auth(username)
        self._route = self._questions = self._node = None
        if isinstance(self.connection, DoorConnection):
            self._node = self._services.tunnels.caller(self.connection, username)
        if self._node is not None:
            return not self._node.joining
        try:
            self._route = parse_route(username)
        except Denied as error:
            self.explain(error)
            self.report(error.reason)
            raise asyncssh.IllegalUserName(error.public) from None
        return True

    def judge(self, user: str, certificate: bytes) -> int | None:
        """See `CertificateHooks.judge`."""
        if self._node is None:
            return super().judge(user, certificate)
        self._count_attempt()
        try:
            self._node.judge(certificate)
        except Denied as error:
            self.explain(error)
            return None
        return TOUCHED

    async def judge_key(self, user: str, key: bytes) -> int | None:
        """See `CertificateHooks.judge_key`."""
        return await super().judge_key(user, key) if self._node is None else None

    def proven(self, user: str, certificate: bytes) -> None:
        """See `CertificateHooks.proven`."""
        if self._node is None:
            super().proven(user, certificate)
        else:
            self._node.proven(certificate)

    async def weigh(self, user: str, certificate: bytes) -> None:
        """See `CertificateHooks.weigh`."""
        if self._node is None:
            await super().weigh(user, certificate)

    async def _asks(self, claims: Claims) -> bool:
        return self._route is not None and await self._services.asks(claims, self._route)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Challenge | Awaitable[Challenge]:
        """Ask for the password where one gets somewhere, or for a browser's word."""
        if self._route is not None or self._node is not None:
            return super().get_kbdint_challenge(username, lang, submethods)
        if self._questions is None:
            source = self.client_addr()
            self._questions = Questions(
                KeyboardInteractive(self._services.passwords, username, source),
                self._services.confirming,
                username,
                source,
                patience=self._be_patient,
            )
        return self._questions.challenge(username, submethods)

    def validate_kbdint_response(
        self, username: str, responses: Sequence[str]
    ) -> Challenge | Awaitable[Challenge]:
        """Judge it."""
        if self._route is not None or self._node is not None:
            return super().validate_kbdint_response(username, responses)
        return self._answered(username, responses)

    async def _answered(self, username: str, responses: Sequence[str]) -> Challenge:
        if self._questions is None:
            return False
        verdict = await self._questions.respond(username, responses)
        if verdict is True:
            self._signed_in, self._device = self._questions.user, self._questions.device
        return verdict

    def auth_completed(self) -> None:
        """Let a route go its way; a portal waits for channels."""
        super().auth_completed()
        self._since = self.gate.clock.now()
        if self._node is not None:
            if not self._node.joining:
                self._services.gone(self.connection)  # nobody at the door any more
            self._node.admitted()
            return
        self._services.admitted(self.connection)
        if self._route is not None and self.claims is not None:
            self.connection.freeze()
            self._services.route(self.connection, self.claims, self._route, self.client_addr())
        else:
            identity = self.claims.identity if self.claims else Identity(self._signed_in, (), "", self._device)
            granted = Granted(self.claims) if self.claims else None
            self._lock_watch = self.gate.locks.watch(Subject.of(identity), self._locked, granted)

    def _locked(self, lock: Denied) -> None:
        """End the portal, and a moment later, so that a node at its end can speak first, the jumps through it."""
        connection = self.connection

        def close() -> None:
            with contextlib.suppress(OSError):
                connection.disconnect(asyncssh.DISC_BY_APPLICATION, lock.public)

        self._lock_timer = asyncio.get_running_loop().call_later(LOCK_GRACE_S, close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._node is not None:
            self._node.gone()
        if self._lock_watch is not None:
            self._lock_watch.stop()
        if self._lock_timer is not None:
            self._lock_timer.cancel()
        self._services.gone(self.connection)

    def session_requested(
        self,
    ) -> (
        PortalSession
        | tuple[asyncssh.SSHServerChannel[bytes], Coroutine[None, None, asyncssh.SSHServerSession[bytes]]]
    ):
        """A session channel of a portal, or of somebody who joins a session."""
        if self._node is not None:
            raise _not_for_nodes()
        if self._route is not None:
            joins = self._services.joins(self.connection)
            if joins is None:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this session has ended")
            return self.connection.create_server_channel(), joins()
        caller = Caller(
            user=self.claims.identity.user if self.claims else self._signed_in,
            claims=self.claims,
            methods=("publickey",) if self.claims else ("keyboard-interactive",),
            since=self._since,
            source=self.client_addr(),
            device=self._device,
        )
        return PortalSession(self._services.portal, caller)

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,  # noqa: ARG002
        orig_port: int,  # noqa: ARG002
    ) -> Awaitable[Jump]:
        """``ssh -J`` or ``-W``: a jump to a node."""
        if self._node is not None:
            raise _not_for_nodes()
        if self._route is not None:
            public = "whoever joins a session can forward nothing"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, public)
        return self._jump(dest_host, dest_port)

    async def auth_requested(self, payload: bytes) -> ByteSession:
        """A node calls auth."""
        if self._node is None:
            text = "only nodes reach auth through this gateway"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        return await self._node.auth_requested(payload)

    async def _jump(self, host: str, port: int) -> Jump:
        try:
            return await self._services.jump(self.connection, self.claims, host, port)
        except InterlockError as error:
            self._report_jump(host, error)
            code = (
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
                if isinstance(error, Denied)
                else asyncssh.OPEN_CONNECT_FAILED
            )
            raise asyncssh.ChannelOpenError(code, error.public) from error

    def _report_jump(self, host: str, error: InterlockError) -> None:
        """Event ``port``, failed: where somebody wanted to go and why not; not for ever on one connection."""
        self._jumps_refused += 1
        if self._jumps_refused > REFUSALS_TOLD:
            return
        fields: dict[str, JsonValue] = {
            "user": self.claims.identity.user if self.claims else self._signed_in,
            "addr": host[:128],
            "addr.remote": self.client_addr(),
            "success": False,
            "error": error.reason,
        }
        self.gate.events.emit(self.gate.factory.make(Kind.PORT_FAILURE, fields))

    def client_addr(self) -> str:
        """host:port of the person's client, which the forwarder of a root cluster tells in its certificate."""
        forwarded = self.claims.forwarded if self.claims is not None else None
        return (forwarded.client if forwarded is not None else "") or super().client_addr()

    def _expects(self, forwarded: Forwarded) -> bool:
        """A root cluster's forwarder comes to this door, and no other forwarder."""
        return forwarded.target == self.gate.door_id

    def _check(self, user: str, claims: Claims) -> None:
        super()._check(user, claims)
        if self._route is None and user != claims.identity.user:
            public = f"your certificate belongs to {claims.identity.user}, not to {user[:64]}"
            raise Denied(public, reason=public)


class JumpEnd(Guarded):
    """The SSH server at the end of a jump, in the place of the target: the user name is the login there."""

    def __init__(
        self,
        gate: Gate,
        passwords: PasswordCheck,
        asks: Callable[[Claims, str], Awaitable[bool]],
        jumper: Identity,
        client_addr: str,
        serve: Callable[[ClientLegConnection, Claims, str, str], None],
    ) -> None:
        super().__init__(gate, passwords)
        self._asked = asks
        self._jumper = jumper
        self._client_addr = client_addr
        self._serve = serve

    async def _asks(self, claims: Claims) -> bool:
        return await self._asked(claims, self.user_name)

    def client_addr(self) -> str:
        """The outer connection's: what the client says of itself in the channel open is worth nothing."""
        return self._client_addr

    def auth_completed(self) -> None:
        """Go on to the target."""
        super().auth_completed()
        if self.claims is not None:
            self.connection.freeze()
            self._serve(self.connection, self.claims, self.user_name, self._client_addr)

    def _check(self, user: str, claims: Claims) -> None:
        super()._check(user, claims)
        if claims.identity.user != self._jumper.user:
            public = f"your certificate belongs to {claims.identity.user}, but {self._jumper.user} made the jump"
            raise Denied(public, reason=public)


def _not_for_nodes() -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "this connection is a node's")
