"""What people ask of the portal at a proxy apart: auth answers, once it knows who they are."""

from typing import Protocol

from interlock.core import portal as wire
from interlock.core.presence import Proof
from interlock.ports import Clock
from interlock.services.access.caller import Caller
from interlock.services.fleet.members import Members, check_source, refused
from interlock.services.fleet.shown import People, Shown
from interlock.services.fleet.tickets import Tickets
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.portal.playback import Download


class Answers(Protocol):
    """services.portal.portal.Portal."""

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request."""
        ...


class PortalRequests:
    """Passes them on."""

    def __init__(
        self, *, members: Members, people: People, tickets: Tickets, portal: Answers, clock: Clock
    ) -> None:
        self._members = members
        self._people = people
        self._tickets = tickets
        self._portal = portal
        self._clock = clock

    async def answer(
        self,
        proxy: HostIdentity,
        shown: bytes,
        request: bytes,
        *,
        by_ticket: bool,
        methods: tuple[str, ...],
        source: str,
        proof: Proof | None = None,
    ) -> wire.AnyReply | Download:
        """The reply to a person's request. ``shown``: the certificate, or the ticket after a sign-in.

        A proof is good for several requests, as long as it is fresh.
        """
        await self._members.check(proxy)
        check_source(proxy, source)
        if len(request) + len(shown) > wire.MAX_REQUEST:
            raise refused(proxy, f"{len(request)} bytes")
        asked = wire.parse_request(request)
        if by_ticket:
            user, since, device = self._tickets.read(shown, proxy.id, self._clock.now())
            caller = Caller(user, None, methods, since, source, device)
        else:
            claims, seen = await self._people.here(proxy, Shown(shown, proof))
            if seen is not None:
                seen.to_portal(claims.identity.user, proxy.id)
            if isinstance(asked, wire.Sign):
                await self._people.use(seen, asked.public_key)
            caller = Caller(claims.identity.user, claims, methods, self._clock.now(), source)
        return await self._portal.answer(caller, asked)
