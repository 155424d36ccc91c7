"""Sign-in by password and second factor: argon2id, one-time passwords, and a brake that locks nobody else out.

Every failure looks the same to the person who tries, in text and in the work done for it, so that nobody learns
which names exist. Sessions are not here: a sign-in is only the moment at which somebody proves who they are.
"""

import asyncio
import unicodedata
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from interlock.core.address import source_of
from interlock.core.errors import Denied, Locked, NotFound, SignInFailed
from interlock.core.ids import parse_name
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.bot import BY_TOKEN
from interlock.domain.browser import Purpose
from interlock.domain.factor import DeviceKind
from interlock.domain.lock import Subject
from interlock.ports import Clock, Entropy, EventSink, LockSource, User, UserStore
from interlock.services.access.locks import check_stored
from interlock.services.bots.bots import BotTokens
from interlock.services.signin.brake import Brake, Key, Turns
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.factors import NOTHING_PROVEN, Factors, Proven

MIN_PASSWORD = 12
"""Characters of a password that a person chooses. NIST SP 800-63B asks for 8, and no rules of composition."""

MAX_PASSWORD = 1024
"""Characters that are hashed at all: no person types more, and a megabyte would be work for nothing (R17)."""

PUBLIC = "sign-in failed: wrong user name or password (after several failures, wait a minute and try again)"
"""The one text of every failure."""


WRONG_CODE = "that code is not right, or it has been used already: wait for the next one"
"""For somebody whose key has proved who they are; after several failures the brake says the same."""

ANYWHERE = "*"
"""In place of a source: codes of one user are guessed at from wherever the password is known."""


class SignInResult(Enum):
    """What a right password leads to."""

    OK = "ok"
    MUST_CHANGE = "must_change"  # a one-time password: call `SignIn.change` before anything else
    NEEDS_CODE = "needs_code"  # the user has second factors: call again with a code


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of an attempt."""

    result: SignInResult
    device: str = ""  # `Identity.device` of who is signed in
    careful: bool = False  # whoever must change the password has a second factor, too


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What becomes of a connection that has to be confirmed: a question, or the device that has answered it."""

    device: str = ""
    question: str = ""  # for the person
    prompt: str = ""  # before what is typed; empty: nothing is, and the text says what else to do
    ticket: bytes = b""  # of auth, for a proxy apart
    waits: str = ""  # a browser may confirm it: `in_browser` of this is the code that asks whether it has


def in_browser(waits: str) -> str:
    """The code of whoever has typed none, and waits for a browser."""
    return f"{IN_BROWSER}{waits}"


