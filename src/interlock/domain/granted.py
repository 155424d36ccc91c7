"""What policy has let somebody do who is here, as far as it can be taken away, and in which words it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.domain.identity import Claims
from interlock.domain.party import joinable_modes
from interlock.domain.rbac import Role, judge
from interlock.domain.target import Target


@dataclass(frozen=True, slots=True)
class Granted:
    """Of one connection. Without a target: to be at the gateway itself, as whoever is at its portal."""

    claims: Claims
    login: str = ""
    target: Target | None = None
    owner: str = ""  # whose session is joined, as its cluster calls them; the login and the target are that one's
    mode: JoinMode | None = None  # how it is joined
    leaf: str = ""  # the cluster that they went on to, which knows login and target
    told: tuple[str, ...] = ()  # the roles that it was told of

    def taken_away(self, roles: Sequence[Role], target: Target | None = None) -> Denied | None:
        """Why somebody with these roles may not stay; None: they may.

        Only what lets people be there counts. How they have to come in (with a second factor, from where, by a
        certificate that is valid) was looked at when they came, and options of roles are about what begins.
        ``target``: as it is now; None: as it was.
        """
        user, names = self.claims.identity.user, ", ".join(role.name for role in roles) or "no role"
        if self.leaf:
            if lost := sorted({*self.told} - {role.name for role in roles}):
                reason = f"{user} has lost {', '.join(lost)}, of which {self.leaf} was told"
                return Denied("your roles were changed: connect again", reason=reason)
            return None
        there = target or self.target
        if there is None:
            return None
        if self.mode is not None:
            modes = joinable_modes(user, roles, owner=self.owner, target=there, login=self.login, source=None)
            if self.mode in modes:
                return None
            reason = f"{user} ({names}) may not join sessions of {self.owner} on {there.hostname} any more"
            return Denied("your access to this session was taken away", reason=reason)
        judged = judge(roles, self.login, there)
        if judged.allowed:
            return None
        what = f"{self.login} on {there.hostname}"
        denying = ", ".join(role.name for role in judged.denying)
        reason = f"{denying} denies {what}" if denying else f"no role of {user} ({names}) allows {what} any more"
        return Denied(f"your access to {what} was taken away", reason=f"access taken away: {reason}")
