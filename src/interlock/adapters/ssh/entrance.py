"""The way of somebody who joins a session: to a channel of our own if the proxy records it, else to its node.

The node attaches them to the session itself; the proxy relays, as it relays any connection to a node.
"""

import asyncssh

from interlock.adapters.ssh.carried import Parties
from interlock.adapters.ssh.forwarder import Forwarder
from interlock.adapters.ssh.guarded import address
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.party import PartySession, Place
from interlock.adapters.ssh.seams.relayed import ClientLegConnection, TargetLegConnection
from interlock.adapters.ssh.way import ClientWay
from interlock.core import wire
from interlock.core.errors import Denied, InterlockError
from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.forward import NOTHING_FORWARDED
from interlock.core.ids import SessionId, parse_session_id
from interlock.core.limits import PARTY_KEEPALIVE_MISSED, PARTY_KEEPALIVE_S, REFUSALS_TOLD
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.domain.access import NOTHING_SPECIAL
from interlock.domain.audit import JsonValue
from interlock.domain.duties import NONE, RecordingMode
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims
from interlock.domain.party import JOIN_LOGIN, Wish
from interlock.domain.permit import Permit
from interlock.domain.session import SessionContext
from interlock.domain.target import Target
from interlock.services.access.tenure import Conduct, Tenure, Terms
from interlock.services.sessions.desk import Elsewhere, Here

JUDGEMENT_S = 5.0
"""Seconds for which an answer holds for further channels of the connection."""


class Entrance(ClientWay):
    """From an authenticated client to a session of somebody else, or to the reason why not."""

    def __init__(
        self, parts: ProxyParts, connection: ClientLegConnection, claims: Claims, wish: Wish, client_addr: str
    ) -> None:
        super().__init__(parts, connection)
        self.client_addr = client_addr
        self._claims = claims
        self._wish = wish
        self.here = False  # set when the connection's channels are served by `session`
        self._tenure: Tenure | None = None  # while it is looked after
        self._refusals = 0  # of channels
        self._judged = 0.0  # when the desk was asked last, on the monotonic clock

    def leave(self) -> None:
        """The proxy is done with the way; a connection that is served here goes on until it is `gone`."""
        if not self.here:
            self.gone()

    def gone(self) -> None:
        """The connection is over. Idempotent."""
        if self._tenure is not None:
            self._tenure.leave()
            self._tenure = None

    async def _stay(self, target: Target, login: str, owner: str, mode: JoinMode) -> Tenure:
        """Locks are looked for as long as the connection lasts, and whether the person still may join this."""
        identity, expires = self._claims.identity, self._claims.valid_before
        granted = Granted(self._claims, login, target, owner, mode)
        self._tenure = await self._parts.tenures.enter(
            Terms(identity, JOIN_LOGIN, target, NOTHING_SPECIAL, expires, granted=granted)
        )
        return self._tenure

    async def open(self) -> Forwarder | None:
        """A forwarder to the node, or for a refusal; None if `session` serves the connection's channels."""
        permit: Permit | None = None
        target: TargetLegConnection | None = None
        refusal: Refusal | None = None
        params: SessionParams | None = None
        try:
            match await self._ask():
                case Here(session, participant):
                    ctx = session.ctx
                    owner = self._parts.desk.owner_of(session)
                    tenure = await self._stay(ctx.target, ctx.login, owner, participant.mode)
                    self.here = True
                    self._connection.set_keepalive(PARTY_KEEPALIVE_S, PARTY_KEEPALIVE_MISSED)
                    tenure.serve(Conduct(lambda why: self.disconnect(why.public), lambda: 0))
                    self._connection.thaw()
                    return None
                case Elsewhere(permit, mode, there, tracker):
                    await self._stay(there, tracker.login, tracker.owner, mode)
                    params = SessionParams(join_session_id=self._wish.sid, join_mode=mode)
                    target = await self._parts.dialler.dial(permit, records=False, client_addr=self.client_addr)
                    self._claims.presence.forget()
        except InterlockError as error:
            refusal = refused(error)
            self.gone()
        options = RelayOptions(
            support=Support.UNKNOWN, passes_params=True, recording_proxy=False, refusal=refusal, joins=params
        )
        forwarder = Forwarder(
            self._connection,
            target,
            relay=Relay(options, self._mint),
            parties=Parties(
                lambda sid: self._context(permit, sid),
                self._facts,
                self._stale,
                self._judge_again,
                lambda: NOTHING_FORWARDED,
                self._mint,
                self.leave,
                emits=False,
            ),
            refusal=refusal,
            sessions=self._parts.sessions,
            keepalive_interval=min(PARTY_KEEPALIVE_S, self._parts.keepalive_interval),
            call_later=self._parts.call_later,
        )
        if self._tenure is not None:
            self._tenure.serve(Conduct(forwarder.end, forwarder.activity))
        return forwarder

    async def session(self) -> PartySession:
        """A channel of the client's, once the connection is ours to serve; ChannelOpenError with the reason."""
        try:
            found = await self._ask()
        except InterlockError as error:
            self._refusals += 1
            if self._refusals <= REFUSALS_TOLD:
                self._parts.sessions.rejected(self._facts(), public=error.public, reason=error.reason)
            raise asyncssh.ChannelOpenError(refused(error).code, error.public) from None
        if not isinstance(found, Here):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "this session has ended")
        return PartySession(Place(found.session, found.participant, found.modes), self._connection)

    async def _ask(self) -> Here | Elsewhere:
        found = await self._parts.desk.ask(self._claims, self._wish, self.client_addr)
        self._judged = self._parts.gate.clock.monotonic()
        return found

    def _stale(self) -> bool:
        return self._parts.gate.clock.monotonic() - self._judged > JUDGEMENT_S

    async def _judge_again(self) -> None:
        await self._ask()

    def _mint(self) -> SessionId:
        return parse_session_id(self._parts.entropy.uuid())

    def _context(self, permit: Permit | None, sid: SessionId) -> SessionContext:
        if permit is None or sid != self._wish.sid:
            raise Denied("the node opened another session", reason=f"{sid} instead of {self._wish.sid}")
        return SessionContext(
            sid=sid,
            identity=permit.identity,
            login=permit.login,
            target=permit.target,
            mode=RecordingMode.NODE,
            duties=NONE,
            daemon_id=self._parts.daemon_id,
            client_addr=self.client_addr,
            local_addr=address(self._connection.get_extra_info("sockname")),
        )

    def _facts(self) -> dict[str, JsonValue]:
        mode = self._wish.mode.value if self._wish.mode else "any mode"
        return {
            "user": self._claims.identity.user,
            "login": f"join {self._wish.sid} in {mode}",
            "addr.remote": self.client_addr,
            "proto": "ssh",
            "recorded_by": self._parts.daemon_id,
        }


def refused(error: InterlockError) -> Refusal:
    """How a channel is refused for this."""
    code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED if isinstance(error, Denied) else wire.OPEN_CONNECT_FAILED
    return Refusal(code, error.public, error.reason)