IN_BROWSER = "browser:"
NO_DEVICE = "This connection has to be confirmed with a second factor, and you have none: run ilsh mfa add."
CONFIRM_ASKED = "Confirm this connection: type the code that your authenticator shows, or a recovery code."
RECOVERY_ASKED = "Confirm this connection: type a recovery code."
PASSKEY_ASKED = (
    "Confirm this connection with your passkey: open {url} in a browser. It has to show the code {code}."
)
OR_CODE = " Then press Enter; or type a code here."
CODE_PROMPT = "Code: "


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
    """Judges passwords with second factors, and changes passwords."""

    def __init__(
        self,
        *,
        users: UserStore,
        passwords: Passwords,
        factors: Factors,
        locks: LockSource,
        sink: EventSink,
        cluster: str,
        clock: Clock,
        entropy: Entropy,
        bots: BotTokens | None = None,
        browsers: Confirmations | None = None,
    ) -> None:
        """``browsers``: None if passkeys, which only browsers know, can confirm nothing."""
        self._bots = bots
        self._browsers = browsers
        self._users = users
        self._passwords = passwords
        self._factors = factors
        self._locks = locks
        self._sink = sink
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy
        self._brake = Brake()
        self._codes = Brake()  # of right passwords with wrong codes
        self._turns = Turns()

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, and the code of who has second factors; SignInFailed if either is wrong.

        ``source`` is the client's address. Locked if all is right and a lock keeps the user or the device out.
        ``user.login`` is emitted for failures, and for successes unless something is still to be asked for.
        """
        account = await self._verified(user, password, source)
        if await self._is_bot(account):
            self._brake.succeeded(_key(account.name, source))
            await self._admit(account, source)
            self._emit(Kind.USER_LOGIN, user, source, method="token")
            return Judgement(SignInResult.OK, BY_TOKEN)
        if account.must_change:
            return await self._must_change(account, source)
        proven = await self._second(account, code, source)
        if proven is None:
            return Judgement(SignInResult.NEEDS_CODE)
        stored = account.password_hash
        if stored is not None and self._passwords.outdated(stored):
            await self._users.set_password(user, await self._passwords.hash(password), must_change=False)
        self._emit(Kind.USER_LOGIN, user, source, proven=proven)
        return Judgement(SignInResult.OK, proven.device)

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Replace the password and count as signed in, unless a code is needed and missing: then nothing changes.

        SignInFailed if the old one or the code is wrong, Denied (nothing changed, ask again) if the new one will
        not do.
        """
        check_new_password(old, new)
        account = await self._verified(user, old, source)
        proven = await self._second(account, code, source)
        if proven is None:
            return Judgement(SignInResult.NEEDS_CODE)
        await self._users.set_password(user, await self._passwords.hash(new), must_change=False)
        self._emit(Kind.USER_LOGIN, user, source, proven=proven)
        return Judgement(SignInResult.OK, proven.device)

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """A second factor of somebody whose key has proved who they are; without a code, what to ask for it.

        SignInFailed if the code is not right, Locked if a lock keeps the device out. ``certificate``: with which
        that was proved; whoever is asked here knows by itself.
        """
        del certificate, session
        if not code:
            return await self._question(user, source)
        if code.startswith(IN_BROWSER) and self._browsers is not None:
            return await self._in_browser(self._browsers, user, code.removeprefix(IN_BROWSER), source)
        key = _key(user, source)
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._unconfirmed(user, source, "too many failures, the brake is on")
        account = await self._account(user)
        if account is None:
            raise self._unconfirmed(user, source, _cause(account))
        proven = await self._proved(account, code, source, self._unconfirmed)
        self._brake.succeeded(key)
        await self._admit(account, source, proven)
        fields: dict[str, JsonValue] = {"success": True, "mfa_device": proven.facts, "addr.remote": source}
        self._sink.emit(self._event(Kind.MFA_CONFIRM, {"user": user, **fields}))
        return Confirmation(proven.device)

    async def _question(self, user: str, source: str) -> Confirmation:
        kinds = {device.kind for device in await self._factors.of(user)}
        typed = DeviceKind.TOTP in kinds or await self._factors.recovery_codes_left(user) > 0
        if DeviceKind.PASSKEY in kinds and self._browsers is not None and self._browsers.offered:
            asked = await self._browsers.ask(user, source=source, purpose=Purpose.FACTOR)
            text = PASSKEY_ASKED.format(url=asked.url, code=asked.code)
            prompt = CODE_PROMPT if typed else ""
            return Confirmation(question=text + (OR_CODE if typed else ""), prompt=prompt, waits=asked.id)
        if DeviceKind.TOTP in kinds:
            return Confirmation(question=CONFIRM_ASKED, prompt=CODE_PROMPT)
        return (
            Confirmation(question=RECOVERY_ASKED, prompt=CODE_PROMPT)
            if typed
            else Confirmation(question=NO_DEVICE)
        )

    async def _in_browser(self, browsers: Confirmations, user: str, waits: str, source: str) -> Confirmation:
        """Whether it has been confirmed there; the browser's side has told the audit log, if so."""
        device = await browsers.collect_factor(waits, user)
        if device is None:
            return Confirmation(waits=waits)
        account = await self._account(user)
        if account is None:
            raise self._unconfirmed(user, source, _cause(account))
        await self._admit(account, source, Proven(device))
        return Confirmation(device)

    async def _must_change(self, account: User, source: str) -> Judgement:
        if await self._factors.of(account.name):
            self._brake.undo(_key(account.name, source))
            return Judgement(SignInResult.MUST_CHANGE, careful=True)
        self._brake.succeeded(_key(account.name, source))
        await self._admit(account, source)
        return Judgement(SignInResult.MUST_CHANGE)

    async def _second(self, account: User, code: str, source: str) -> Proven | None:
        """The password was right. What proves the rest; None if there is nothing yet.

        Until then the attempt counts neither as a failure nor as a success, so that codes cannot be guessed at
        with a right password in between.
        """
        key = _key(account.name, source)
        if not await self._factors.of(account.name):
            self._brake.succeeded(key)
            await self._admit(account, source)
            return NOTHING_PROVEN
        if not code:
            self._brake.undo(key)
            return None
        proven = await self._proved(account, code, source, self._failed)
        self._brake.succeeded(key)
        await self._admit(account, source, proven)
        return proven

    async def _proved(
        self, account: User, code: str, source: str, failed: Callable[[str, str, str], SignInFailed]
    ) -> Proven:
        """Judge a code. Guesses from where the user has not been seen count together, wherever they come from."""
        key, everywhere = _key(account.name, source), (account.name, ANYWHERE)
        braked = not self._brake.knows(key)
        if braked and not self._codes.begin(everywhere, self._clock.monotonic()):
            raise failed(account.name, source, "too many wrong codes, from wherever they came")
        proven = await self._factors.prove(account.name, code, source=source)
        if proven is None:
            raise failed(account.name, source, "wrong code of a second factor")
        if braked:
            self._codes.succeeded(everywhere)
        return proven

    async def _admit(self, account: User, source: str, proven: Proven = NOTHING_PROVEN) -> None:
        """Everything was right, so the person may know of a lock. Locked if there is one."""
        try:
            subject = Subject.signing_in(account.name, account.roles, self._cluster, proven.device)
            await check_stored(self._locks, subject, now=self._clock.now())
        except Locked as error:
            self._emit(Kind.USER_LOGIN_FAILURE, account.name, source, error=error.reason, message=error.public)
            raise

    async def _verified(self, user: str, password: str, source: str) -> User:
        """The account with this password. To the brake the attempt is a failure until somebody says otherwise."""
        key = _key(user, source)
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._failed(user, source, "too many failures, the brake is on")
        async with self._turns.turn(key[1]) as given:
            if not given:
                self._brake.undo(key)
                raise self._failed(user, source, "too many attempts wait to be judged")
            account = await self._account(user)
            bots = self._bots if account is not None and await self._is_bot(account) else None
            stored = account.password_hash if account is not None and bots is None else None
            usable = len(password) <= MAX_PASSWORD
            right = await self._passwords.verify(stored if usable else None, password[:MAX_PASSWORD])
            if account is not None and bots is not None:  # after the same work as for everybody else
                right = await bots.spend(account.name, password, source=source)
        if account is None or not right:
            raise self._failed(user, source, _cause(account))
        return account

    async def _is_bot(self, account: User) -> bool:
        return self._bots is not None and await self._bots.is_bot(account.name)

    async def _account(self, user: str) -> User | None:
        try:
            return await self._users.user(parse_name(user))
        except (NotFound, ValueError):
            return None

    def _unconfirmed(self, user: str, source: str, cause: str) -> SignInFailed:
        fields: dict[str, JsonValue] = {"user": user, "success": False, "error": cause, "addr.remote": source}
        self._sink.emit(self._event(Kind.MFA_CONFIRM_FAILURE, fields))
        return SignInFailed(WRONG_CODE, reason=f"second factor of {user} from {source} failed: {cause}")

    def _failed(self, user: str, source: str, cause: str) -> SignInFailed:
        self._emit(Kind.USER_LOGIN_FAILURE, user, source, error=cause)
        return SignInFailed(PUBLIC, reason=f"sign-in of {user[:128]!r} from {source} failed: {cause}")

    def _emit(
        self,
        kind: Kind,
        user: str,
        source: str,
        *,
        error: str = "",
        message: str = PUBLIC,
        proven: Proven = NOTHING_PROVEN,
        method: str = "local",
    ) -> None:
        fields: dict[str, JsonValue] = {
            "user": user[:128],
            "method": method,
            "success": not error,
            "addr.remote": source,
        }
        if proven.device:
            fields["mfa_device"] = proven.facts
        if error:
            fields["error"] = error
            fields["message"] = message
        self._sink.emit(self._event(kind, fields))

    def _event(self, kind: Kind, fields: dict[str, JsonValue]) -> AuditEvent:
        return AuditEvent(kind, self._clock.now(), self._entropy.uuid(), self._cluster, fields=fields)


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


def _key(user: str, source: str) -> Key:
    return user[:128], source_of(source)


def _normal(password: str) -> str:
    """RFC 8265 §4.2: the same characters whichever keyboard typed them."""
    return unicodedata.normalize("NFC", password)


def _cause(account: User | None) -> str:
    if account is None:
        return "unknown user"
    return "wrong password" if account.password_hash is not None else "the account has no password"
