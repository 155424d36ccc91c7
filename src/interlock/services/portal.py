"""What signed-in users may ask of the gateway itself: certificates, and lists of what is theirs.

The requests and replies are core.portal's. Policy is asked anew for every request, because a portal
connection may outlive a role, an account or the caller's certificate. Administration is not here (ilctl
works on the stores), nor is the way to a node (the forwarder).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Protocol

import msgspec

from interlock.core import portal as wire
from interlock.core.address import parse_address
from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.errors import Denied, InterlockError, NotFound, RemoteProtocolError, StoreError
from interlock.core.extensions import JoinMode
from interlock.core.ids import SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.access import SecondFactor
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.bot import Bot
from interlock.domain.container import Unlock
from interlock.domain.factor import check_factor, required_by
from interlock.domain.identity import Claims, Identity
from interlock.domain.party import joinable_modes
from interlock.domain.rbac import Role, logins_for, may_list
from interlock.domain.request import AccessRequest
from interlock.domain.tracker import Tracker
from interlock.ports import (
    Clock,
    EventSink,
    LiveSessions,
    Recordings,
    RoleSource,
    TargetSource,
    UserSource,
)
from interlock.services.admission import granted_by, roles_now
from interlock.services.asking import Wanted, answer_access
from interlock.services.bots import Bots
from interlock.services.caller import SIGN_WINDOW, Caller
from interlock.services.emitter import EventFactory
from interlock.services.ending import Ending
from interlock.services.playback import Download, Playback
from interlock.services.requests import Requests
from interlock.services.selfservice import SelfService

DEFAULT_TTL = timedelta(hours=12)
"""A certificate's life when the user asks for none: one working day."""

_WEIGHTY = (wire.Recording, wire.EndSession, wire.ReviewAccess)
"""What takes a sign-in with a second factor if any of the person's roles asks for one, whatever it is about."""

_OF_BOTS = (wire.Sign, wire.Nodes, wire.WhoAmI, wire.Cluster)

NO_LOGIN = "interlock-no-login"
"""The principal of a certificate for somebody without logins: there must be one, and no role has this one."""

TOLD_AGAIN_S = 3600.0
"""Seconds for which one user's refusals are counted against `REFUSALS_TOLD`. A connection costs little."""

MAX_REFUSED = 10_000
"""Users whose refusals are counted; the one that was refused longest ago is forgotten first."""


@dataclass(slots=True)
class _Told:
    since: float  # reading of the monotonic clock
    count: int = 0


class UserCertifier(Protocol):
    """Auth, as sign-in needs it; services.authority.Authority."""

    async def issue_user(
        self,
        user: str,
        roles: Sequence[str],
        logins: Sequence[str],
        public_key: str,
        ttl: timedelta,
        *,
        device: str = "",
        requests: Sequence[str] = (),
        source_networks: Sequence[str] = (),
    ) -> str:
        """A user certificate, OpenSSH one-line form; Denied if key, names or life are not acceptable."""
        ...

    def export(self, kind: str) -> str:
        """The public keys of authority ``user``, ``host`` or ``openssh``, a line each."""
        ...


class LeafDirectory(Protocol):
    """The portals of leaf clusters; adapters.ssh.leaf.LeafPortals."""

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[wire.NodeItem]:
        """The nodes that the user reaches there; NotFound for a cluster that is no leaf."""
        ...


