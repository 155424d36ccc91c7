"""Machine users: a token that counts once, and certificates that are renewed by their own key, each one once.

Certificates of a bot count on: each has a number, auth knows the last, and only with that the next is to be had.
So two who hold copies of one identity cannot both go on: whoever renews second shows a number that is behind, the
bot is locked, and both are out. Who asks again for the same key, since an answer was lost, gets the same number.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Protocol

from interlock.core.address import within
from interlock.core.certificate import PublicKey
from interlock.core.errors import ConfigError, Denied
from interlock.core.ids import parse_name
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.bot import BY_TOKEN, LONGEST_LIFE, TOKEN_LIFE, Bot
from interlock.domain.lock import Lock, LockKind
from interlock.ports import BotStore, Clock, Entropy, EventSink, LockStore, User, UserStore
from interlock.services.access.caller import SIGN_WINDOW, Caller
from interlock.services.audit.emitter import EventFactory

_PREFIX = "ilb1"


@dataclass(frozen=True, slots=True)
class BotToken:
    """What an administrator hands over, one line: whose it is, the secret, and the host authority to trust."""

    user: str
    secret: str
    pin: str  # SHA256:… of the host authority that signs

    @property
    def text(self) -> str:
        """The line."""
        return ".".join((_PREFIX, _encoded(self.user), self.secret, _encoded(self.pin)))

    @property
    def hash(self) -> bytes:
        """As it is stored: the secret has 256 random bits, so no salt and no stretching is needed."""
        return hashlib.sha256(self.secret.encode()).digest()

    @classmethod
    def parse(cls, text: str) -> "BotToken":
        """ValueError if it is none."""
        prefix, _, rest = text.strip().partition(".")
        parts = rest.split(".")
        if prefix != _PREFIX or len(parts) != 3 or not all(parts):
            msg = "this is not a bot's token: it begins with ilb1."
            raise ValueError(msg)
        return cls(parse_name(_decoded(parts[0])), parts[1], _decoded(parts[2]))


class BotCertifier(Protocol):
    """Auth, as bots need it; services.keys.authority.Authority."""

    async def issue_bot(
        self,
        bot: Bot,
        roles: Sequence[str],
        logins: Sequence[str],
        public_key: str,
        generation: int,
    ) -> str:
        """A bot's certificate, OpenSSH one-line form."""
        ...


