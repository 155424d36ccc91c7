"""One client's way through the proxy: decide, dial, hand over to a forwarder, with a target or with a refusal."""

from collections.abc import Awaitable, Callable
from functools import partial

from interlock.adapters.ssh.carried import Parties
from interlock.adapters.ssh.forwarder import Forwarder
from interlock.adapters.ssh.guarded import address
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.seams.relayed import ClientLegConnection, TargetLegConnection
from interlock.adapters.ssh.way import ClientWay
from interlock.core import extensions, wire
from interlock.core.errors import Denied, InterlockError, LimitReached, NotFound
from interlock.core.forward import NOTHING_FORWARDED, Grants
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.domain.access import NOTHING_SPECIAL
from interlock.domain.audit import JsonValue
from interlock.domain.cluster import LeafPass, TrustedCluster
from interlock.domain.duties import (
    FORWARDER_DUTIES,
    LEAF_DUTIES,
    NONE,
    RecordingMode,
    leaf_accepts,
    root_duties,
    root_offers,
)
from interlock.domain.granted import Granted
from interlock.domain.handover import accepted, refused
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.domain.reach import link_local
from interlock.domain.session import SessionContext
from interlock.domain.target import SubKind, Target
from interlock.services.access.tenure import Conduct, Tenure, Terms, too_many_sessions

JUDGEMENT_S = 5.0
"""Seconds for which a decision of policy holds for further sessions on the same connection."""


