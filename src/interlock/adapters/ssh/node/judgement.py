"""Whether one connection may open sessions: decided when it has authenticated, and anew while it lasts.

A certificate is valid for hours and a connection may be as old (ControlMaster), but roles are taken away and
people leave. A forwarder's certificate is another matter: it is good for this one connection, it is valid for
minutes, only to log in with, and the forwarder asks policy for every session itself.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from interlock.adapters.ssh.node.accounts import NOBODY, Account, find_account
from interlock.core.errors import Denied, InterlockError
from interlock.core.ids import parse_login
from interlock.domain.access import Access
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims
from interlock.domain.modes import mode_at_node
from interlock.domain.permit import check_source
from interlock.domain.target import Target
from interlock.ports import Admission, Clock

JUDGEMENT_S = 5.0
"""Seconds for which an answer holds for further sessions on the same connection, as at the proxy."""


class Court(Protocol):
    """What a decision rests on."""

    @property
    def target(self) -> Target:
        """This node."""
        ...

    @property
    def admission(self) -> Admission:
        """Judge of people."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who was let in."""

    claims: Claims
    account: Account
    access: Access
    mode: RecordingMode


class Judgement:
    """The decision on one connection. ``claims`` are proven; ``login`` is what the client asked for."""

    def __init__(self, court: Court, claims: Claims, login: str, client: str) -> None:
        """``client``: the IP address that the person comes from."""
        self._client = client
        self._court = court
        self.claims = claims
        self.login = login
        self._verdict: Guest | Denied | None = None  # None until somebody asked
        self._given = 0.0  # when, on the monotonic clock
        self._asking = asyncio.Lock()

    async def verdict(self) -> Guest | Denied:
        """The decision as it is now. Channels that are opened at once share one question."""
        async with self._asking:
            if self._verdict is None or self._stale():
                self._verdict = await self._judge()
                self._given = self._court.clock.monotonic()
            return self._verdict

    def _stale(self) -> bool:
        if self.claims.forwarded is not None:
            return False
        expired = isinstance(self._verdict, Guest) and self._court.clock.now() >= self.claims.valid_before
        return expired or self._court.clock.monotonic() - self._given > JUDGEMENT_S

    async def _judge(self) -> Guest | Denied:
        try:
            return await self._admit()
        except Denied as error:
            return error
        except InterlockError as error:
            public = "the gateway cannot decide on your access now: try again later"
            return Denied(public, reason=error.reason)

    async def _admit(self) -> Guest:
        claims, target = self.claims, self._court.target
        try:
            login = parse_login(self.login)
        except ValueError as error:
            raise Denied("access denied: not a valid login", reason=str(error)) from None
        if login not in claims.logins:
            public = f"access denied: your certificate does not allow the login {login}"
            raise Denied(public, reason=f"{login} is not among the principals {', '.join(claims.logins)}")
        if claims.forwarded is None:
            if self._court.clock.now() >= claims.valid_before:
                reason = f"certificate {claims.serial} was valid until {claims.valid_before}"
                raise Denied("your certificate has expired: run ilsh login", reason=reason)
            access = await self._court.admission.admit(claims, login, target.id)
            access = access.within(claims.bounds)  # an auth of before does not know them
            check_source(claims.identity, access, self._client)
        elif claims.forwarded.target != target.id:
            public = f"access denied: the certificate was issued for another node than {target.hostname}"
            raise Denied(public, reason=f"forwarder's certificate names target {claims.forwarded.target}")
        else:
            access = claims.forwarded.access
        try:
            relieved = claims.forwarded is not None and claims.forwarded.records
            mode = mode_at_node(access.recording, relieved=relieved)
        except ValueError as error:
            public = f"access denied: {target.hostname} does not know the recording mode that it is asked for"
            raise Denied(public, reason=str(error)) from None
        if claims.forwarded is not None and claims.forwarded.joining is not None:
            return Guest(claims, NOBODY, access, mode)
        return Guest(claims, await asyncio.to_thread(find_account, login), access, mode)