class BotTokens:
    """Sign-in by a token."""

    def __init__(self, store: BotStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def is_bot(self, user: str) -> bool:
        """Whether the account is a bot's: no password counts for it, whoever has set one."""
        return await self._store.bot(user) is not None

    async def spend(self, user: str, text: str, *, source: str) -> bool:
        """Whether this is the token of this bot, here and now; it does not count again.

        ``source``: where it comes from, with or without a port.
        """
        try:
            token = BotToken.parse(text)
        except ValueError:
            return False
        bot = await self._store.bot(user)
        if bot is None or token.user != user or (bot.sources and not within(bot.sources, source)):
            return False
        return await self._store.spend_token(user, token.hash, self._clock.now())


class Bots:
    """Certificates of bots."""

    def __init__(
        self,
        store: BotStore,
        authority: BotCertifier,
        locks: LockStore,
        *,
        events: EventSink,
        factory: EventFactory,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._store = store
        self._authority = authority
        self._locks = locks
        self._events = events
        self._factory = factory
        self._clock = clock
        self._entropy = entropy

    async def find(self, user: str) -> Bot | None:
        """The bot with this account, if it is one."""
        return await self._store.bot(user)

    async def sign(
        self, bot: Bot, caller: Caller, roles: Sequence[str], allowed: Sequence[str], public_key: str
    ) -> tuple[str, tuple[str, ...]]:
        """The next certificate and its logins. Denied if it may have none, and then it may be locked from now on.

        ``allowed``: the logins of its roles.
        """
        logins = tuple(login for login in bot.logins if login in allowed)
        if not logins:
            public = "your roles allow none of your logins: ask your administrator"
            raise Denied(public, reason=f"the bot {bot.user} wants {', '.join(bot.logins)}")
        try:
            key = PublicKey.parse(public_key).fingerprint
        except ValueError as error:
            raise Denied("this public key cannot be certified", reason=str(error)) from None
        if caller.claims is None:
            self._check_join(bot, caller)
            generation = await self._count(bot, bot.generation, key)
            self._tell(Kind.BOT_JOIN, bot, generation, caller)
        else:
            generation = await self._renewed(bot, caller, caller.claims.bot, key)
        return await self._authority.issue_bot(bot, roles, logins, public_key, generation), logins

    def _check_join(self, bot: Bot, caller: Caller) -> None:
        """A token was spent on this very connection, and has not brought a certificate yet."""
        now = self._clock.now()
        if caller.device != BY_TOKEN or now - caller.since > SIGN_WINDOW:
            public = "a bot signs in by its token only: ask for one (ilctl bots token)"
            raise Denied(public, reason=f"the bot {bot.user} signed in by {caller.device or 'something else'}")
        if bot.signed is not None and bot.signed >= caller.since:
            raise Denied("this token has brought a certificate already", reason=f"the bot {bot.user} asked again")

    async def _renewed(self, bot: Bot, caller: Caller, shown: int, key: str) -> int:
        if shown == bot.generation - 1 and key == bot.key:
            return bot.generation  # the answer was lost
        if not shown or shown != bot.generation:
            await self._lock(bot, caller, shown)
            public = "this identity is held twice: the bot is locked, tell an administrator"
            raise Denied(public, reason=f"the bot {bot.user} shows {shown}, and {bot.generation} was the last")
        return await self._count(bot, shown, key)

    async def _count(self, bot: Bot, before: int, key: str) -> int:
        if not await self._store.advance(bot.user, before, key, self._clock.now()):
            raise Denied("somebody else renews this identity at this moment: try again")
        return before + 1

    async def _lock(self, bot: Bot, caller: Caller, shown: int) -> None:
        now, message = self._clock.now(), "two hold the identity of this bot"
        lock = Lock(self._entropy.uuid(), LockKind.USER, bot.user, now, message, None, "interlock")
        await self._locks.add_lock(lock)
        self._tell(Kind.BOT_MISMATCH, bot, shown, caller)
        facts: dict[str, JsonValue] = {"name": lock.id, "target": {"user": bot.user}, "message": message}
        self._events.emit(self._factory.make(Kind.LOCK_CREATE, facts | {"user": "interlock"}))

    def _tell(self, kind: Kind, bot: Bot, generation: int, caller: Caller) -> None:
        facts: dict[str, JsonValue] = {
            "user": bot.user,
            "bot_name": bot.user,
            "generation": generation,
            "addr.remote": caller.source,
        }
        if kind is Kind.BOT_MISMATCH:
            facts["expected"] = bot.generation
        self._events.emit(self._factory.make(kind, facts))


async def add_bot(
    store: BotStore, users: UserStore, bot: Bot, roles: Sequence[str], *, pin: str, clock: Clock, entropy: Entropy
) -> BotToken:
    """Make the account and a token for it. Denied if the name is taken, ConfigError for what cannot be."""
    check_bot(bot)
    if not await users.add_user(User(bot.user, tuple(roles), None, must_change=False, created=clock.now())):
        raise Denied(f"there is a user {bot.user} already")
    return await new_token(store, bot, pin=pin, clock=clock, entropy=entropy)


async def new_token(
    store: BotStore, bot: Bot, *, pin: str, clock: Clock, entropy: Entropy, life: timedelta = TOKEN_LIFE
) -> BotToken:
    """Another token, in the place of the one before."""
    secret = base64.urlsafe_b64encode(entropy.token(32)).rstrip(b"=").decode()
    token = BotToken(bot.user, secret, pin)
    await store.put_bot(bot, token.hash, clock.now() + life)
    return token


def check_bot(bot: Bot) -> None:
    """ConfigError if a bot cannot be so."""
    if not timedelta(minutes=1) <= bot.life <= LONGEST_LIFE:
        raise ConfigError("a bot's certificates live for 1 minute to 24 hours")
    if not bot.logins:
        raise ConfigError("a bot needs at least one login")
    try:
        for each in bot.sources:
            ip_network(each)
    except ValueError as error:
        raise ConfigError(f"not a network: {error}") from None


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
