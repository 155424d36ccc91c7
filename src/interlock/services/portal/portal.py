"""What signed-in users may ask of the gateway itself: certificates, and lists of what is theirs.

The requests and replies are core.portal's. Policy is asked anew for every request, because a portal
connection may outlive a role, an account or the caller's certificate. Administration is not here (ilctl
works on the stores), nor is the way to a node (the forwarder).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, NotFound, RemoteProtocolError, StoreError
from interlock.core.extensions import JoinMode
from interlock.core.ids import SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.access import SecondFactor
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.container import Unlock
from interlock.domain.factor import check_factor, required_by
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Subject
from interlock.domain.party import joinable_modes
from interlock.domain.rbac import Role, logins_for, may_list
from interlock.domain.tracker import Tracker
from interlock.ports import (
    Clock,
    EventPages,
    EventSink,
    LiveSessions,
    LockSource,
    Recordings,
    RoleSource,
    TargetSource,
    User,
    UserSource,
)
from interlock.services.access.admission import check_account, granted_by, roles_now
from interlock.services.access.asking import Wanted, answer_access
from interlock.services.access.caller import Caller
from interlock.services.access.locks import check_stored
from interlock.services.access.requests import Requests
from interlock.services.audit.emitter import EventFactory
from interlock.services.bots.bots import Bots
from interlock.services.portal.certifying import Certifying, UserCertifier, logins_of
from interlock.services.portal.ending import Ending
from interlock.services.portal.events import EventsShown
from interlock.services.portal.playback import Download, Playback
from interlock.services.signin.selfservice import SelfService

_WEIGHTY = (wire.Recording, wire.Events, wire.EndSession, wire.ReviewAccess)
"""What takes a sign-in with a second factor if any of the person's roles asks for one, whatever it is about."""

_OF_BOTS = (wire.Sign, wire.Nodes, wire.WhoAmI, wire.Cluster)

TOLD_AGAIN_S = 3600.0
"""Seconds for which one user's refusals are counted against `REFUSALS_TOLD`. A connection costs little."""

MAX_REFUSED = 10_000
"""Users whose refusals are counted; the one that was refused longest ago is forgotten first."""


@dataclass(slots=True)
class _Told:
    since: float  # reading of the monotonic clock
    count: int = 0


class LeafDirectory(Protocol):
    """The portals of leaf clusters; adapters.ssh.leaf.LeafPortals."""

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[wire.NodeItem]:
        """The nodes that the user reaches there; NotFound for a cluster that is no leaf."""
        ...


