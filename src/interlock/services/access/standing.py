"""What a proxy apart from auth knows of a person, as auth has said it a moment ago, and what it decides by that.

Auth judges again, by what it has stored then, whenever it signs something (`fleet.signing`): what is kept here
saves round trips, and cannot let anybody in. It decides alone about bridges to nodes, which ask auth themselves.
While no auth answers, older answers count if policy says so (`services.access.offline`): for further sessions on
connections that are there, and for bridges.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from interlock.core.errors import Denied, NotFound, StoreError
from interlock.domain.access import SecondFactor
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import required_by
from interlock.domain.identity import Claims
from interlock.domain.lock import Subject
from interlock.domain.modes import ModePolicy
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role, reaching
from interlock.domain.target import Target, unknown_node
from interlock.ports import Clock
from interlock.services.access.admission import asked_by, refused
from interlock.services.access.offline import Answers, Told, View

FRESH_S = 2.0
"""Seconds for which an answer of auth is used again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who somebody is now."""

    roles: tuple[Role, ...]  # those that count
    modes: ModePolicy
    root: TrustedCluster | None = None  # the cluster that the person comes from, if it is another one
    askable: tuple[Role, ...] = ()  # roles that the person may ask for


class StandingSource(Protocol):
    """Auth."""

    async def standing(self, certificate: bytes) -> Standing:
        """Of whoever the certificate names; Denied if that is nobody any more, Locked if a lock says so."""
        ...

    async def find(self, certificate: bytes, name: str) -> Target:
        """`RoleAdmission.find`."""
        ...


class TrustedSource(Protocol):
    """Auth, too."""

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """All clusters that this one has to do with."""
        ...


class StandingAdmission:
    """The proxy's questions to policy, asked of auth: what `FederatedAdmission` is in auth's own process."""

    def __init__(self, source: StandingSource, view: View, *, clock: Clock, told: Told) -> None:
        self._source = source
        self._clock = clock
        self._standings: Answers[tuple[str, int], Standing] = Answers(
            view, clock=clock, fresh_s=FRESH_S, told=told
        )
        self._found: Answers[tuple[str, int, str], Target] = Answers(view, clock=clock, fresh_s=FRESH_S)
        self._modes: ModePolicy | None = None  # as last heard

    async def find(self, claims: Claims, name: str) -> Target:
        """The target that a person names; NotFound or Denied if there is not exactly one."""
        key = (*_person(claims), name)
        return await self._found.ask(key, _subject(claims), lambda: self._source.find(claims.certificate, name))

    async def permit_for(
        self, claims: Claims, login: str, target: Target, *, source: str | None = "", named: str = ""
    ) -> Permit:
        """Proof that the login is allowed, as far as auth will agree when it signs. See `RoleAdmission`."""
        standing = await self._standing(claims, login, target)
        now = self._clock.now()
        try:
            permit = Permit.decide(
                claims, standing.roles, login, target, now=now, modes=standing.modes, source=source
            )
        except Denied as error:
            raise refused(error, standing.roles, standing.askable, login, target, named) from None
        if login not in claims.logins:
            public = f"access denied: your certificate does not allow the login {login} yet: run ilsh login"
            raise Denied(public, reason=f"{claims.identity.user} has principals {', '.join(claims.logins)}")
        return permit

    async def asks(self, claims: Claims, login: str, name: str) -> bool:
        """Whether a connection has to be confirmed with a second factor; see `RoleAdmission.asks`.

        Auth is asked no more than without it: who is let in is asked about in the same moment.
        """
        if claims.forwarded is not None:
            return False
        try:
            standing = await self._standing(claims)
            required = required_by(standing.roles)
            if required is not SecondFactor.SESSION or not name:
                return required is SecondFactor.SESSION
            target = await self.find(claims, name)
        except (Denied, NotFound):
            return False
        return asked_by(standing.roles, login, target)

    async def asks_on(self, claims: Claims, target: Target) -> bool:
        """The same of any login there."""
        standing = await self._standing(claims, "", target)
        return required_by(reaching(standing.roles, target)) is SecondFactor.SESSION

    async def mode_before_login(self, claims: Claims, target: Target, named: str) -> RecordingMode:
        """The strictest recording mode that any login of this user has there; NotFound if no role reaches it."""
        standing = await self._standing(claims, "", target)
        if not reaching(standing.roles, target):
            reason = (
                f"{claims.identity.user} has {len(standing.roles)} roles that count, none for {target.hostname}"
            )
            raise unknown_node(named, reason=reason)
        return standing.modes.mode_before_login(target, standing.roles)

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The roles that count now."""
        return list((await self._standing(claims)).roles)

    async def root_of(self, claims: Claims) -> TrustedCluster:
        """The cluster that somebody comes from; Denied if it is not trusted."""
        root = (await self._standing(claims)).root
        if root is None:
            raise Denied("your cluster is not trusted", reason=f"{claims.identity.cluster} is no root")
        return root

    async def mode_policy(self) -> ModePolicy:
        """`ports.ModeSource`, as auth said it with the last answer about anybody."""
        if self._modes is None:
            raise StoreError("the recording mode is not known yet")
        return self._modes

    async def _standing(self, claims: Claims, login: str = "", target: Target | None = None) -> Standing:
        async def question() -> Standing:
            standing = await self._source.standing(claims.certificate)
            self._modes = standing.modes
            return standing

        return await self._standings.ask(_person(claims), _subject(claims, login, target), question)


class TrustedClusters:
    """`ports.KnownClusters`, as auth said it last: what is old counts as long as auth is away.

    That lets nobody in: whoever comes or goes is judged by auth.
    """

    def __init__(self, source: TrustedSource, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._known: tuple[TrustedCluster, ...] | None = None
        self._asked = 0.0

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """See `ports.KnownClusters`."""
        now = self._clock.monotonic()
        if self._known is None or now - self._asked >= FRESH_S:
            self._asked = now
            try:
                self._known = await self._source.trusted()
            except StoreError:
                if self._known is None:
                    raise
        return [each for each in self._known if relation in (None, each.relation)]

    async def trusted_cluster(self, relation: Relation, name: str) -> TrustedCluster:
        """See `ports.KnownClusters`."""
        for each in await self.trusted_clusters(relation):
            if each.name.lower() == name.lower():
                return each
        raise NotFound(f"there is no trusted cluster {name}")


def _person(claims: Claims) -> tuple[str, int]:
    return claims.identity.cluster, claims.serial


def _subject(claims: Claims, login: str = "", target: Target | None = None) -> Subject:
    """Whom a lock may concern; another cluster's roles are not what ours are, whatever they are called."""
    identity = claims.identity if claims.forwarded is None else replace(claims.identity, roles=())
    return Subject.of(identity, login, target)