class ForeignRoles(Protocol):
    """Policy for people of root clusters; services.federation.FederatedAdmission."""

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
        leaves: LeafDirectory,
        foreign: ForeignRoles,
        oneself: SelfService,
        events: EventSink,
        factory: EventFactory,
        clock: Clock,
        unlock: Unlock | None = None,
        access: Requests | None = None,
        ending: Ending | None = None,
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
        self._authority = authority
        self._leaves = leaves
        self._foreign = foreign
        self._oneself = oneself
        self._events = events
        self._factory = factory
        self._clock = clock
        self._told: OrderedDict[str, _Told] = OrderedDict()  # by user

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request; a refusal is a reply too, with its private reason in the audit log."""
        try:
            if caller.claims is not None and caller.claims.forwarded is not None:
                return await self._answer_foreign(caller.claims, request)
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
                return await self._sign(caller, roles, request)
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
            case wire.EndSession():
                return await self._end_session(caller, roles, request)
            case wire.WhoAmI():
                return self._myself(caller, roles)
            case wire.OfOneself():
                return await self._oneself.answer(caller, request)
            case wire.AboutAccess():
                return await self._about_access(caller, roles, request)
            case wire.Cluster():
                return wire.ClusterInfo(cluster=self._cluster, host_ca=self._host_ca())

    async def _answer_foreign(self, claims: Claims, request: wire.AnyRequest) -> wire.NodeList:
        """Somebody of a root cluster, by its gateway: which nodes there are for him, and nothing else."""
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
        if claims is None or self._access is None:
            return await roles_now(
                self._roles, account, account.roles if claims is None else claims.identity.roles
            )
        granted = await granted_by(self._access.store, claims.identity, self._clock.now())
        return await roles_now(self._roles, account, claims.identity.roles, granted)

    async def _check_bot(self, caller: Caller, request: wire.AnyRequest) -> None:
        """Denied if a machine user asks for what is for people, however it was signed in."""
        if isinstance(request, _OF_BOTS):
            return
        if caller.claims is not None:
            is_bot = caller.claims.bot > 0
        else:
            is_bot = self._bots is not None and await self._bots.find(caller.user) is not None
        if is_bot:
            public = "bots can renew their certificate and list nodes, and nothing else"
            raise Denied(public, reason=f"the bot {caller.user} asked for {type(request).__name__}")

    async def _about_access(
        self, caller: Caller, roles: list[Role], request: Wanted | wire.UseAccess
    ) -> wire.AnyReply:
        if isinstance(request, wire.UseAccess):
            return await self._use_access(caller, request)
        reply, event = await answer_access(self._requests(), caller.user, roles, request, self._clock.now())
        if event is not None:
            self._events.emit(event)
        return reply

    async def _end_session(self, caller: Caller, roles: list[Role], request: wire.EndSession) -> wire.Done:
        if self._ending is None:
            raise Denied("sessions cannot be ended here")
        self._events.emit(await self._ending.end(caller.user, roles, request))
        return wire.Done(f"Session {request.sid} ends.")

    def _requests(self) -> Requests:
        if self._access is None:
            raise Denied("roles cannot be asked for here")
        return self._access

    async def _sign(self, caller: Caller, roles: list[Role], request: wire.Sign) -> wire.Signed:
        bot = None if self._bots is None else await self._bots.find(caller.user)
        if bot is not None:
            return await self._sign_bot(bot, caller, roles, request)
        if caller.claims is not None:
            # Otherwise one sign-in would last for ever, and so would a stolen certificate.
            public = "a certificate cannot renew itself: sign in again with ilsh login"
            raise Denied(public, reason=f"{caller.user} asked for a certificate with a certificate")
        now = self._clock.now()
        if now - caller.since > SIGN_WINDOW:
            public = "this sign-in is too old for a new certificate: sign in again with ilsh login"
            raise Denied(public, reason=f"{caller.user} signed in at {rfc3339(caller.since)}")
        ttl = DEFAULT_TTL if request.ttl is None else timedelta(seconds=request.ttl)
        approved = [] if self._access is None else await self._access.usable(caller.user)
        signed = await self._certify(caller, [role.name for role in roles], approved, request.public_key, ttl)
        return msgspec.structs.replace(signed, notice=await self._oneself.notice(caller, roles))

    async def _use_access(self, caller: Caller, request: wire.UseAccess) -> wire.Signed:
        """A certificate like the one that was shown, with the roles of a request, and for no longer than that."""
        claims = caller.claims
        if claims is None or claims.enrolled:  # what restricts a key is its owner's word, and in no certificate
            raise Denied("sign in with ilsh login: it counts what was approved")
        if _fingerprint(request.public_key) not in claims.identity.keys[:1]:
            # Otherwise whoever passes the request on (a proxy apart), or has a stolen key, would have one more.
            public = "access is added to the certificate that you show, for the same key"
            raise Denied(public, reason=f"{caller.user} asked for another key than that of {claims.serial}")
        wanted = [*claims.identity.requests, request.id]
        approved = [each for each in await self._requests().usable(caller.user) if each.id in wanted]
        if request.id not in {each.id for each in approved}:
            raise Denied("this request gives no access now: see ilsh request show ID")
        ttl = claims.valid_before - self._clock.now()
        return await self._certify(caller, claims.identity.roles, approved, request.public_key, ttl)

    async def _certify(
        self,
        caller: Caller,
        names: Sequence[str],
        approved: Sequence[AccessRequest],
        public_key: str,
        ttl: timedelta,
    ) -> wire.Signed:
        """A certificate with these roles and those of requests, until the first of these ends.

        What restricts the certificate that was shown, if there was one, restricts this one (R29).
        """
        account = await self._users.user(caller.user)
        granted = [name for each in approved for name in each.roles]
        roles = await roles_now(self._roles, account, [*names, *granted], granted)
        roles = [role for role in roles if role.name in names or role.name in granted]
        logins = _logins(roles) or (_nowhere(caller.user, roles),)
        ends = (each.deadline - self._clock.now() for each in approved)
        ttl = min([ttl, *ends, *_longest(roles)])
        before = caller.claims
        bound = before.source_networks if before is not None else ()
        certificate = await self._authority.issue_user(
            caller.user,
            [role.name for role in roles],
            logins,
            public_key,
            ttl,
            device=caller.device if before is None else before.identity.device,
            requests=[each.id for each in approved],
            source_networks=bound or _pinned(caller.source, roles),
        )
        return wire.Signed(
            certificate=certificate,
            host_ca=self._host_ca(),
            cluster=self._cluster,
            user=caller.user,
            logins=list(_logins(roles)),
            roles=[role.name for role in roles],
            valid_until=_valid_until(certificate),
        )

    async def _sign_bot(self, bot: Bot, caller: Caller, roles: list[Role], request: wire.Sign) -> wire.Signed:
        if self._bots is None:
            raise Denied("there are no bots here")
        names, allowed = tuple(role.name for role in roles), tuple(_logins(roles))
        pinned = _pinned(caller.source, roles)
        bot = replace(bot, life=min([bot.life, *_longest(roles)]), sources=pinned or bot.sources)
        certificate, logins = await self._bots.sign(bot, caller, names, allowed, request.public_key)
        return wire.Signed(
            certificate=certificate,
            host_ca=self._host_ca(),
            cluster=self._cluster,
            user=caller.user,
            logins=list(logins),
            roles=list(names),
            valid_until=_valid_until(certificate),
        )

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

    def _myself(self, caller: Caller, roles: list[Role]) -> wire.Myself:
        return wire.Myself(
            user=caller.user,
            cluster=self._cluster,
            roles=[role.name for role in roles],
            logins=list(_logins(roles)),
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


def _logins(roles: list[Role]) -> tuple[str, ...]:
    return tuple(sorted({login for role in roles for login in role.logins}))


def _longest(roles: list[Role]) -> list[timedelta]:
    """For how long at most roles let a certificate live."""
    said = (role.options.max_certificate_ttl for role in roles)
    return [timedelta(seconds=each) for each in said if each is not None]


def _pinned(source: str, roles: list[Role]) -> tuple[str, ...]:
    """Where alone the certificate counts from, if a role says so; Denied if nobody knows where the person is."""
    if not any(role.options.pin_source_ip for role in roles):
        return ()
    try:
        return (str(ip_network(parse_address(source, default_port=1)[0])),)
    except ValueError:
        raise Denied("your address is not known, and your roles bind certificates to it", reason=source) from None


def _nowhere(user: str, roles: list[Role]) -> str:
    """The principal of somebody without logins who may do something else; Denied to anybody else."""
    said = [role.options for role in roles]
    if any(each.request_roles or each.review_roles or each.allow or each.join_sessions for each in said):
        return NO_LOGIN
    public = "your roles allow no login anywhere: ask your administrator"
    raise Denied(public, reason=f"the roles of {user} have no logins")


def _fingerprint(public_key: str) -> str:
    try:
        return PublicKey.parse(public_key).fingerprint
    except ValueError as error:
        raise Denied("this public key cannot be certified", reason=str(error)) from None


def _valid_until(certificate: str) -> str:
    parsed = SignedCertificate.from_line(certificate).certificate
    return rfc3339(datetime.fromtimestamp(parsed.valid_before, tz=UTC))
