"""One client's way through the proxy: decide, dial, hand over to a forwarder, with a target or with a refusal."""

import contextlib

import asyncssh

from interlock.adapters.ssh.door import address
from interlock.adapters.ssh.forwarder import Forwarder, Parties
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.seams import ClientLegConnection, TargetLegConnection
from interlock.core import extensions, wire
from interlock.core.errors import Denied, InterlockError, LimitReached
from interlock.core.forward import NOTHING_FORWARDED, Grants
from interlock.core.ids import SessionId, parse_session_id
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.domain.audit import JsonValue
from interlock.domain.duties import FORWARDER_DUTIES, RecordingMode
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.domain.reach import link_local
from interlock.domain.session import SessionContext
from interlock.domain.target import Target
from interlock.services.tenure import Conduct, Tenure, Terms, too_many_sessions

JUDGEMENT_S = 5.0
"""Seconds for which a decision of policy holds for further sessions on the same connection."""


class Passage:
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
        self._judges_forwards = True  # set by open
        self._maximum: int | None = None  # the limit that the connection met
        self._tenure: Tenure | None = None  # from the decision until the connection is over
        self._relay: Relay | None = None  # set by open
        self._judged = 0.0  # when policy was asked last, on the monotonic clock

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
        mode = RecordingMode.PROXY  # until the permit says
        connection: TargetLegConnection | None = None
        refusal: Refusal | None = None
        try:
            target = self._target = await self._parts.permits.find(self._claims, self._target_name)
            permit = await self._judge(target)
            self._tenure = await self._parts.tenures.enter(self._terms(permit))
            mode = permit.mode
            self._judges_forwards = FORWARDER_DUTIES[mode, target.sub_kind].emits
            relieves = self._judges_forwards and self._parts.coordinates
            connection = await self._parts.dialler.dial(permit, records=relieves, client_addr=self.client_addr)
        except InterlockError as error:
            code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED if isinstance(error, Denied) else wire.OPEN_CONNECT_FAILED
            refusal = Refusal(code, error.public, error.reason)
            self._maximum = error.maximum if isinstance(error, LimitReached) else None
            self.leave()  # a client that reads its refusal takes up no place
        seen_from = address(connection.get_extra_info("sockname")) if connection is not None else ""
        relay = self._relay = Relay(self._relay_options(mode, connection, refusal), self._mint)
        self._limit_sessions()
        forwarder = Forwarder(
            self._connection,
            connection,
            relay=relay,
            parties=Parties(
                context=lambda sid: self._context(sid, mode),
                facts=self._facts,
                stale=self._stale,
                judge_again=self._judge_again,
                grants=self._grants,
                mint=self._mint,
                left=self.leave,
                emits=self._judges_forwards,
                seen_from=seen_from,
            ),
            refusal=refusal,
            sessions=self._parts.sessions,
            keepalive_interval=self._parts.keepalive_interval,
        )
        if self._tenure is not None:
            self._tenure.serve(Conduct(forwarder.end, forwarder.activity))
        return forwarder

    def leave(self) -> None:
        """The connection is over, or refused: its place is free. Idempotent."""
        if self._tenure is not None:
            self._tenure.leave()
            self._tenure = None

    def _terms(self, permit: Permit) -> Terms:
        return Terms(permit.identity, permit.login, permit.target, permit.access, permit.expires)

    def _limit_sessions(self) -> None:
        permit = self._permit
        limit = permit.access.max_sessions if permit is not None else None
        if self._relay is None or permit is None or limit is None:
            refusal = None
        else:
            error = too_many_sessions(permit.identity, limit)
            refusal = Refusal(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, error.public, error.reason, error.maximum)
        if self._relay is not None:
            self._relay.limit_sessions(refusal)

    async def _judge(self, target: Target) -> Permit:
        self._permit = await self._parts.permits.permit_for(self._claims, self._login, target)
        self._judged = self._parts.gate.clock.monotonic()
        return self._permit

    def _grants(self) -> Grants:
        """What the roles let the client forward; where the node records, it judges that itself."""
        if self._permit is None:
            return NOTHING_FORWARDED
        access = self._permit.access
        return Grants(
            local=access.local_forwarding,
            remote=access.remote_forwarding,
            x11=access.x11_forwarding,
            agent=access.agent_forwarding,
            judges=self._judges_forwards,
        )

    def _stale(self) -> bool:
        """Whether the decision is too old for another session on this connection."""
        return self._parts.gate.clock.monotonic() - self._judged > JUDGEMENT_S

    async def _judge_again(self) -> None:
        """Ask policy anew: users and roles may have changed, the certificate may have expired. Denied if so."""
        if self._target is not None:
            permit = await self._judge(self._target)
            self._limit_sessions()
            if self._tenure is not None:
                self._tenure.change(permit.access)

    def _relay_options(
        self, mode: RecordingMode, connection: TargetLegConnection | None, refusal: Refusal | None
    ) -> RelayOptions:
        version, mints, counts = "", True, True
        if connection is not None and self._target is not None and self._parts.coordinates:
            version = str(connection.get_extra_info("server_version", ""))
            duties = FORWARDER_DUTIES[mode, self._target.sub_kind]
            mints, counts = duties.mints, duties.emits
        return RelayOptions(
            support=Support.NO if mints else Support.UNKNOWN,
            passes_params=not mints and extensions.understands_params(version.encode()),
            recording_proxy=mode.at_proxy,
            refusal=refusal,
            minted_counts=counts,
            grants=self._grants(),
            reach=link_local,
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
            access=permit.access,
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
        if self._maximum is not None:
            fields["max"] = self._maximum
        if self._target is not None:
            fields |= {"server_id": self._target.id, "server_hostname": self._target.hostname}
        return fields
