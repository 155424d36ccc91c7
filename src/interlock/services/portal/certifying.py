"""What people and bots get signed: certificates by what their roles say now, as long as the strictest one lets.

A certificate never renews itself: there must have been a sign-in a moment ago, or, for a bot, its count be right.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Protocol

import msgspec

from interlock.core import portal as wire
from interlock.core.address import parse_address
from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.domain.audit import rfc3339
from interlock.domain.bot import Bot
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest
from interlock.ports import Clock, RoleSource, UserSource
from interlock.services.access.admission import roles_now
from interlock.services.access.caller import SIGN_WINDOW, Caller
from interlock.services.access.requests import Requests
from interlock.services.bots.bots import Bots
from interlock.services.signin.selfservice import SelfService

DEFAULT_TTL = timedelta(hours=12)
"""A certificate's life when the user asks for none: one working day."""

NO_LOGIN = "interlock-no-login"
"""The principal of a certificate for somebody without logins: there must be one, and no role has this one."""


class UserCertifier(Protocol):
    """Auth, as sign-in needs it; services.keys.authority.Authority."""

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


class Certifying:
    """Answers `wire.Sign` and `wire.UseAccess`, of whom the portal has found fit to ask."""

    def __init__(
        self,
        *,
        cluster: str,
        users: UserSource,
        roles: RoleSource,
        authority: UserCertifier,
        oneself: SelfService,
        clock: Clock,
        access: Requests | None,
        bots: Bots | None,
    ) -> None:
        self._cluster = cluster
        self._users = users
        self._roles = roles
        self._authority = authority
        self._oneself = oneself
        self._clock = clock
        self._access = access  # None: nobody asks for anything
        self._bots = bots  # None: there are none here

    async def sign(self, caller: Caller, roles: list[Role], request: wire.Sign) -> wire.Signed:
        """A certificate after a sign-in, or a bot's next one; Denied without either."""
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

    async def use_access(self, caller: Caller, request: wire.UseAccess) -> wire.Signed:
        """A certificate like the one that was shown, with the roles of a request, and for no longer than that."""
        claims = caller.claims
        if claims is None or claims.enrolled or claims.restricted:  # a new certificate would not say how
            raise Denied("sign in with ilsh login: it counts what was approved")
        if _fingerprint(request.public_key) not in claims.identity.keys[:1]:
            # Otherwise whoever passes the request on (a proxy apart), or has a stolen key, would have one more.
            public = "access is added to the certificate that you show, for the same key"
            raise Denied(public, reason=f"{caller.user} asked for another key than that of {claims.serial}")
        wanted = [*claims.identity.requests, request.id]
        approved = [each for each in await self._usable(caller.user) if each.id in wanted]
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
        logins = logins_of(roles) or (_nowhere(caller.user, roles),)
        ends = (each.deadline - self._clock.now() for each in approved)
        ttl = min([ttl, *ends, *longest(roles)])
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
            host_ca=self._authority.export("host").splitlines(),
            cluster=self._cluster,
            user=caller.user,
            logins=list(logins_of(roles)),
            roles=[role.name for role in roles],
            valid_until=_valid_until(certificate),
        )

    async def _sign_bot(self, bot: Bot, caller: Caller, roles: list[Role], request: wire.Sign) -> wire.Signed:
        if self._bots is None:
            raise Denied("there are no bots here")
        names, allowed = tuple(role.name for role in roles), tuple(logins_of(roles))
        pinned = _pinned(caller.source, roles)
        bot = replace(bot, life=min([bot.life, *longest(roles)]), sources=pinned or bot.sources)
        certificate, logins = await self._bots.sign(bot, caller, names, allowed, request.public_key)
        return wire.Signed(
            certificate=certificate,
            host_ca=self._authority.export("host").splitlines(),
            cluster=self._cluster,
            user=caller.user,
            logins=list(logins),
            roles=list(names),
            valid_until=_valid_until(certificate),
        )

    async def _usable(self, user: str) -> list[AccessRequest]:
        if self._access is None:
            raise Denied("roles cannot be asked for here")
        return list(await self._access.usable(user))


def logins_of(roles: Sequence[Role]) -> tuple[str, ...]:
    """The OS logins that roles name, wherever they count."""
    return tuple(sorted({login for role in roles for login in role.logins}))


def longest(roles: Sequence[Role]) -> list[timedelta]:
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
