"""Links by which somebody gets in for the first time, or again: single-use and short-lived.

A link that was used, has expired, was replaced by a newer one or never existed gets one and the same answer.
"""

from datetime import timedelta

from interlock.core.errors import Denied, NotFound, SignInFailed
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.browser import MAX_LINK_LIFE, Link, LinkPurpose
from interlock.ports import Clock, Entropy, User, UserStore
from interlock.ports.browser import BrowserSignInStore, LinkStore
from interlock.services.signin.admitting import Admitting
from interlock.services.signin.digests import digest_of, new_secret
from interlock.services.signin.signin import Passwords, check_new_password

PUBLIC = "this link is not valid (any more): ask your administrator for a new one"
"""The one text."""


class Links:
    """Makes them and lets people in by them."""

    def __init__(
        self,
        *,
        store: LinkStore,
        users: UserStore,
        sign_ins: BrowserSignInStore,
        passwords: Passwords,
        admitting: Admitting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._users = users
        self._sign_ins = sign_ins
        self._passwords = passwords
        self._admitting = admitting
        self._clock = clock

    async def open(self, secret: str, *, source: str) -> tuple[Link, User]:
        """The link behind a secret, to show what it is for; SignInFailed unless it can still be used."""
        link = await self._store.link(digest_of(secret))
        if link is None:
            raise SignInFailed(PUBLIC, reason=f"somebody at {source} showed a link that there is not")
        if self._clock.now() >= link.expires:
            raise SignInFailed(PUBLIC, reason=f"the link of {link.user} has expired")
        try:
            account = await self._admitting.still(link.user)
        except NotFound:
            raise SignInFailed(PUBLIC, reason=f"the link of {link.user}, who was removed") from None
        return link, account

    async def spend(self, secret: str, *, source: str) -> Link:
        """Use the link up; SignInFailed unless this is the first and only time."""
        link, _ = await self.open(secret, source=source)
        if not await self._store.spend_link(link.digest):
            raise SignInFailed(PUBLIC, reason=f"the link of {link.user} was used twice at the same time")
        await self._sign_ins.remove_sign_ins(link.user)
        return link

    async def set_password(self, secret: str, new: str, again: str, *, source: str) -> str:
        """Choose a password by a link; whose it is. Denied, and the link stays good, if it will not do."""
        check_twice(new, again)
        link = await self.spend(secret, source=source)
        await self._users.set_password(link.user, await self._passwords.hash(new), must_change=False)
        self._emit(Kind.PASSWORD_CHANGE, link.user, source)
        return link.user

    async def mark(self, user: str) -> str:
        """Stands for the password that somebody has now: another one, another mark. NotFound."""
        return digest_of("password", (await self._users.user(user)).password_hash or "").hex()

    async def change_password(self, user: str, new: str, again: str, *, source: str) -> None:
        """For somebody who has just proved who they are, and not by a link. Their sign-ins in browsers end."""
        check_twice(new, again)
        await self._users.set_password(user, await self._passwords.hash(new), must_change=False)
        await self._sign_ins.remove_sign_ins(user)
        self._emit(Kind.PASSWORD_CHANGE, user, source)

    def _emit(self, kind: Kind, user: str, source: str) -> None:
        fields: dict[str, JsonValue] = {"user": user, "success": True, "addr.remote": source}
        self._admitting.tell(kind, fields)


async def make_link(
    store: LinkStore, user: str, purpose: LinkPurpose, life: timedelta, *, clock: Clock, entropy: Entropy
) -> str:
    """A new link's secret, in the place of the user's older one. Denied if it would live too long."""
    if not timedelta() < life <= MAX_LINK_LIFE:
        raise Denied(f"a link lives for at most {MAX_LINK_LIFE.days} days")
    secret, now = new_secret(entropy), clock.now()
    await store.put_link(Link(digest_of(secret), user, purpose, now, now + life))
    return secret


def check_twice(new: str, again: str) -> None:
    """Denied unless both are the same, and may become a password."""
    if new != again:
        raise Denied("the two passwords differ")
    check_new_password("", new)
