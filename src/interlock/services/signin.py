"""Sign-in by password: argon2id, one-time passwords, and a brake on guessing that locks nobody else out.

Every failure looks the same to the person who tries, in text and in the work done for it, so that nobody learns
which names exist. Sessions are not here: a sign-in is only the moment at which somebody proves who they are.
"""

import asyncio
import unicodedata
from base64 import b32encode
from enum import Enum

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from interlock.core.address import source_of
from interlock.core.errors import Denied, Locked, NotFound, SignInFailed
from interlock.core.ids import parse_name
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.lock import Subject
from interlock.ports import Clock, Entropy, EventSink, LockSource, User, UserStore
from interlock.services.brake import Brake, Turns
from interlock.services.locks import check_stored

MIN_PASSWORD = 12
"""Characters of a password that a person chooses. NIST SP 800-63B asks for 8, and no rules of composition."""

MAX_PASSWORD = 1024
"""Characters that are hashed at all: no person types more, and a megabyte would be work for nothing (R17)."""

PUBLIC = "sign-in failed: wrong user name or password (after several failures, wait a minute and try again)"
"""The one text of every failure."""


class SignInResult(Enum):
    """What a right password leads to."""

    OK = "ok"
    MUST_CHANGE = "must_change"  # a one-time password: call `SignIn.change` before anything else


class Passwords:
    """Hashing, in threads, with parameters of RFC 9106 §4 (second recommended option)."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 65536, parallelism: int = 4) -> None:
        self._hasher = PasswordHasher(time_cost, memory_kib, parallelism, type=Type.ID)
        self._hashing = asyncio.Semaphore(1)  # beside what is verified; see brake.Turns
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The PHC string to store."""
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right; without a stored hash, as much work for the answer no."""
        if self._decoy is None:
            self._decoy = await self.hash("nobody has this password")
        right = await asyncio.to_thread(self._matches, stored or self._decoy, _normal(password))
        return right and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


class SignIn:
    """Judges passwords and changes them."""

    def __init__(
        self,
        *,
        users: UserStore,
        passwords: Passwords,
        locks: LockSource,
        sink: EventSink,
        cluster: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._locks = locks
        self._sink = sink
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy
        self._brake = Brake()
        self._turns = Turns()

    async def check(self, user: str, password: str, *, source: str) -> SignInResult:
        """Judge a password; SignInFailed if it is wrong for whatever reason. ``source`` is the client's address.

        Locked if it is right and a lock keeps the user out.
        ``user.login`` is emitted for failures, and for successes unless the password must be changed first.
        """
        account = await self._verified(user, password, source)
        await self._admit(account, source)
        if account.must_change:
            return SignInResult.MUST_CHANGE
        stored = account.password_hash
        if stored is not None and self._passwords.outdated(stored):
            await self._users.set_password(user, await self._passwords.hash(password), must_change=False)
        self._emit(Kind.USER_LOGIN, user, source)
        return SignInResult.OK

    async def change(self, user: str, old: str, new: str, *, source: str) -> None:
        """Replace the password and count as signed in.

        SignInFailed if the old one is wrong, Denied (nothing changed, ask again) if the new one will not do.
        """
        check_new_password(old, new)
        await self._admit(await self._verified(user, old, source), source)
        await self._users.set_password(user, await self._passwords.hash(new), must_change=False)
        self._emit(Kind.USER_LOGIN, user, source)

    async def _admit(self, account: User, source: str) -> None:
        """The password was right, so the person may know of a lock. Locked if there is one."""
        try:
            subject = Subject(user=account.name, roles=account.roles)
            await check_stored(self._locks, subject, now=self._clock.now())
        except Locked as error:
            self._emit(Kind.USER_LOGIN_FAILURE, account.name, source, error=error.reason, message=error.public)
            raise

    async def _verified(self, user: str, password: str, source: str) -> User:
        key = (user[:128], source_of(source))
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._failed(user, source, "too many failures, the brake is on")
        async with self._turns.turn(key[1]) as given:
            if not given:
                self._brake.undo(key)
                raise self._failed(user, source, "too many attempts wait to be judged")
            account = await self._account(user)
            stored = account.password_hash if account is not None else None
            usable = len(password) <= MAX_PASSWORD
            right = await self._passwords.verify(stored if usable else None, password[:MAX_PASSWORD])
        if account is None or not right:
            raise self._failed(user, source, _cause(account))
        self._brake.succeeded(key)
        return account

    async def _account(self, user: str) -> User | None:
        try:
            return await self._users.user(parse_name(user))
        except (NotFound, ValueError):
            return None

    def _failed(self, user: str, source: str, cause: str) -> SignInFailed:
        self._emit(Kind.USER_LOGIN_FAILURE, user, source, error=cause)
        return SignInFailed(PUBLIC, reason=f"sign-in of {user[:128]!r} from {source} failed: {cause}")

    def _emit(self, kind: Kind, user: str, source: str, *, error: str = "", message: str = PUBLIC) -> None:
        fields: dict[str, JsonValue] = {
            "user": user[:128],
            "method": "local",
            "success": not error,
            "addr.remote": source,
        }
        if error:
            fields["error"] = error
            fields["message"] = message
        self._sink.emit(AuditEvent(kind, self._clock.now(), self._entropy.uuid(), self._cluster, fields=fields))


def check_new_password(old: str, new: str) -> None:
    """Denied if ``new`` may not become a password."""
    if not MIN_PASSWORD <= len(_normal(new)) <= MAX_PASSWORD:
        raise Denied(f"the new password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if _normal(new) == _normal(old):
        raise Denied("the new password must differ from the old one")


def one_time_password(entropy: Entropy) -> str:
    """A password of 100 random bits that can be read over the telephone."""
    text = b32encode(entropy.token(13)).decode().lower()[:20]
    return "-".join(text[at : at + 5] for at in range(0, 20, 5))


def _normal(password: str) -> str:
    """RFC 8265 §4.2: the same characters whichever keyboard typed them."""
    return unicodedata.normalize("NFC", password)


def _cause(account: User | None) -> str:
    if account is None:
        return "unknown user"
    return "wrong password" if account.password_hash is not None else "the account has no password"
