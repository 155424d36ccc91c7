"""What auth does for proxies apart from it: it judges people anew whenever a proxy wants something signed.

A proxy never says who somebody is. It shows what the person has shown to it, the certificate, or auth's own ticket
after a sign-in by password; everything else is decided here, by what is stored now. To have something signed, or
to be told what is a person's own, it proves that they are connected at this moment (`keys.presence`). So a
proxy that is not what it seems can act for people who are there, as they have asked, and for nobody else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from interlock.core import portal as wire
from interlock.core.address import parse_address
from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.ids import DaemonId, SessionId
from interlock.core.presence import Proof, digest_of_session
from interlock.domain.access import for_proxies
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster
from interlock.domain.duties import FORWARDER_DUTIES
from interlock.domain.identity import Claims, Joining
from interlock.domain.party import joinable_modes
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker
from interlock.ports import (
    Clock,
    Cluster,
    HostIssuer,
    KeyReader,
    KnownClusters,
    ModeSource,
    ProxyStore,
    SessionLookup,
    TargetCredential,
    TargetSource,
    TrackerLookup,
)
from interlock.services.access.caller import Caller
from interlock.services.access.standing import Standing
from interlock.services.clusters.federation import FederatedAdmission, FederatedClaims, Leaves
from interlock.services.fleet.members import Members, refused
from interlock.services.fleet.tickets import FactorTickets, Tickets
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.keys.presence import NOT_SHOWN, Attendance, Seen
from interlock.services.portal.playback import Download
from interlock.services.signin.confirming import Asked, Collected
from interlock.services.signin.enrolment import is_plain_key
from interlock.services.signin.signin import Confirmation, Judgement, SignInResult

JUMP_NAMES = 2
"""Names in a certificate for a jump's end: the one that the person used, and the target's own."""


@dataclass(frozen=True, slots=True)
class ForTarget:
    """What is to be signed for a dial."""

    login: str
    target: DaemonId
    public_key: str
    records: bool  # the proxy says that it does
    client_addr: str
    joining: Joining | None = None


class Signer(HostIssuer, Protocol):
    """The authority, as far as proxies matter; services.keys.authority.Authority."""

    def sign_for_target(
        self, permit: Permit, public_key: str, *, by: DaemonId, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.TargetIssuer`."""
        ...

    def sign_for_leaf(
        self, granted: LeafPass, public_key: str, *, by: DaemonId, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.LeafIssuer`."""
        ...


class Answers(Protocol):
    """services.portal.portal.Portal."""

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request."""
        ...


class Judge(Protocol):
    """services.signin.signin.SignIn."""

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, with the code of a second factor; SignInFailed if it is wrong."""
        ...

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Replace it."""
        ...

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """A second factor of somebody whose certificate was proven."""
        ...


class Confirms(Protocol):
    """services.signin.confirming.Confirmations."""

    async def ask(self, user: str, *, source: str) -> Asked:
        """Begin to wait for a browser."""
        ...

    async def collect(self, asked_id: str) -> Collected | None:
        """Who has confirmed it; None: nobody yet."""
        ...


class Proxies:
    """See the module's docstring. Every method is a proxy's question; ``proxy`` is who its certificate says."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        believes: FederatedClaims,
        admission: FederatedAdmission,
        leaves: Leaves,
        trusts: KnownClusters,
        modes: ModeSource,
        signer: Signer,
        portal: Answers,
        passwords: Judge,
        confirmations: Confirms,
        tickets: Tickets,
        attendance: Attendance,
        confirmed: FactorTickets,
        keys: KeyReader,
        trackers: TrackerLookup,
        targets: TargetSource,
        proxies: ProxyStore,
        lookup: SessionLookup,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._believes = believes
        self._admission = admission
        self._leaves = leaves
        self._trusts = trusts
        self._modes = modes
        self._signer = signer
        self._portal = portal
        self._passwords = passwords
        self._confirmations = confirmations
        self._tickets = tickets
        self._attendance = attendance
        self._confirmed = confirmed
        self._keys = keys
        self._trackers = trackers
        self._targets = targets
        self._lookup = lookup
        self._clock = clock
        self.members = Members(proxies=proxies, believes=believes, attendance=attendance, clock=clock)

    async def standing(self, proxy: HostIdentity, certificate: bytes) -> Standing:
        """What counts of whoever shows this certificate."""
        claims = await self._claims(proxy, certificate)
        root = await self._admission.root_of(claims) if claims.identity.cluster != self._cluster.name else None
        roles = await self._admission.current_roles(claims)
        modes, askable = await self._modes.mode_policy(), await self._admission.askable(roles)
        return Standing(_told(roles), modes, root, _told(askable))

    async def find(self, proxy: HostIdentity, certificate: bytes, name: str) -> Target:
        """The target that the person names."""
        return await self._admission.find(await self._claims(proxy, certificate), name)

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """The clusters that this one has to do with: public keys and names."""
        return tuple(await self._trusts.trusted_clusters())

    async def target(self, proxy: HostIdentity, target_id: str) -> Target:
        """One target; NotFound."""
        await self.members.check(proxy)
        return await self._targets.target(target_id)

    async def tracker(self, proxy: HostIdentity, sid: SessionId) -> tuple[Tracker | None, bool]:
        """A session's tracker if it lives, and whether there was such a session at all."""
        await self.members.check(proxy)
        return await self._trackers.find(sid), self._lookup.knows(sid)

    async def issue_for_target(
        self,
        proxy: HostIdentity,
        certificate: bytes,
        wanted: ForTarget,
        proof: Proof | None = None,
        *,
        ticket: bytes = b"",
    ) -> TargetCredential:
        """A certificate for one dial; Denied unless the person is there and policy says so now.

        ``ticket``: what `confirm` has given.
        """
        claims = await self._claims(proxy, certificate)
        seen = await self._see(proxy, claims, certificate, proof)
        claims = self._with(claims, ticket, proxy, seen)
        if wanted.joining is None:
            target = await self._asked_for(claims, wanted, seen)
            permit = await self._admission.permit_for(claims, wanted.login, target, source=wanted.client_addr)
            self._check_records(proxy, claims, permit, records=wanted.records)
        else:
            if seen is not None:
                seen.to_session(wanted.joining)
            permit = await self._to_join(proxy, claims, wanted.target, wanted.joining, wanted.client_addr)
            if wanted.records:
                raise refused(proxy, f"who joins {wanted.joining.sid} is not recorded once more")
        await self._attendance.use(seen, wanted.public_key)
        return self._signer.sign_for_target(
            permit, wanted.public_key, by=proxy.id, records=wanted.records, client_addr=wanted.client_addr
        )

    async def issue_for_leaf(
        self,
        proxy: HostIdentity,
        certificate: bytes,
        *,
        login: str,
        node: str,
        leaf: str,
        public_key: str,
        offers: bool,
        client_addr: str,
        proof: Proof | None = None,
        ticket: bytes = b"",
    ) -> TargetCredential:
        """A certificate for a leaf's door; Denied unless the person is there and may go there.

        Without a login it is for the leaf's portal, and is given as often as the person's own portal answers.
        """
        claims = await self._claims(proxy, certificate)
        seen = await self._see(proxy, claims, certificate, proof)
        claims = self._with(claims, ticket, proxy, seen)
        if seen is not None and login:
            seen.to_leaf(login, node, leaf)
        elif seen is not None:
            seen.to_portal(claims.identity.user, proxy.id)
        granted = await self._leaves.pass_for(claims, await self._leaves.leaf(leaf), login=login, node=node)
        if login:
            await self._attendance.use(seen, public_key)
        return self._signer.sign_for_leaf(granted, public_key, by=proxy.id, offers=offers, client_addr=client_addr)

    async def issue_for_jump(self, proxy: HostIdentity, public_key: str, names: Sequence[str]) -> str:
        """A host certificate with which the proxy answers in a target's place; Denied for any other name."""
        await self.members.check(proxy)
        if not 1 <= len(names) <= JUMP_NAMES:
            raise refused(proxy, f"a certificate for {len(names)} names")
        leaves = [each.name.lower() for each in await self._trusts.trusted_clusters(Relation.LEAF)]
        if len(names) > 1 or not any(names[0].lower().endswith(f".{leaf}") for leaf in leaves):
            named = [{target.id for target in await self._targets.named(name)} for name in names]
            if not set[DaemonId].intersection(*named):
                what = ", ".join(name[:128] for name in names)
                raise refused(proxy, f"a certificate for {what}, which is no target, or not one")
        return await self._signer.issue_host(public_key, names)

    async def sign_in(
        self, proxy: HostIdentity, user: str, password: str, *, source: str, new: str | None, code: str = ""
    ) -> tuple[SignInResult, bytes]:
        """Judge a password, and replace it if there is a new one; with a ticket if the person is signed in now."""
        await self.members.check(proxy)
        _check_source(proxy, source)
        if new is None:
            judged = await self._passwords.check(user, password, source=source, code=code)
        else:
            judged = await self._passwords.change(user, password, new, source=source, code=code)
        if judged.result is not SignInResult.OK:
            return judged.result, b""
        return judged.result, self._tickets.give(user, proxy.id, self._clock.now(), device=judged.device)

    async def ask_browser(self, proxy: HostIdentity, user: str, *, source: str) -> Asked:
        """Let somebody confirm a sign-in in a browser, who is shown where the proxy says that it comes from."""
        await self.members.check(proxy)
        _check_source(proxy, source)
        return await self._confirmations.ask(user, source=source)

    async def collect_browser(self, proxy: HostIdentity, asked_id: str) -> tuple[Collected | None, bytes]:
        """Who has confirmed it, with a ticket."""
        await self.members.check(proxy)
        found = await self._confirmations.collect(asked_id)
        if found is None:
            return None, b""
        return found, self._tickets.give(found.user, proxy.id, self._clock.now(), device=found.device)

    async def confirm(
        self, proxy: HostIdentity, certificate: bytes, code: str, *, source: str, session: bytes
    ) -> Confirmation:
        """Judge a second factor, or say what is to be asked; with a ticket for this proxy and this connection."""
        _check_source(proxy, source)
        claims = await self._claims(proxy, certificate)
        if claims.identity.cluster != self._cluster.name:
            raise refused(proxy, f"a second factor of {claims.identity.user} of {claims.identity.cluster}")
        found = await self._passwords.confirm(claims.identity.user, code, source=source)
        if not found.device:
            return found
        ticket = self._confirmed.give(claims, found.device, session, proxy.id, self._now())
        return replace(found, ticket=ticket)

    async def enrolled(self, proxy: HostIdentity, blob: bytes) -> Claims:
        """Whose a plain key is; NotFound."""
        await self.members.check(proxy)
        return await self._keys.claims(blob)

    async def _see(self, proxy: HostIdentity, claims: Claims, shown: bytes, proof: Proof | None) -> Seen | None:
        """See `Attendance.see`. Public keys are no secret, so who comes by one has to be there in any case."""
        seen = self._attendance.see(await self.members.check(proxy), claims, shown, proof)
        if seen is None and claims.enrolled:
            raise Denied(NOT_SHOWN, reason=f"proxy {proxy.id} showed an enrolled key without a proof of presence")
        return seen

    def _with(self, claims: Claims, ticket: bytes, proxy: HostIdentity, seen: Seen | None) -> Claims:
        """The claims with what the ticket says of a second factor; Denied if it says nothing of them."""
        if not ticket:
            return claims
        session = None if seen is None else digest_of_session(seen.session_id)
        device = self._confirmed.read(ticket, claims, session, proxy.id, self._now())
        return replace(claims, identity=replace(claims.identity, confirmed=device))

    async def portal(
        self,
        proxy: HostIdentity,
        shown: bytes,
        request: bytes,
        *,
        by_ticket: bool,
        methods: tuple[str, ...],
        source: str,
        proof: Proof | None = None,
    ) -> wire.AnyReply | Download:
        """A person's request to the portal. ``shown``: the certificate, or the ticket after a sign-in.

        A proof is good for several requests, as long as it is fresh.
        """
        await self.members.check(proxy)
        _check_source(proxy, source)
        if len(request) + len(shown) > wire.MAX_REQUEST:
            raise refused(proxy, f"{len(request)} bytes")
        asked = wire.parse_request(request)
        if by_ticket:
            user, since, device = self._tickets.read(shown, proxy.id, self._now())
            caller = Caller(user, None, methods, since, source, device)
        else:
            claims = await self._claims(proxy, shown)
            seen = await self._see(proxy, claims, shown, proof)
            if seen is not None:
                seen.to_portal(claims.identity.user, proxy.id)
            if isinstance(asked, wire.Sign):
                await self._attendance.use(seen, asked.public_key)
            caller = Caller(claims.identity.user, claims, methods, self._now(), source)
        return await self._portal.answer(caller, asked)

    def _now(self) -> datetime:
        return self._clock.now()

    async def _claims(self, proxy: HostIdentity, certificate: bytes) -> Claims:
        """What a person's certificate says; Denied if it is not genuine or valid, or was made for a forwarder."""
        await self.members.check(proxy)
        if is_plain_key(certificate):
            return await self._keys.claims(certificate)
        claims = self._believes.read(certificate, now=self._clock.now())
        if claims.identity.cluster == self._cluster.name and claims.forwarded is not None:
            raise refused(proxy, f"a forwarder's certificate of {claims.identity.user} as a person's")
        return claims

    async def _asked_for(self, claims: Claims, wanted: ForTarget, seen: Seen | None) -> Target:
        """The target that is to be dialled; Denied if the person has asked for something else."""
        name = seen.name_for(wanted.login) if seen is not None else None
        if name is None:
            target = await self._targets.target(wanted.target)
        else:
            target = await self._admission.find(claims, name)
        if seen is not None:
            seen.to_target(target, wanted.target, named=name is not None)
        return target

    def _check_records(self, proxy: HostIdentity, claims: Claims, permit: Permit, *, records: bool) -> None:
        """A node is relieved of recording only where the mode says so, or a root's forwarder records before us."""
        duties = FORWARDER_DUTIES[permit.mode, permit.target.sub_kind]
        ahead = claims.forwarded is not None and claims.forwarded.records
        if records and not (duties.emits or ahead):
            reason = f"proxy {proxy.id} asked to record instead of {permit.target.id} in mode {permit.mode.value}"
            raise Denied("where this session is recorded has just been changed: try again", reason=reason)

    async def _to_join(
        self, proxy: HostIdentity, claims: Claims, where: DaemonId, wanted: Joining, source: str
    ) -> Permit:
        if claims.identity.cluster != self._cluster.name:
            raise refused(proxy, f"{claims.identity.user} of {claims.identity.cluster} to join {wanted.sid}")
        roles = await self._admission.current_roles(claims)
        tracker = await self._trackers.find(wanted.sid)
        if tracker is None or tracker.expired(now=self._clock.now()):
            raise NotFound("this session has ended")
        target = await self._target_of(tracker)
        modes = joinable_modes(
            claims.identity.user, roles, owner=tracker.owner, target=target, login=tracker.login, source=source
        )
        if not wanted.modes or not set(wanted.modes) <= set(modes) or where != tracker.daemon_id:
            raise refused(proxy, f"{claims.identity.user} to join {wanted.sid} at {where} as {wanted.modes}")
        held_by_node = target is not None and target.id == where and target.sub_kind is SubKind.NODE
        there = target if target is not None and held_by_node else _proxy(where, tracker)
        return Permit.to_join(claims, roles, there, wanted, now=self._clock.now())

    async def _target_of(self, tracker: Tracker) -> Target | None:
        try:
            return await self._targets.target(tracker.target_id)
        except InterlockError:
            return None


def _told(roles: Iterable[Role]) -> tuple[Role, ...]:
    """As a proxy is told of them."""
    return tuple(replace(role, options=for_proxies(role.options)) for role in roles)


def _proxy(where: DaemonId, tracker: Tracker) -> Target:
    """A proxy that holds a session, as the target of who joins it."""
    return Target(where, tracker.hostname, "", 0, SubKind.NODE, tunnel=True)


def _check_source(proxy: HostIdentity, source: str) -> None:
    """Denied if that is nowhere where a person can be; empty: it is not known."""
    try:
        if source:
            parse_address(source, default_port=1)
    except ValueError:
        raise refused(proxy, f"somebody at {source[:128]!r}") from None
