"""The second question to somebody whose certificate is proven: keyboard-interactive after publickey.

OpenSSH asks it by itself once it is told that its key was a partial success. Whoever answers is the one who has
proved the certificate, and what it restricts stays as it is (R13).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from interlock.adapters.ssh.portal import Challenge, PasswordCheck
from interlock.core.errors import InterlockError, SignInFailed
from interlock.core.presence import Presence
from interlock.domain.identity import Claims
from interlock.services.audit.outbox import Sleep
from interlock.services.signin.signin import Confirmation, in_browser

LOOK_S = 0.5
"""Seconds between two looks at whether a browser has confirmed it."""

MAX_CODES = 3
"""Codes that one connection may try; ssh asks as often by itself (NumberOfPasswordPrompts)."""

BANNER = "Your key was accepted. This connection has to be confirmed with a second factor.\r\n"
"""Seen also by those who let nobody be asked (BatchMode), and then fail."""

_log = structlog.get_logger(__name__)


class SecondQuestion:
    """Of one connection, for the claims that were proven on it."""

    def __init__(
        self,
        passwords: PasswordCheck,
        claims: Claims,
        source: str,
        *,
        patience: Callable[[], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``patience``: give the client the time that a person needs for a browser."""
        self._passwords = passwords
        self._claims = claims
        self._source = source
        self._rounds = 0
        self._said = ""  # about the code before
        self._patience = patience
        self._sleep = sleep
        self._asked = False  # the client has a question before it
        self._waits = ""  # `Confirmation.waits` of that question
        self.confirmed: Claims | None = None  # with the device that has answered

    async def challenge(self) -> Challenge:
        """The question."""
        self._asked, said = False, self._said
        self._rounds += 1
        if self._rounds > MAX_CODES:
            return False
        try:
            asked = await self._confirm("")
        except InterlockError as error:
            return self._told(error)
        self._asked, self._waits = bool(asked.prompt or asked.waits), asked.waits
        if asked.waits:
            self._patience()
        prompts = [(asked.prompt, True)] if asked.prompt else []
        question = asked.question if asked.waits else said or asked.question
        return "", question, "", prompts

    async def respond(self, responses: Sequence[str]) -> Challenge:
        """Judge the answer; True once it was right."""
        asked, self._asked = self._asked, False
        typed = "".join(responses).strip()
        if not asked or len(responses) > 1 or not (typed or self._waits):
            return False
        try:
            proven = await (self._confirm(typed) if typed else self._in_browser(self._waits))
        except SignInFailed as error:
            self._said = f"{error.public[:1].upper()}{error.public[1:]}."
            return False
        except InterlockError as error:
            return self._told(error)
        if not proven.device:
            return False
        identity = replace(self._claims.identity, confirmed=proven.device)
        presence = Presence(self._claims.presence.proof, proven.ticket)
        self.confirmed = replace(self._claims, identity=identity, presence=presence)
        return True

    async def _in_browser(self, waits: str) -> Confirmation:
        """Wait for it."""
        while (found := await self._confirm(in_browser(waits))).waits:
            await self._sleep(LOOK_S)
        return found

    async def _confirm(self, code: str) -> Confirmation:
        claims = self._claims
        return await self._passwords.confirm(
            claims.identity.user,
            code,
            source=self._source,
            certificate=claims.certificate,
            session=claims.presence.session,
        )

    def _told(self, error: InterlockError) -> Challenge:
        """A question without questions: only its text matters."""
        _log.warning("door.not_confirmed", user=self._claims.identity.user, reason=error.reason)
        self._rounds = MAX_CODES
        return "", error.public, "", []
