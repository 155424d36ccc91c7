"""Who may be signed in, whichever way they have proved who they are, and how the audit log and they are told.

Each way in (`Way`) has one text for all its failures, so that nobody learns what was wrong, and events of its own.
Whoever judges a proof brings an `Attempt` here, and goes by nothing else: a rule about accounts that is added to
`Admitting.admit` holds for every way at once. A lock's own text is told, to who has proved everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from interlock.core.errors import Locked, NotFound, SignInFailed
from interlock.core.ids import parse_name
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.lock import Subject
from interlock.ports import Clock, Entropy, EventSink, LockSource, User, UserSource
from interlock.ports.sso import VouchedStore
from interlock.services.access.locks import check_stored
from interlock.services.signin.factors import NOTHING_PROVEN, Proven

LOCAL, OIDC = "local", "oidc"
"""Methods, as the field's events name them."""

REMOVED = "the account was removed"
ELSEWHERE = "the account is an identity provider's"
"""Reasons, for the audit log."""

NOT_SIGNED_IN = "sign-in failed: wrong user name or password (after several failures, wait a minute and try again)"
WRONG_CODE = "that code is not right, or it has been used already: wait for the next one"
WRONG_PASSKEY = "this passkey did not sign you in: try again, or sign in another way"
NO_PROVIDER = "sign-in by your identity provider failed: try again, or ask your administrator"
NOT_CONFIRMED = "the sign-in was not confirmed in the browser"
"""What people read, whatever the reason; of a code also who is braked."""


@dataclass(frozen=True, slots=True)
class Told:
    """What differs from one way to another."""

    name: str
    done: Kind
    failed: Kind
    public: str  # the one text of every failure
    method: str = ""  # empty: these events name none
    alone: bool = False  # nobody vouches for the person but they themselves: not for an identity provider's people
    through: str = ""  # where it was confirmed


_LOGIN = (Kind.USER_LOGIN, Kind.USER_LOGIN_FAILURE)
_SSO_LOGIN = (Kind.USER_SSO_LOGIN, Kind.USER_SSO_LOGIN_FAILURE)
_CONFIRM = (Kind.MFA_CONFIRM, Kind.MFA_CONFIRM_FAILURE)


class Way(Enum):
    """A way in, or of confirming that one is there."""

    PASSWORD = Told("sign-in", *_LOGIN, NOT_SIGNED_IN, LOCAL, alone=True)  # with a code, if there is a device
    TOKEN = Told("sign-in of a bot", *_LOGIN, NOT_SIGNED_IN, "token", alone=True)
    PASSKEY = Told("sign-in by passkey", *_LOGIN, WRONG_PASSKEY, LOCAL, alone=True)
    PROVIDER = Told("sign-in by identity provider", *_SSO_LOGIN, NO_PROVIDER, OIDC)
    BROWSER = Told("sign-in in a browser", *_LOGIN, NOT_CONFIRMED, LOCAL, through="browser")
    BROWSER_PROVIDER = Told(
        "sign-in in a browser by identity provider", *_SSO_LOGIN, NOT_CONFIRMED, OIDC, through="browser"
    )
    CONFIRM_CODE = Told("second factor", *_CONFIRM, WRONG_CODE)
    CONFIRM_PASSKEY = Told("second factor by passkey", *_CONFIRM, WRONG_PASSKEY)
    CONFIRM_BROWSER = Told("second factor in a browser", *_CONFIRM, NOT_CONFIRMED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody who wants in."""

    way: Way
    user: str  # as they say, or as it was found; empty: nobody knows
    source: str  # host:port of the person's client
    proven: Proven = NOTHING_PROVEN
    facts: Mapping[str, JsonValue] = field(default_factory=dict)  # what else the events say

    def by(self, proven: Proven) -> "Attempt":
        """The same, with this second factor."""
        return replace(self, proven=proven)


class Admitting:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        users: UserSource,
        locks: LockSource,
        vouched: VouchedStore | None,
        sink: EventSink,
        cluster: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """``vouched``: whose accounts are an identity provider's; None: nobody's."""
        self._users = users
        self._locks = locks
        self._vouched = vouched
        self._sink = sink
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy

    async def account(self, user: str) -> User | None:
        """Whoever is called so; None for nobody, and for what is no name."""
        try:
            return await self._users.user(parse_name(user))
        except (NotFound, ValueError):
            return None

    async def admit(self, attempt: Attempt, account: User | None) -> User:
        """Who has proved everything, if they may come in. That they are in is told by `done`: more may be needed.

        SignInFailed, or Locked if a lock keeps the account or the device out: that is told here.
        """
        if account is None:
            raise self.failed(attempt, REMOVED)
        try:
            await self._check(account, attempt.proven.device)
        except Locked as error:
            self._tell(attempt, error=error.reason, message=error.public)
            raise
        if attempt.way.value.alone and self._vouched is not None and await self._vouched.is_vouched(account):
            raise self.failed(attempt, ELSEWHERE)
        return account

    async def still(self, user: str, *, device: str = "") -> User:
        """Somebody who was signed in before, or has a link: nobody is told. NotFound, Locked."""
        account = await self._users.user(user)
        await self._check(account, device)
        return account

    def done(self, attempt: Attempt) -> None:
        """They are in."""
        self._tell(attempt)

    def failed(self, attempt: Attempt, cause: str) -> SignInFailed:
        """The error to raise, with the text of this way; ``cause`` is the audit log's."""
        told = attempt.way.value
        self._tell(attempt, error=cause, message=told.public)
        reason = f"{told.name} of {attempt.user[:128]!r} from {attempt.source} failed: {cause}"
        return SignInFailed(told.public, reason=reason)

    def tell(self, kind: Kind, fields: Mapping[str, JsonValue]) -> None:
        """What else becomes of a sign-in."""
        self._sink.emit(AuditEvent(kind, self._clock.now(), self._entropy.uuid(), self._cluster, fields=fields))

    async def _check(self, account: User, device: str) -> None:
        subject = Subject.signing_in(account.name, account.roles, self._cluster, device)
        await check_stored(self._locks, subject, now=self._clock.now())

    def _tell(self, attempt: Attempt, *, error: str = "", message: str = "") -> None:
        told = attempt.way.value
        fields: dict[str, JsonValue] = {"user": attempt.user[:128]}
        if told.method:
            fields["method"] = told.method
        if told.through:
            fields["through"] = told.through
        fields |= {"success": not error, "addr.remote": attempt.source, **attempt.facts}
        if attempt.proven.device:
            fields["mfa_device"] = attempt.proven.facts
        if error:
            fields |= {"error": error, "message": message}
        self.tell(told.failed if error else told.done, fields)
