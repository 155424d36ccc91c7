"""Certificates that an administrator signs for a person, with restrictions in the words of ``ssh-keygen -O``.

They say no more than a sign-in would: the person's roles and logins as they are now, and no longer than roles let.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Protocol

from interlock.core.certificate import SignedCertificate
from interlock.core.errors import Denied
from interlock.domain.audit import rfc3339
from interlock.domain.bot import Bot
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission
from interlock.ports import RoleSource, UserSource
from interlock.services.access.admission import roles_now
from interlock.services.keys.authority import Authority
from interlock.services.portal.certifying import logins_of, longest


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What ``-O`` has said; see `interlock.domain.identity.Claims`."""

    bounds: Bounds = NO_BOUNDS
    source_networks: tuple[str, ...] = ()
    verified: bool = False
    untouched: bool = False

    @property
    def facts(self) -> list[str]:
        """For the event."""
        said = [*self.bounds.facts]
        said += [f"source-address={','.join(self.source_networks)}"] if self.source_networks else []
        return said + ["verify-required"] * self.verified + ["no-touch-required"] * self.untouched


class Bots(Protocol):
    """Who knows which accounts are machines'; `ports.BotStore`."""

    async def bot(self, user: str) -> Bot | None:
        """None if it is a person's."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate, and what the audit log is told of it."""

    line: str
    expires: datetime
    logins: tuple[str, ...]
    facts: dict[str, str]


async def certify_by_hand(
    authority: Authority,
    users: UserSource,
    roles: RoleSource,
    bots: Bots,
    *,
    user: str,
    public_key: str,
    logins: Sequence[str],
    ttl: timedelta,
    restrictions: Restrictions,
) -> Made:
    """Sign for this user; NotFound, or Denied for what the roles do not have. No ``logins``: all of them."""
    account = await users.user(user)
    if await bots.bot(user) is not None:  # it would count as a person's, without the number that shows a thief
        raise Denied(f"{user} is a bot, whose certificates it renews itself: see ilctl bots")
    counting = await roles_now(roles, account, account.roles)
    allowed = logins_of(counting)
    if strange := [each for each in logins if each not in allowed]:
        raise Denied(f"no role of {user} has the login {strange[0]}: it has {', '.join(allowed) or 'none'}")
    names = tuple(dict.fromkeys(logins)) or allowed
    if not names:
        raise Denied(f"the roles of {user} have no logins: a certificate would be good for nothing")
    if not restrictions.source_networks and any(role.options.pin_source_ip for role in counting):
        raise Denied(f"roles of {user} bind certificates to an address: say which, by -O source-address=NETWORK")
    line = await authority.issue_user(
        user,
        [role.name for role in counting],
        names,
        public_key,
        min([ttl, *longest(counting)]),
        source_networks=restrictions.source_networks,
        verified=restrictions.verified,
        untouched=restrictions.untouched,
        bounds=restrictions.bounds,
    )
    signed = SignedCertificate.from_line(line).certificate
    expires = datetime.fromtimestamp(signed.valid_before, tz=UTC)
    facts = {
        "user": user,
        "roles": ",".join(role.name for role in counting),
        "logins": ",".join(names),
        "expires": rfc3339(expires),
        "serial": str(signed.serial),
    }
    if restrictions.facts:
        facts["options"] = "; ".join(restrictions.facts)
    return Made(line, expires, names, facts)


def read_options(options: Sequence[str]) -> Restrictions:
    """What ssh-keygen(1) would make of these ``-O``, one after another; ValueError, in words, for what it cannot.

    Other critical options and extensions (``critical:``, ``extension:``) mean nothing here, so they are refused.
    """
    found = Restrictions()
    for each in options:
        name, equals, value = each.strip().partition("=")
        read = _OPTIONS.get(name.lower())
        if read is None:
            msg = f"the option {name[:64]} is not known: there are {', '.join(_OPTIONS)}"
            raise ValueError(msg)
        if bool(equals) is not (name.lower() in _VALUED):
            msg = f"the option {name.lower()} takes {'a value' if not equals else 'no value'}"
            raise ValueError(msg)
        found = read(found, value)
    return found


_Read = Callable[[Restrictions, str], Restrictions]


def _command(found: Restrictions, value: str) -> Restrictions:
    return replace(found, bounds=Bounds.of(value, found.bounds.withheld))


def _networks(found: Restrictions, value: str) -> Restrictions:
    networks = tuple(str(ip_network(part.strip(), strict=False)) for part in value.split(","))
    return replace(found, source_networks=networks)


def _withholds(*permissions: Permission) -> _Read:
    return lambda found, _: _without(found, {*found.bounds.withheld, *permissions})


def _permits(permission: Permission) -> _Read:
    return lambda found, _: _without(found, {*found.bounds.withheld} - {permission})


def _without(found: Restrictions, withheld: set[Permission]) -> Restrictions:
    return replace(found, bounds=Bounds.of(found.bounds.command, withheld))


_VALUED = ("force-command", "source-address")
_OPTIONS: dict[str, _Read] = {
    "force-command": _command,
    "source-address": _networks,
    "verify-required": lambda found, _: replace(found, verified=True),
    "no-touch-required": lambda found, _: replace(found, untouched=True),
    "clear": _withholds(*Permission),
    **{f"no-{each.value.lower()}": _withholds(each) for each in Permission},
    **{f"permit-{each.value.lower()}": _permits(each) for each in Permission},
}
