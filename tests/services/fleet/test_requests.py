"""Portal requests by way of a proxy apart: who asks is auth's finding, and what is asked is the person's."""

import pytest

from interlock.core import portal as wire
from interlock.core.errors import Denied, RemoteProtocolError
from interlock.services.access.caller import Caller
from interlock.services.fleet.requests import PortalRequests
from interlock.services.fleet.shown import Shown
from interlock.services.fleet.tickets import Tickets
from interlock.services.portal.playback import Download
from interlock.testing.fleet import AuthSide

SOURCE = "192.0.2.7:5000"


class Noted:
    """A portal that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Caller, wire.AnyRequest]] = []

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """Keep it."""
        self.asked.append((caller, request))
        return wire.Done("done")


class Passing:
    """The service in front of such a portal."""

    def __init__(self, auth: AuthSide) -> None:
        self.auth, self.portal, self.tickets = auth, Noted(), Tickets(lambda: [b"k" * 32])
        self._requests = PortalRequests(
            members=auth.proxies.members,
            people=auth.proxies.people,
            tickets=self.tickets,
            portal=self.portal,
            clock=auth.clock,
        )

    async def ask(
        self, shown: Shown, request: bytes, *, by_ticket: bool = False, source: str = SOURCE
    ) -> tuple[Caller, wire.AnyRequest]:
        """What reaches the portal of this."""
        await self._requests.answer(
            self.auth.gate.identity,
            shown.certificate,
            request,
            by_ticket=by_ticket,
            methods=("publickey",),
            source=source,
            proof=shown.proof,
        )
        return self.portal.asked[-1]


@pytest.fixture
def passing(auth: AuthSide) -> Passing:
    """Nobody has asked yet."""
    return Passing(auth)


NODES = wire.encode(wire.Nodes())


async def test_the_person_of_a_certificate(passing: Passing) -> None:
    """With its claims, as often as the proof is fresh."""
    came = await passing.auth.came("alice")
    for _ in range(2):
        caller, request = await passing.ask(came, NODES)
        assert (caller.user, caller.source, request) == ("alice", SOURCE, wire.Nodes())
        assert caller.claims is not None
        assert caller.claims.identity.user == "alice"


async def test_who_came_for_something_else_asks_nothing(passing: Passing) -> None:
    """The proof says what they wanted."""
    with pytest.raises(Denied) as caught:
        await passing.ask(await passing.auth.came("root%web1"), NODES)
    assert "in place of the portal" in caught.value.reason
    assert passing.portal.asked == []


async def test_one_proof_certifies_one_key(passing: Passing) -> None:
    """Bots come by their certificate for the next one."""
    came = await passing.auth.came("alice")
    sign = wire.encode(wire.Sign(public_key=passing.auth.key))
    other = wire.encode(wire.Sign(public_key=passing.auth.gate.line))
    await passing.ask(came, sign)
    await passing.ask(came, sign)
    with pytest.raises(Denied):
        await passing.ask(came, other)


async def test_the_person_of_a_ticket(passing: Passing) -> None:
    """Without claims, and since the sign-in."""
    since = passing.auth.clock.now()
    ticket = passing.tickets.give("alice", passing.auth.gate.identity.id, since, device="d1")
    passing.auth.clock.advance(60)
    caller, _ = await passing.ask(Shown(ticket), NODES, by_ticket=True)
    assert (caller.user, caller.claims, caller.since, caller.device) == ("alice", None, since, "d1")
    for shown in (Shown(passing.auth.certificate), Shown(b"")):
        with pytest.raises(Denied):
            await passing.ask(shown, NODES, by_ticket=True)


async def test_what_is_no_request(passing: Passing) -> None:
    """Too long, not to be understood, or of nowhere."""
    came = await passing.auth.came("alice")
    with pytest.raises(Denied, match="may only act"):
        await passing.ask(came, b"x" * wire.MAX_REQUEST)
    with pytest.raises(RemoteProtocolError):
        await passing.ask(came, b"{")
    with pytest.raises(Denied, match="may only act"):
        await passing.ask(came, NODES, source="192.0.2.7:99999")
    assert passing.portal.asked == []
