"""Sign-in at the door that is confirmed in a browser: an address and a code are shown, and the answer is awaited.

The person types nothing: the client answers the question without questions at once, and hears no more until
somebody has confirmed or refused it, or nobody in time.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from interlock.adapters.ssh.portal import Challenge, KeyboardInteractive
from interlock.core.browser import ANYBODY, CHALLENGE, SUBMETHOD
from interlock.core.errors import Denied, InterlockError, SignInFailed
from interlock.services.audit.outbox import Sleep
from interlock.services.signin.confirming import Asked, Collected

LOOK_S = 0.5
"""Seconds between two looks at whether it was confirmed: a person's click may take so much longer."""

MAX_SHOWN = 6
"""Addresses that one connection is shown. Time for a browser it gets with the first one, and once."""

HINT = "Leave the password empty to sign in with your browser."

_log = structlog.get_logger(__name__)


class Confirming(Protocol):
    """Auth's side; services.signin.confirming.Confirmations."""

    @property
    def offered(self) -> bool:
        """Whether it is known that there is a browser's side."""
        ...

    async def ask(self, user: str, *, source: str) -> Asked:
        """Begin to wait. Denied if there is none, LimitReached if too many wait."""
        ...

    async def collect(self, asked_id: str) -> Collected | None:
        """Who has signed in by it; None: nobody yet. SignInFailed if nobody will."""
        ...


class Nowhere:
    """`Confirming` of a gateway without a browser's side."""

    offered = False

    async def ask(self, user: str, *, source: str) -> Asked:
        """Denied."""
        raise Denied("this gateway has no sign-in by browser", reason=f"{user[:64]} asked for it from {source}")

    async def collect(self, asked_id: str) -> Collected | None:
        """Nobody."""
        raise SignInFailed("sign-in failed", reason=f"nobody waits as {asked_id}")


class Questions:
    """What one connection is asked: a password, or to confirm in a browser. Ends in success for one user."""

    def __init__(
        self,
        passwords: KeyboardInteractive,
        confirming: Confirming,
        user: str,
        source: str,
        *,
        patience: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``patience``: give the client the time that a person needs."""
        self._passwords = passwords
        self._confirming = confirming
        self._user = user
        self._source = source
        self._patience = patience
        self._sleep = sleep
        self._asked: Asked | None = None  # what the client has been shown
        self._shown = 0  # how many addresses
        self._first = False  # the question before it is the first one for a password
        self.user = ""  # who is signed in
        self.device = ""  # `Identity.device` of that one

    async def challenge(self, user: str, submethods: str) -> Challenge:
        """The first question; see `KeyboardInteractive.challenge`."""
        self._asked, self._first = None, False
        if user != self._user:
            return False
        if SUBMETHOD in submethods.split(","):
            return await self._show()
        if user == ANYBODY:
            return False
        asked = self._passwords.challenge(user)
        if isinstance(asked, tuple) and self._confirming.offered:
            self._first = True
            return (asked[0], HINT, *asked[2:])
        return asked

    async def respond(self, user: str, responses: Sequence[str]) -> Challenge:
        """Judge the answers, or wait for the browser's."""
        asked, self._asked = self._asked, None
        first, self._first = self._first, False
        if user != self._user:
            return False
        if asked is not None:
            return await self._wait(asked)
        if first and list(responses) == [""]:
            return await self._show()
        verdict = await self._passwords.respond(user, responses)
        if verdict is True:
            self.user, self.device = user, self._passwords.device
        return verdict

    async def _show(self) -> Challenge:
        self._shown += 1
        if self._shown > MAX_SHOWN:
            return False
        try:
            self._asked = await self._confirming.ask(
                "" if self._user == ANYBODY else self._user, source=self._source
            )
        except InterlockError as error:
            _log.info("browser.not_asked", user=self._user[:64], reason=error.reason)
            return "", error.public, "", []
        if self._shown == 1:
            self._patience()
        text = (
            f"Open {self._asked.url} in a browser, sign in there, and confirm.\r\n"
            f"It has to show the code {self._asked.code} and your address, {self._source}."
        )
        return CHALLENGE, text, "", []

    async def _wait(self, asked: Asked) -> Challenge:
        try:
            while (collected := await self._confirming.collect(asked.id)) is None:
                await self._sleep(LOOK_S)
        except InterlockError as error:
            _log.info("browser.not_confirmed", user=self._user[:64], reason=error.reason)
            return "", error.public, "", []
        self.user, self.device = collected.user, collected.device
        return True