class Passage(ClientWay):
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
        super().__init__(parts, connection)
        self.client_addr = client_addr
        self._claims = claims
        self._login = login
        self._target_name = target_name
        self._target: Target | None = None
        self._permit: Permit | None = None
        self._mode = RecordingMode.PROXY  # this and what follows: until `open` has found out
        self._duties = NONE
        self._target_cluster = ""  # the leaf that the target is in; empty: this cluster
        self._recorded_in = ""  # the other cluster that records; empty: this one
        self._judge_anew: Callable[[], Awaitable[LeafPass]] | None = None  # set for targets in leaves
        self._maximum: int | None = None  # the limit that the connection met
        self._tenure: Tenure | None = None  # from the decision until the connection is over
        self._relay: Relay | None = None  # set by open
        self._judged = 0.0  # when policy was asked last, on the monotonic clock

    async def open(self) -> Forwarder:
        """Decide, dial, and make the forwarder."""
        connection: TargetLegConnection | None = None
        refusal: Refusal | None = None
        try:
            leaf = await self._parts.leaves.find(self._target_name)
            connection = await (self._reach() if leaf is None else self._reach_leaf(*leaf))
            self._claims.presence.forget()  # good for one dial
        except InterlockError as error:
            code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED if isinstance(error, Denied) else wire.OPEN_CONNECT_FAILED
            refusal = Refusal(code, error.public, error.reason)
            self._maximum = error.maximum if isinstance(error, LimitReached) else None
            self.leave()  # a client that reads its refusal takes up no place
        seen_from = address(connection.get_extra_info("sockname")) if connection is not None else ""
        relay = self._relay = Relay(self._relay_options(connection, refusal), self._mint)
        self._limit_sessions()
        forwarder = Forwarder(
            self._connection,
            connection,
            relay=relay,
            parties=Parties(
                context=self._context,
                facts=self._facts,
                stale=self._stale,
                judge_again=self._judge_again,
                grants=self._grants,
                mint=self._mint,
                left=self.leave,
                emits=self._duties.emits or connection is None,
                since=self._connection.accepted_at,
                seen_from=seen_from,
            ),
            refusal=refusal,
            sessions=self._parts.sessions,
            keepalive_interval=self._parts.keepalive_interval,
            call_later=self._parts.call_later,
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
        granted = Granted(self._claims, permit.login, permit.target)
        return Terms(permit.identity, permit.login, permit.target, permit.access, permit.expires, granted=granted)

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

    async def _reach(self) -> TargetLegConnection:
        """A target of this cluster."""
        try:
            target = self._target = await self._parts.permits.find(self._claims, self._target_name)
        except NotFound as error:
            raise self._parts.leaves.explained(error, self._target_name) from None
        permit = await self._judge(target)
        self._tenure = await self._parts.tenures.enter(self._terms(permit))
        self._mode = permit.mode
        self._duties = FORWARDER_DUTIES[self._mode, target.sub_kind]
        if self._claims.forwarded is not None:
            insists = (await self._parts.permits.root_of(self._claims)).insists
            offered, guarded = self._claims.forwarded.records, permit.access.guarded
            if leaf_accepts(self._mode, offered=offered, insists=insists, guarded=guarded):
                self._duties, self._recorded_in = LEAF_DUTIES[target.sub_kind], self._claims.identity.cluster
        relieves = (self._duties.emits and self._parts.coordinates) or self._ahead
        return await self._parts.dialler.dial(permit, records=relieves, client_addr=self.client_addr)

    async def _reach_leaf(self, node: str, leaf: TrustedCluster) -> TargetLegConnection:
        """A target that a leaf cluster knows, judges and dials: to us its proxy is the target."""
        self._judge_anew = partial(self._parts.leaves.pass_for, self._claims, leaf, login=self._login, node=node)
        granted = await self._judge_anew()
        self._judged = self._parts.gate.clock.monotonic()
        there = Target(DaemonId(leaf.id), granted.name, *leaf.address, SubKind.NODE)
        let = Granted(self._claims, granted.login, there, leaf=leaf.name, told=granted.identity.roles)
        terms = Terms(granted.identity, granted.login, there, NOTHING_SPECIAL, granted.expires, granted=let)
        self._tenure = await self._parts.tenures.enter(terms)
        self._mode = await self._parts.leaves.mode()
        offers = root_offers(self._mode)
        connection, target, answer = await self._parts.leaf_dialler.dial(
            granted, offers=offers, client_addr=self.client_addr
        )
        self._target, self._permit = target, Permit.by_leaf(granted, target, answer.access, self._mode)
        self._tenure.change(self._permit.access)
        self._duties = root_duties(self._mode, accepted=offers and answer.root_records)
        self._target_cluster = leaf.name
        self._recorded_in = "" if self._duties.emits else leaf.name
        return connection

    @property
    def _ahead(self) -> bool:
        """Whether a root cluster's forwarder records, in front of us."""
        return bool(self._recorded_in) and not self._target_cluster

    async def _judge(self, target: Target) -> Permit:
        self._permit = await self._parts.permits.permit_for(
            self._claims, self._login, target, source=self.client_addr, named=self._target_name
        )
        self._judged = self._parts.gate.clock.monotonic()
        return self._permit

    def _grants(self) -> Grants:
        """What the roles let the client forward; where the node records, it judges that itself."""
        if self._permit is None or (self._tenure is not None and self._tenure.ends):
            return NOTHING_FORWARDED  # also if a lock came while the target was being reached
        access = self._permit.access
        return Grants(
            local=access.local_forwarding,
            remote=access.remote_forwarding,
            x11=access.x11_forwarding,
            agent=access.agent_forwarding,
            pty=access.pty,
            judges=self._duties.emits or self._ahead,
        )

    def _stale(self) -> bool:
        """Whether the decision is too old for another session on this connection."""
        return self._parts.gate.clock.monotonic() - self._judged > JUDGEMENT_S

    async def _judge_again(self) -> None:
        """Ask policy anew: users and roles may have changed, the certificate may have expired. Denied if so."""
        if self._judge_anew is not None:
            await self._judge_anew()
            self._judged = self._parts.gate.clock.monotonic()
        elif self._target is not None:
            permit = await self._judge(self._target)
            self._limit_sessions()
            if self._tenure is not None:
                self._tenure.change(permit.access)

    def _relay_options(self, connection: TargetLegConnection | None, refusal: Refusal | None) -> RelayOptions:
        version, mints, counts = "", True, True
        if connection is not None and self._target is not None and self._parts.coordinates:
            version = str(connection.get_extra_info("server_version", ""))
            mints = self._duties.mints
            counts = mints or self._duties.emits or self._ahead
        return RelayOptions(
            support=Support.NO if mints else Support.UNKNOWN,
            passes_params=not mints and extensions.understands_params(version.encode()),
            recording_proxy=self._mode.at_proxy,
            refusal=refusal,
            minted_counts=counts,
            grants=self._grants(),
            reach=link_local,
            hand_over=self._hand_over(refusal),
        )

    def _hand_over(self, refusal: Refusal | None) -> bytes | None:
        """What the forwarder of a root cluster is answered; None for everybody else."""
        if self._claims.forwarded is None:
            return None
        if refusal is not None or self._permit is None:
            by_policy = refusal is not None and refusal.code == wire.OPEN_ADMINISTRATIVELY_PROHIBITED
            return refused(refusal.public if refusal is not None else "access denied", by_policy=by_policy)
        return accepted(self._permit.target, self._permit.access, root_records=bool(self._recorded_in))

    def _mint(self) -> SessionId:
        return parse_session_id(self._parts.entropy.uuid())

    def _context(self, sid: SessionId) -> SessionContext:
        permit = self._permit
        if permit is None:
            raise Denied("access denied", reason="a session without a permit")
        return SessionContext(
            sid=sid,
            identity=permit.identity,
            login=permit.login,
            target=permit.target,
            mode=self._mode,
            duties=self._duties,
            daemon_id=self._parts.daemon_id,
            client_addr=self.client_addr,
            local_addr=address(self._connection.get_extra_info("sockname")),
            access=permit.access,
            target_cluster=self._target_cluster,
            recorded_in=self._recorded_in,
        )

    def _facts(self) -> dict[str, JsonValue]:
        fields: dict[str, JsonValue] = {
            "user": self._claims.identity.user,
            "user_cluster_name": self._claims.identity.cluster,
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
        if self._target_cluster:
            fields["target_cluster"] = self._target_cluster
        return fields
