"""Sign-in by password and second factor: argon2id, one-time passwords, and a brake that locks nobody else out.

Every failure looks the same to the person who tries, in text and in the work done for it, so that nobody learns
which names exist. Sessions are not here: a sign-in is only the moment at which somebody proves who they are.
"""

import asyncio
import unicodedata
from base64 import b32encode
from dataclasses import dataclass, replace
from enum import Enum

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from interlock.core.address import source_of
from interlock.core.errors import Denied
from interlock.domain.bot import BY_TOKEN
from interlock.domain.browser import Purpose
from interlock.domain.factor import DeviceKind
from interlock.ports import Clock, Entropy, User, UserStore
from interlock.services.bots.bots import BotTokens
from interlock.services.signin.admitting import NOT_SIGNED_IN, REMOVED, Admitting, Attempt, Way
from interlock.services.signin.brake import BRAKED, Brake, Key, Turns
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.factors import NOTHING_PROVEN, Factors, Proven

MIN_PASSWORD = 12
"""Characters of a password that a person chooses. NIST SP 800-63B asks for 8, and no rules of composition."""

MAX_PASSWORD = 1024
"""Characters that are hashed at all: no person types more, and a megabyte would be work for nothing (R17)."""

PUBLIC = NOT_SIGNED_IN
"""The one text of every failure."""

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
        admitting: Admitting,
        clock: Clock,
        bots: BotTokens | None = None,
        browsers: Confirmations | None = None,
    ) -> None:
        """``browsers``: None if passkeys, which only browsers know, can confirm nothing."""
        self._bots = bots
        self._browsers = browsers
        self._users = users
        self._passwords = passwords
        self._factors = factors
        self._admitting = admitting
        self._clock = clock
        self._brake = Brake()
        self._codes = Brake()  # of right passwords with wrong codes
        self._turns = Turns()

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, and the code of who has second factors; SignInFailed if either is wrong.

        ``source`` is the client's address. Locked if all is right and a lock keeps the user or the device out.
        ``user.login`` is emitted for failures, and for successes unless something is still to be asked for.
        """
        account, attempt = await self._verified(user, password, source)
        if attempt.way is Way.TOKEN:
            self._brake.succeeded(_key(account.name, source))
            await self._admitting.admit(attempt, account)
            self._admitting.done(attempt)
            return Judgement(SignInResult.OK, BY_TOKEN)
        if account.must_change:
            return await self._must_change(account, attempt)
        proven = await self._second(account, code, attempt)
        if proven is None:
            return Judgement(SignInResult.NEEDS_CODE)
        stored = account.password_hash
        if stored is not None and self._passwords.outdated(stored):
            await self._users.set_password(user, await self._passwords.hash(password), must_change=False)
        self._admitting.done(attempt.by(proven))
        return Judgement(SignInResult.OK, proven.device)

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Replace the password and count as signed in, unless a code is needed and missing: then nothing changes.

        SignInFailed if the old one or the code is wrong, Denied (nothing changed, ask again) if the new one will
        not do.
        """
        check_new_password(old, new)
        account, attempt = await self._verified(user, old, source)
        proven = await self._second(account, code, attempt)
        if proven is None:
            return Judgement(SignInResult.NEEDS_CODE)
        await self._users.set_password(user, await self._passwords.hash(new), must_change=False)
        self._admitting.done(attempt.by(proven))
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
        attempt, key = Attempt(Way.CONFIRM_CODE, user, source), _key(user, source)
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._admitting.failed(attempt, BRAKED)
        account = await self._admitting.account(user)
        if account is None:
            raise self._admitting.failed(attempt, REMOVED)
        attempt = attempt.by(await self._proved(account, code, attempt))
        self._brake.succeeded(key)
        await self._admitting.admit(attempt, account)
        self._admitting.done(attempt)
        return Confirmation(attempt.proven.device)

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
        attempt = Attempt(Way.CONFIRM_BROWSER, user, source, Proven(device))
        await self._admitting.admit(attempt, await self._admitting.account(user))
        return Confirmation(device)

    async def _must_change(self, account: User, attempt: Attempt) -> Judgement:
        key = _key(account.name, attempt.source)
        if await self._factors.of(account.name):
            self._brake.undo(key)
            return Judgement(SignInResult.MUST_CHANGE, careful=True)
        self._brake.succeeded(key)
        await self._admitting.admit(attempt, account)
        return Judgement(SignInResult.MUST_CHANGE)

    async def _second(self, account: User, code: str, attempt: Attempt) -> Proven | None:
        """The password was right. What proves the rest; None if there is nothing yet.

        Until then the attempt counts neither as a failure nor as a success, so that codes cannot be guessed at
        with a right password in between.
        """
        key, proven = _key(account.name, attempt.source), NOTHING_PROVEN
        if await self._factors.of(account.name):
            if not code:
                self._brake.undo(key)
                return None
            proven = await self._proved(account, code, attempt)
        self._brake.succeeded(key)
        await self._admitting.admit(attempt.by(proven), account)
        return proven

    async def _proved(self, account: User, code: str, attempt: Attempt) -> Proven:
        """Judge a code. Guesses from where the user has not been seen count together, wherever they come from."""
        key, everywhere = _key(account.name, attempt.source), (account.name, ANYWHERE)
        braked = not self._brake.knows(key)
        if braked and not self._codes.begin(everywhere, self._clock.monotonic()):
            raise self._admitting.failed(attempt, "too many wrong codes, from wherever they came")
        proven = await self._factors.prove(account.name, code, source=attempt.source)
        if proven is None:
            raise self._admitting.failed(attempt, "wrong code of a second factor")
        if braked:
            self._codes.succeeded(everywhere)
        return proven

    async def _verified(self, user: str, password: str, source: str) -> tuple[User, Attempt]:
        """The account with this password. To the brake the attempt is a failure until somebody says otherwise."""
        attempt, key = Attempt(Way.PASSWORD, user, source), _key(user, source)
        if not self._brake.begin(key, self._clock.monotonic()):
            raise self._admitting.failed(attempt, BRAKED)
        async with self._turns.turn(key[1]) as given:
            if not given:
                self._brake.undo(key)
                raise self._admitting.failed(attempt, "too many attempts wait to be judged")
            account = await self._admitting.account(user)
            bots = self._bots if account is not None and await self._is_bot(account) else None
            stored = account.password_hash if account is not None and bots is None else None
            usable = len(password) <= MAX_PASSWORD
            right = await self._passwords.verify(stored if usable else None, password[:MAX_PASSWORD])
            if account is not None and bots is not None:  # after the same work as for everybody else
                right = await bots.spend(account.name, password, source=source)
        if account is None or not right:
            raise self._admitting.failed(attempt, _cause(account))
        return account, attempt if bots is None else replace(attempt, way=Way.TOKEN)

    async def _is_bot(self, account: User) -> bool:
        return self._bots is not None and await self._bots.is_bot(account.name)


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
