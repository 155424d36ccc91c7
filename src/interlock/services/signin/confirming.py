"""Sign-ins at a terminal that are confirmed in a browser: by a code that both show.

Whoever waits has a secret ID, whoever confirms has the code; neither follows from the other. The address of the
waiting client and the name that it asked for are shown beside the code, so that somebody who was sent a stranger's
code can see that it is one. One sign-in comes of a confirmation, for exactly the person who confirmed it.
"""

from dataclasses import dataclass

from interlock.core.address import source_of
from interlock.core.errors import Denied, LimitReached, SignInFailed
from interlock.core.ids import parse_name
from interlock.domain.browser import CONFIRM_LIFE, Confirmation, Purpose, Verdict, make_code, parse_code
from interlock.ports import Clock, Entropy
from interlock.ports.browser import ConfirmationStore
from interlock.services.signin.admitting import NOT_CONFIRMED, OIDC, Admitting, Attempt, Way
from interlock.services.signin.brake import Brake
from interlock.services.signin.digests import digest_of
from interlock.services.signin.factors import Proven

MAX_WAITING = 1000
"""Sign-ins that wait to be confirmed, in all;"""

MAX_OF_SOURCE = 20
"""and of one source."""

BY_PASSKEY = "passkey"
"""The method of whoever has confirmed with one."""

NOT_VALID = "this code is not valid (any more): start again at the terminal"
"""The one text for every code that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What whoever waits is told."""

    id: str
    code: str
    url: str


@dataclass(frozen=True, slots=True)
class Collected:
    """Who has signed in."""

    user: str
    device: str = ""  # `Identity.device`


class Confirmations:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        store: ConfirmationStore,
        admitting: Admitting,
        public_url: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """``public_url``: of the web part; empty if there is none, and nothing can be confirmed."""
        self._store = store
        self._admitting = admitting
        self._public_url = public_url
        self._clock = clock
        self._entropy = entropy
        self._brake = Brake()

    @property
    def offered(self) -> bool:
        """Whether there is a browser's side."""
        return bool(self._public_url)

    # --- whoever waits --------------------------------------------------------------------------

    async def ask(self, user: str, *, source: str, purpose: Purpose = Purpose.SIGN_IN) -> Asked:
        """Begin to wait. ``user``: who is to sign in; empty: whoever confirms. LimitReached if too many wait."""
        if not self.offered:
            raise Denied("this gateway has no sign-in by browser")
        try:
            name = parse_name(user) if user else ""
        except ValueError:
            raise Denied("that is no user name", reason=f"a sign-in by browser of {user[:64]!r}") from None
        code, now = make_code(self._entropy.token(16)), self._clock.now()
        waiting = Confirmation(
            self._entropy.uuid(), digest_of(code), purpose, name, source, now, now + CONFIRM_LIFE
        )
        if not await self._store.put_confirmation(waiting, now=now, most=MAX_WAITING, of_source=MAX_OF_SOURCE):
            public = "too many sign-ins wait to be confirmed: try again in a few minutes"
            raise LimitReached(public, maximum=MAX_WAITING, reason=f"{public}; {source}")
        return Asked(waiting.id, code, f"{self._public_url}/c/{code}")

    async def collect(self, asked_id: str) -> Collected | None:
        """Who has signed in by it, to be told once; None: nobody yet. SignInFailed if nobody will, Locked."""
        found = await self._collected(asked_id, Purpose.SIGN_IN)
        if found is None:
            return None
        attempt = _attempt(found)
        await self._admitting.admit(attempt, await self._admitting.account(found.by))
        self._admitting.done(attempt)
        return Collected(found.by, found.device)

    async def collect_factor(self, asked_id: str, user: str) -> str | None:
        """The passkey with which this user has confirmed it, told once; None: not yet. SignInFailed: nobody will.

        Whoever asks judges account and locks, and tells the audit log.
        """
        found = await self._collected(asked_id, Purpose.FACTOR)
        if found is None:
            return None
        if found.by != user:
            raise SignInFailed(NOT_CONFIRMED, reason=f"{user} showed a confirmation of {found.by}")
        return found.device

    async def _collected(self, asked_id: str, purpose: Purpose) -> Confirmation | None:
        waiting = await self._store.confirmation(asked_id)
        if waiting is None or waiting.purpose is not purpose or self._clock.now() >= waiting.expires:
            raise self._failed(waiting, "not confirmed in time")
        match waiting.verdict:
            case Verdict.PENDING:
                return None
            case Verdict.REFUSED:
                raise self._failed(waiting, f"refused by {waiting.by}")
            case Verdict.CONFIRMED if await self._store.spend_confirmation(asked_id):
                return waiting
            case _:
                raise self._failed(waiting, "collected twice")

    # --- the browser ----------------------------------------------------------------------------

    async def look(self, code: str, *, source: str) -> Confirmation:
        """What waits for this code; SignInFailed if nothing does (any more)."""
        key, now = ("code", source_of(source)), self._clock.monotonic()
        if not self._brake.begin(key, now):
            raise SignInFailed(NOT_VALID, reason=f"too many wrong codes from {source}")
        try:
            found = await self._store.confirmation_of(digest_of(parse_code(code)))
        except ValueError:
            found = None
        if found is None or found.verdict is not Verdict.PENDING or self._clock.now() >= found.expires:
            raise SignInFailed(NOT_VALID, reason=f"a code that nobody waits for, from {source}")
        self._brake.succeeded(key)
        return found

    async def decide(self, waiting: Confirmation, verdict: Verdict, *, by: str, method: str, device: str) -> None:
        """Confirm or refuse; Denied if it waits for somebody else, SignInFailed if it is too late."""
        if waiting.purpose is Purpose.FACTOR and method != BY_PASSKEY:
            raise Denied("confirm this with your passkey", reason=f"{by} confirmed a second factor without one")
        if waiting.user and waiting.user != by:
            public = f"this sign-in is for {waiting.user}, and you are signed in here as {by}"
            raise Denied(public, reason=f"{by} tried to confirm a sign-in of {waiting.user} from {waiting.source}")
        if not await self._store.decide(waiting.id, verdict, by=by, method=method, device=device):
            raise SignInFailed(NOT_VALID, reason=f"decided twice, by {by}")

    def _failed(self, waiting: Confirmation | None, cause: str) -> SignInFailed:
        """Nobody is told of what nobody has begun."""
        if waiting is None:
            return SignInFailed(NOT_CONFIRMED, reason=cause)
        return self._admitting.failed(_attempt(waiting), cause)


def _attempt(waiting: Confirmation) -> Attempt:
    """At the terminal, by whoever has confirmed it."""
    if waiting.purpose is Purpose.FACTOR:
        way = Way.CONFIRM_BROWSER
    else:
        way = Way.BROWSER_PROVIDER if waiting.method == OIDC else Way.BROWSER
    return Attempt(way, waiting.by or waiting.user, waiting.source, Proven(waiting.device))
