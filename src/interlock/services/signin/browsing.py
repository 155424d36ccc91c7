"""Sign-ins in browsers, and what browsers have begun: who is there, and what they come back for.

A sign-in ends by itself, with the account, at the person's or an administrator's word, and counts for nothing
while a lock is in force. Cookies are stored as digests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.core.address import source_of
from interlock.core.errors import LimitReached, Locked, NotFound
from interlock.domain.browser import BrowserSignIn, Errand
from interlock.ports import Clock, Entropy, User
from interlock.ports.browser import BrowserSignInStore, ErrandStore
from interlock.services.signin.admitting import Admitting
from interlock.services.signin.digests import digest_of, new_secret

MAX_SIGN_INS = 20
"""Browsers in which one user is signed in; with one more the oldest one is not any more."""

MAX_ERRANDS = 10_000
"""What browsers have begun, in all;"""

MAX_ERRANDS_OF_SOURCE = 100
"""and those of one source: an office behind one address signs in within minutes."""

ERRAND_LIFE = timedelta(minutes=10)
"""How long a browser may take: somebody signs in at their provider meanwhile."""

TOUCHED = timedelta(minutes=1)
"""How exactly it is noted when a sign-in was last used."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is at the browser."""

    sign_in: BrowserSignIn
    account: User
    fresh: bool  # has proved it a moment ago

    @property
    def user(self) -> str:
        """The name."""
        return self.account.name


class BrowserSignIns:
    """See the module's docstring."""

    def __init__(self, *, store: BrowserSignInStore, admitting: Admitting, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._admitting = admitting
        self._clock = clock
        self._entropy = entropy

    async def begin(self, user: str, *, method: str, device: str, source: str) -> str:
        """Somebody has just proved who they are: the cookie."""
        secret, now = new_secret(self._entropy), self._clock.now()
        sign_in = BrowserSignIn(digest_of(secret), user, method, device, source, now, now, now)
        await self._store.put_sign_in(sign_in, most=MAX_SIGN_INS)
        return secret

    async def find(self, secret: str) -> SignedIn | None:
        """Who has this cookie; None if nobody has, or the sign-in does not count (any more)."""
        now = self._clock.now()
        found = await self._store.sign_in(digest_of(secret))
        if found is None:
            return None
        if not found.lives(now=now):
            await self._store.remove_sign_in(found.digest)
            return None
        try:
            account = await self._admitting.still(found.user, device=found.device)
        except (NotFound, Locked):
            return None
        if now - found.used >= TOUCHED:
            await self._touch(found, now, proved=found.proved)
        return SignedIn(found, account, found.fresh(now=now))

    async def end(self, secret: str) -> None:
        """Sign out; harmless if nobody is signed in."""
        await self._store.remove_sign_in(digest_of(secret))

    async def _touch(self, found: BrowserSignIn, now: datetime, *, proved: datetime) -> None:
        await self._store.touch_sign_in(found.digest, used=now, proved=proved)


class Errands:
    """What a browser begins and comes back for, once: bound to a secret that only it has."""

    def __init__(self, store: ErrandStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def begin(self, kind: str, secret: str, facts: Mapping[str, str], *, source: str) -> None:
        """Remember it in the place of one of this kind before; LimitReached if too much was begun."""
        now = self._clock.now()
        errand = Errand(digest_of(kind, secret), kind, source_of(source), facts, now + ERRAND_LIFE)
        kept = await self._store.put_errand(errand, now=now, most=MAX_ERRANDS, of_source=MAX_ERRANDS_OF_SOURCE)
        if not kept:
            public = "too many people are signing in at the moment: try again in a few minutes"
            raise LimitReached(public, maximum=MAX_ERRANDS, reason=f"{source} has begun too much")

    async def finish(self, kind: str, secret: str) -> Mapping[str, str] | None:
        """What was remembered, for the first who comes back in time; None for everybody else."""
        errand = await self._store.take_errand(digest_of(kind, secret), kind)
        return errand.facts if errand is not None and self._clock.now() < errand.expires else None