class ForeignRoles(Protocol):
    """Policy for people of root clusters; services.clusters.federation.FederatedAdmission."""

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The roles that count here now; Denied if there are none."""
        ...


class Portal:
    """Answers one request at a time; between requests it only remembers how many refusals it has reported."""

    def __init__(
        self,
        *,
        cluster: str,
        users: UserSource,
        roles: RoleSource,
        targets: TargetSource,
        trackers: LiveSessions,
        recordings: Recordings,
        authority: UserCertifier,
        locks: LockSource,
        leaves: LeafDirectory,
        foreign: ForeignRoles,
        oneself: SelfService,
        events: EventSink,
        factory: EventFactory,
        clock: Clock,
        unlock: Unlock | None = None,
        access: Requests | None = None,
        ending: Ending | None = None,
        log: EventPages | None = None,
        bots: Bots | None = None,
    ) -> None:
        self._access = access  # None: nobody asks for anything
        self._bots = bots  # None: there are none here
        self._cluster = cluster
        self._users = users
        self._roles = roles
        self._targets = targets
        self._trackers = trackers
        self._playback = Playback(recordings, targets=targets, unlock=unlock)
        self._ending = ending  # None: nobody ends sessions from here
        self._log = EventsShown(log, targets=targets) if log is not None else None  # None: nobody reads it here
        self._authority = authority
        self._locks = locks
        self._leaves = leaves
        self._foreign = foreign
        self._oneself = oneself
        self._certifying = Certifying(
            cluster=cluster,
            users=users,
            roles=roles,
            authority=authority,
            oneself=oneself,
            clock=clock,
            access=access,
            bots=bots,
        )
        self._events = events
        self._factory = factory
        self._clock = clock
        self._told: OrderedDict[str, _Told] = OrderedDict()  # by user

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request; a refusal is a reply too, with its private reason in the audit log."""
        try:
            if caller.claims is not None and caller.claims.forwarded is not None:
                return await self._answer_foreign(caller.claims, request)
            _check_bounds(caller)
            await self._check_bot(caller, request)
            roles = await self._current_roles(caller)
            if isinstance(request, _WEIGHTY) and required_by(roles) is not None:
                check_factor(SecondFactor.SIGN_IN, _who(caller))
            return await self._answer(caller, roles, request)
        except Denied as error:
            self._emit_denied(caller, error)
            return refusal(error)
        except InterlockError as error:
            return refusal(error)

    async def _answer(
        self, caller: Caller, roles: list[Role], request: wire.AnyRequest
    ) -> wire.AnyReply | Download:
        match request:
            case wire.Sign():
                return await self._certifying.sign(caller, roles, request)
            case wire.Nodes(cluster=cluster) if cluster and cluster.lower() != self._cluster.lower():
                return await self._leaf_nodes(caller, cluster)
            case wire.Nodes():
                return await self._nodes(roles)
            case wire.Sessions():
                return await self._sessions(caller, roles, request)
            case wire.Recordings():
                return await self._playback.recordings(caller.user, roles, request)
            case wire.Recording():
                download, event = await self._playback.download(caller.user, roles, request)
                self._emit(Kind.RECORDING_ACCESS, caller, event, sid=SessionId(download.head.sid))
                return download
            case wire.Events():
                return await self._shown(caller, roles, request)
            case wire.EndSession():
                return await self._end_session(caller, roles, request)
            case wire.WhoAmI() | wire.Cluster():
                return self._known(caller, roles, request)
            case wire.OfOneself():
                return await self._oneself.answer(caller, request)
            case wire.AboutAccess():
                return await self._about_access(caller, roles, request)

    async def _answer_foreign(self, claims: Claims, request: wire.AnyRequest) -> wire.NodeList:
        """Somebody of a root cluster, by its gateway: which nodes there are for them, and nothing else."""
        if not isinstance(request, wire.Nodes) or request.cluster:
            public = "people of other clusters can only ask for nodes here"
            raise Denied(public, reason=f"{claims.identity.user} asked for {type(request).__name__}")
        return await self._nodes(await self._foreign.current_roles(claims))

    async def _leaf_nodes(self, caller: Caller, cluster: str) -> wire.NodeList:
        if caller.claims is None:
            raise Denied("other clusters admit by certificate: run ilsh login")
        return wire.NodeList(await self._leaves.nodes(caller.claims, cluster, caller.source))

    async def _current_roles(self, caller: Caller) -> list[Role]:
        """The roles that count now: those of the account, and with a certificate only those it names too."""
        claims = caller.claims
        if claims is not None and not claims.valid_after <= self._clock.now() < claims.valid_before:
            public = "your certificate has expired: run ilsh login"
            raise Denied(public, reason=f"certificate {claims.serial} of {caller.user} is not valid now")
        try:
            account = await self._users.user(caller.user)
        except NotFound:
            raise Denied("access denied", reason=f"account {caller.user} does not exist any more") from None
        await check_stored(self._locks, self._subject(caller, account), now=self._clock.now())
        if claims is not None:
            check_account(claims, account)
        if claims is None or self._access is None:
            return await roles_now(
                self._roles, account, account.roles if claims is None else claims.identity.roles
            )
        granted = await granted_by(self._access.store, claims.identity, self._clock.now())
        return await roles_now(self._roles, account, claims.identity.roles, granted)

    def _subject(self, caller: Caller, account: User) -> Subject:
        """Whom a lock may be about. The door has asked, too; but a proxy's word is not what auth goes by."""
        if caller.claims is not None:
            return Subject.of(caller.claims.identity)
        return Subject.signing_in(account.name, account.roles, self._cluster, caller.device)

    async def _check_bot(self, caller: Caller, request: wire.AnyRequest) -> None:
        """Denied if a machine user asks for what is for people, however it was signed in."""
        if isinstance(request, _OF_BOTS):
            return
        numbered = caller.claims is not None and caller.claims.bot > 0
        if numbered or (self._bots is not None and await self._bots.find(caller.user) is not None):
            public = "bots can renew their certificate and list nodes, and nothing else"
            raise Denied(public, reason=f"the bot {caller.user} asked for {type(request).__name__}")

    async def _about_access(
        self, caller: Caller, roles: list[Role], request: Wanted | wire.UseAccess
    ) -> wire.AnyReply:
        if isinstance(request, wire.UseAccess):
            return await self._certifying.use_access(caller, request)
        reply, event = await answer_access(self._requests(), caller.user, roles, request, self._clock.now())
        if event is not None:
            self._events.emit(event)
        return reply

    async def _end_session(self, caller: Caller, roles: list[Role], request: wire.EndSession) -> wire.Done:
        if self._ending is None:
            raise Denied("sessions cannot be ended here")
        self._events.emit(await self._ending.end(caller.user, roles, request))
        return wire.Done(f"Session {request.sid} ends.")

    async def _shown(self, caller: Caller, roles: list[Role], request: wire.Events) -> wire.EventList:
        if self._log is None:
            raise Denied("the audit log cannot be read here")
        return await self._log.page(caller.user, roles, request)

    def _requests(self) -> Requests:
        if self._access is None:
            raise Denied("roles cannot be asked for here")
        return self._access

    async def _nodes(self, roles: list[Role]) -> wire.NodeList:
        items = [
            wire.NodeItem(
                id=target.id,
                hostname=target.hostname,
                sub_kind=target.sub_kind.value,
                labels=dict(target.labels),
                logins=sorted(logins),
            )
            for target in await self._targets.targets()
            if (logins := logins_for(roles, target))
        ]
        return wire.NodeList(items)

    async def _sessions(self, caller: Caller, roles: list[Role], request: wire.Sessions) -> wire.SessionList:
        """As many pages of all sessions as it takes."""
        now, after = self._clock.now(), request.after
        targets = {target.id: target for target in await self._targets.targets()}
        items: list[wire.SessionItem] = []
        while True:
            page, after = await self._trackers.live(after=after, limit=wire.MAX_LISTED)
            for tracker in page:
                target = targets.get(tracker.target_id)
                modes = joinable_modes(
                    caller.user,
                    roles,
                    owner=tracker.owner,
                    target=target,
                    login=tracker.login,
                    source=caller.source,
                )
                modes = modes if tracker.terminal else ()
                if tracker.expired(now=now) or not (modes or may_list(caller.user, roles, tracker.owner, target)):
                    continue
                items.append(_session(tracker, modes))
                if len(items) == request.limit:
                    return wire.SessionList(items, tracker.cursor)
            if not after:
                return wire.SessionList(items)

    def _known(
        self, caller: Caller, roles: list[Role], request: wire.WhoAmI | wire.Cluster
    ) -> wire.Myself | wire.ClusterInfo:
        if isinstance(request, wire.Cluster):
            return wire.ClusterInfo(cluster=self._cluster, host_ca=self._host_ca())
        return wire.Myself(
            user=caller.user,
            cluster=self._cluster,
            roles=[role.name for role in roles],
            logins=list(logins_of(roles)),
            methods=list(caller.methods),
            valid_until=rfc3339(caller.claims.valid_before) if caller.claims is not None else None,
        )

    def _host_ca(self) -> list[str]:
        return self._authority.export("host").splitlines()

    def _emit_denied(self, caller: Caller, error: Denied) -> None:
        count = self._count_refusal(caller.user)
        if count > REFUSALS_TOLD:
            return
        last = " (later refusals of this user are not reported for an hour)" if count == REFUSALS_TOLD else ""
        fields: dict[str, JsonValue] = {"success": False, "error": error.reason + last, "message": error.public}
        self._emit(Kind.AUTH_FAILURE, caller, fields)

    def _count_refusal(self, user: str) -> int:
        """How many refusals this user has had within the hour, on whatever connections."""
        now = self._clock.monotonic()
        told = self._told.setdefault(user, _Told(now))
        if now - told.since >= TOLD_AGAIN_S:
            told.since, told.count = now, 0
        told.count += 1
        self._told.move_to_end(user)
        if len(self._told) > MAX_REFUSED:
            self._told.popitem(last=False)
        return told.count

    def _emit(
        self, kind: Kind, caller: Caller, fields: dict[str, JsonValue], *, sid: SessionId | None = None
    ) -> None:
        who: dict[str, JsonValue] = {"user": caller.user, "addr.remote": caller.source}
        self._events.emit(self._factory.make(kind, who | fields, sid=sid))


