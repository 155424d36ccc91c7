"""Sign-ins and second factors at proxies apart: auth judges them, and gives tickets of what it has found."""

from dataclasses import replace
from typing import Protocol

from interlock.ports import Clock
from interlock.services.fleet.members import Members, check_source, refused
from interlock.services.fleet.shown import People
from interlock.services.fleet.tickets import FactorTickets, Tickets
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.signin.confirming import Asked, Collected
from interlock.services.signin.signin import Confirmation, Judgement, SignInResult


class Judge(Protocol):
    """services.signin.signin.SignIn, of passwords."""

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, with the code of a second factor; SignInFailed if it is wrong."""
        ...

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Replace it."""
        ...


class Confirms(Protocol):
    """The same, of second factors."""

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """A second factor of somebody whose certificate was proven."""
        ...


class Browsers(Protocol):
    """services.signin.confirming.Confirmations."""

    async def ask(self, user: str, *, source: str) -> Asked:
        """Begin to wait for a browser."""
        ...

    async def collect(self, asked_id: str) -> Collected | None:
        """Who has confirmed it; None: nobody yet."""
        ...


class SignIns:
    """By password, or in a browser. ``source``: where the person is, as the proxy says."""

    def __init__(
        self, *, members: Members, passwords: Judge, browsers: Browsers, tickets: Tickets, clock: Clock
    ) -> None:
        self._members = members
        self._passwords = passwords
        self._browsers = browsers
        self._tickets = tickets
        self._clock = clock

    async def by_password(
        self, proxy: HostIdentity, user: str, password: str, *, source: str, new: str | None, code: str = ""
    ) -> tuple[SignInResult, bytes]:
        """Judge a password, and replace it if there is a new one; with a ticket if the person is signed in now."""
        await self._members.check(proxy)
        check_source(proxy, source)
        if new is None:
            judged = await self._passwords.check(user, password, source=source, code=code)
        else:
            judged = await self._passwords.change(user, password, new, source=source, code=code)
        if judged.result is not SignInResult.OK:
            return judged.result, b""
        return judged.result, self._tickets.give(user, proxy.id, self._clock.now(), device=judged.device)

    async def ask_browser(self, proxy: HostIdentity, user: str, *, source: str) -> Asked:
        """Let somebody confirm a sign-in in a browser, who is shown where the proxy says that it comes from."""
        await self._members.check(proxy)
        check_source(proxy, source)
        return await self._browsers.ask(user, source=source)

    async def collect_browser(self, proxy: HostIdentity, asked_id: str) -> tuple[Collected | None, bytes]:
        """Who has confirmed it, with a ticket."""
        await self._members.check(proxy)
        found = await self._browsers.collect(asked_id)
        if found is None:
            return None, b""
        return found, self._tickets.give(found.user, proxy.id, self._clock.now(), device=found.device)


class SecondFactors:
    """On connections that have to be confirmed."""

    def __init__(self, *, people: People, confirms: Confirms, confirmed: FactorTickets, clock: Clock) -> None:
        self._people = people
        self._confirms = confirms
        self._confirmed = confirmed
        self._clock = clock

    async def confirm(
        self, proxy: HostIdentity, certificate: bytes, code: str, *, source: str, session: bytes
    ) -> Confirmation:
        """Judge a second factor, or say what is to be asked; with a ticket for this proxy and this connection."""
        check_source(proxy, source)
        claims = await self._people.claims(proxy, certificate)
        if not self._people.is_ours(claims):
            raise refused(proxy, f"a second factor of {claims.identity.user} of {claims.identity.cluster}")
        found = await self._confirms.confirm(claims.identity.user, code, source=source)
        if not found.device:
            return found
        ticket = self._confirmed.give(claims, found.device, session, proxy.id, self._clock.now())
        return replace(found, ticket=ticket)