def _check_bounds(caller: Caller) -> None:
    """Denied to whom a certificate or key leaves one command: that is for nodes, and nothing here is it."""
    if caller.claims is not None and caller.claims.bounds.command is not None:
        public = "your certificate or key is for one command on nodes: run ilsh login for everything else"
        raise Denied(public, reason=f"{caller.user} asked the portal with a forced command")


def _who(caller: Caller) -> Identity:
    return caller.claims.identity if caller.claims is not None else Identity(caller.user, (), "", caller.device)


def refusal(error: InterlockError) -> wire.Refused:
    """What the person may read about an error; its reason stays here."""
    match error:
        case Denied():
            return wire.Refused("denied", error.public)
        case NotFound():
            return wire.Refused("not-found", error.public)
        case RemoteProtocolError():
            return wire.Refused("malformed", error.public)
        case StoreError():
            return wire.Refused("failed", "the gateway could not read its storage: try again later")
        case _:
            return wire.Refused("failed", error.public)


def _session(tracker: Tracker, modes: tuple[JoinMode, ...]) -> wire.SessionItem:
    return wire.SessionItem(
        sid=tracker.sid,
        state=tracker.state.value,
        created=rfc3339(tracker.created),
        user=tracker.user,
        login=tracker.login,
        hostname=tracker.hostname,
        command=list(tracker.command),
        participants=list(tracker.participants),
        joinable=[mode.value for mode in modes],
        reason=tracker.reason,
        invited=list(tracker.invited),
    )
