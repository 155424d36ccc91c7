"""Everything that a proxy apart can ask auth for, when something about it is wrong: who gets it all the same.

A row for each deed, a column for each thing that can be wrong. Whoever adds a deed says here what becomes of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError
from interlock.core.extensions import JoinMode
from interlock.domain.browser import Verdict
from interlock.domain.identity import Joining
from interlock.services.fleet.shown import Shown
from interlock.services.fleet.signing import ForLeaf, ForTarget
from interlock.services.fleet.tickets import LIFE
from interlock.services.keys.presence import FRESH
from interlock.testing.fleet import PASSWORD, SID, WEB, AuthSide, Gate
from interlock.testing.presence import public_blob

SOURCE = "192.0.2.7:5000"
LATER = max(FRESH, LIFE) + timedelta(minutes=1)

Bring = Callable[[AuthSide, Gate], Awaitable[Shown]]


def coming(user: str) -> Bring:
    """Alice comes with this user name, and signs."""

    async def bring(auth: AuthSide, gate: Gate) -> Shown:
        return await auth.came(user, at=gate)

    return bring


async def signing_in(auth: AuthSide, gate: Gate) -> Shown:
    """She signs in by password: what the proxy shows is auth's ticket."""
    result, ticket = await auth.proxies.sign_ins.by_password(
        gate.identity, "alice", PASSWORD, source=SOURCE, new=None
    )
    assert (result.value, bool(ticket)) == ("ok", True)
    return Shown(ticket)


async def confirming(auth: AuthSide, gate: Gate) -> Shown:
    """She confirms a sign-in at the proxy in her browser: what the proxy shows is the secret ID."""
    asked = await auth.proxies.sign_ins.ask_browser(gate.identity, "alice", source=SOURCE)
    waiting = await auth.local.browsers.confirmation(asked.id)
    assert waiting is not None
    await auth.local.browsers.decide(waiting.id, Verdict.CONFIRMED, by="alice", method="local", device="")
    return Shown(asked.id.encode())


async def nothing(auth: AuthSide, gate: Gate) -> Shown:
    """She is not there; the proxy has her certificate."""
    del gate
    return Shown(auth.certificate)


async def dial(auth: AuthSide, shown: Shown) -> None:
    """Sign for web1."""
    wanted = ForTarget("root", WEB.id, auth.key, records=True, client_addr=SOURCE)
    await auth.proxies.targets.sign(auth.gate.identity, shown, wanted)


async def join(auth: AuthSide, shown: Shown) -> None:
    """Sign for the other proxy, where alice's session is."""
    await auth.track(auth.other.identity.id)
    joining = Joining(SID, (JoinMode.OBSERVER,))
    wanted = ForTarget("root", auth.other.identity.id, auth.key, False, SOURCE, joining)
    await auth.proxies.targets.sign(auth.gate.identity, shown, wanted)


async def leave(auth: AuthSide, shown: Shown) -> None:
    """Sign for a leaf's door."""
    wanted = ForLeaf("root", "web1", "leaf", auth.key, offers=True, client_addr=SOURCE)
    await auth.proxies.leaves.sign(auth.gate.identity, shown, wanted)


async def ask_leaf(auth: AuthSide, shown: Shown) -> None:
    """Sign for a leaf's portal."""
    wanted = ForLeaf("", "", "leaf", auth.key, offers=False, client_addr=SOURCE)
    await auth.proxies.leaves.sign(auth.gate.identity, shown, wanted)


async def ask_portal(auth: AuthSide, shown: Shown, *, by_ticket: bool = False) -> None:
    """List nodes; Denied as in the portal's answer."""
    answer = await auth.proxies.portal.answer(
        auth.gate.identity,
        shown.certificate,
        wire.encode(wire.Nodes()),
        by_ticket=by_ticket,
        methods=("publickey",),
        source=SOURCE,
        proof=shown.proof,
    )
    if isinstance(answer, wire.Refused):
        raise Denied(answer.message)
    assert isinstance(answer, wire.NodeList)
    assert {node.hostname for node in answer.nodes} == {"web1", "db1"}


async def ask_portal_by_ticket(auth: AuthSide, shown: Shown) -> None:
    """The same after a sign-in."""
    await ask_portal(auth, shown, by_ticket=True)


async def stand(auth: AuthSide, shown: Shown) -> None:
    """What counts of whose certificate this is."""
    await auth.proxies.standings.standing(auth.gate.identity, shown.certificate)


async def find(auth: AuthSide, shown: Shown) -> None:
    """What she calls web1."""
    assert (await auth.proxies.standings.find(auth.gate.identity, shown.certificate, "web1")).id == WEB.id


async def be_asked(auth: AuthSide, shown: Shown) -> None:
    """What she is asked for as a second factor."""
    found = await auth.proxies.factors.confirm(
        auth.gate.identity, shown.certificate, "", source=SOURCE, session=b"s"
    )
    assert "ilsh mfa add" in found.question


async def show_key(auth: AuthSide, shown: Shown) -> None:
    """Whose a plain key is."""
    del shown
    if not await auth.local.factor_store.keys_of("alice"):
        await auth.enrol()
    await auth.proxies.people.enrolled(auth.gate.identity, public_blob(auth.person), bounds=True)


async def sign_in(auth: AuthSide, shown: Shown) -> None:
    """Judge her password."""
    del shown
    await signing_in(auth, auth.gate)


async def collect(auth: AuthSide, shown: Shown) -> None:
    """Learn what has become of a sign-in in a browser."""
    found, ticket = await auth.proxies.sign_ins.collect_browser(auth.gate.identity, shown.certificate.decode())
    assert found is not None
    assert (found.user, bool(ticket)) == ("alice", True)


async def jump(auth: AuthSide, shown: Shown) -> None:
    """Sign for a jump's end."""
    del shown
    assert await auth.proxies.jumps.sign(auth.gate.identity, auth.gate.line, ("web1", WEB.id))


async def look_up(auth: AuthSide, shown: Shown) -> None:
    """A target, and a session that is none."""
    del shown
    assert (await auth.proxies.lookups.target(auth.gate.identity, WEB.id)).hostname == "web1"
    assert await auth.proxies.lookups.tracker(auth.gate.identity, SID) == (None, False)


async def be_given_a_beacon(auth: AuthSide, shown: Shown) -> None:
    """For its next connections."""
    del shown
    await auth.proxies.members.beacon(auth.gate.identity, auth.gate.line)


async def report(auth: AuthSide, shown: Shown) -> None:
    """What it says of itself, and hear of the others."""
    del shown
    await auth.proxies.members.report(
        auth.gate.identity, peer="127.0.0.1:1", tunnels=(), ttl=timedelta(seconds=10)
    )
    assert await auth.proxies.members.peers(auth.gate.identity) == []


GIVEN = ""
"""It is done."""

UNSHOWN = "does not show that you are connected"
AGAIN = "connect again"
LOCKED = "access is locked for the user alice"
GONE = "your account no longer exists"
REMOVED = "this proxy was removed"
ANEW = "sign in again with ilsh login"
WRONG = "wrong user name or password"


@dataclass(frozen=True, slots=True)
class Deed:
    """What alice does, what the proxy asks for then, and what people read where something is wrong."""

    bring: Bring
    ask: Callable[[AuthSide, Shown], Awaitable[None]]
    no_proof: str
    stale_proof: str
    wrong_proxy: str
    locked_user: str
    removed_user: str
    removed_proxy: str = REMOVED


FOR_PEOPLE = (UNSHOWN, AGAIN, AGAIN, LOCKED, GONE)
DEEDS: dict[str, Deed] = {
    "dial": Deed(coming("root%web1"), dial, *FOR_PEOPLE),
    "dial by ID": Deed(coming(f"root%{WEB.id}"), dial, *FOR_PEOPLE),
    "dial a jump's end": Deed(coming("root"), dial, *FOR_PEOPLE),
    "join": Deed(coming(f"join%{SID}"), join, *FOR_PEOPLE),
    "go to a leaf": Deed(coming("root%web1.leaf"), leave, *FOR_PEOPLE),
    "ask a leaf": Deed(coming("alice"), ask_leaf, *FOR_PEOPLE),
    "ask the portal": Deed(coming("alice"), ask_portal, UNSHOWN, AGAIN, AGAIN, LOCKED, "access denied"),
    "ask the portal after a sign-in": Deed(
        signing_in, ask_portal_by_ticket, ANEW, ANEW, ANEW, LOCKED, "access denied"
    ),
    "stand": Deed(nothing, stand, GIVEN, GIVEN, GIVEN, LOCKED, GONE),
    "find": Deed(nothing, find, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN),
    "be asked for a second factor": Deed(nothing, be_asked, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN),
    "show a key": Deed(nothing, show_key, GIVEN, GIVEN, GIVEN, GIVEN, "no user"),
    "sign in": Deed(nothing, sign_in, GIVEN, GIVEN, GIVEN, LOCKED, WRONG),
    "collect": Deed(confirming, collect, "not confirmed", "not confirmed", GIVEN, LOCKED, "not confirmed"),
    "jump": Deed(nothing, jump, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN),
    "look up": Deed(nothing, look_up, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN),
    "be given a beacon": Deed(nothing, be_given_a_beacon, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN),
    "report": Deed(nothing, report, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN, removed_proxy="removed from the cluster"),
}
"""The proof of the sign-in is its ticket, and that of the browser's the ID: those who have it may be elsewhere."""


async def _asked(auth: AuthSide, deed: Deed, shown: Shown) -> str:
    """What the person reads."""
    try:
        await deed.ask(auth, shown)
    except InterlockError as error:
        return error.public
    return GIVEN


def _without(shown: Shown) -> Shown:
    return Shown(b"") if shown.proof is None else replace(shown, proof=None)


@pytest.mark.parametrize("name", DEEDS)
async def test_what_becomes_of_it(auth: AuthSide, name: str) -> None:
    """In each case; what was given is given for no other reason than that nothing was wrong."""
    deed, found = DEEDS[name], {}
    shown = await deed.bring(auth, auth.gate)
    if deed.bring is not confirming:  # which can be collected once
        assert await _asked(auth, deed, shown) == GIVEN
    found["no_proof"] = await _asked(auth, deed, _without(shown) if deed.bring is not nothing else shown)
    found["wrong_proxy"] = await _asked(auth, deed, await deed.bring(auth, auth.other))
    shown = await deed.bring(auth, auth.gate)
    auth.clock.advance(LATER)
    found["stale_proof"] = await _asked(auth, deed, shown)
    shown = await deed.bring(auth, auth.gate)
    await auth.lock()
    found["locked_user"] = await _asked(auth, deed, shown)
    await auth.local.locks.remove_lock("l1")
    shown = await deed.bring(auth, auth.gate)
    await auth.local.users.remove_user("alice")
    found["removed_user"] = await _asked(auth, deed, shown)
    await auth.local.proxies.remove_proxy(auth.gate.identity.id)
    auth.clock.advance(timedelta(seconds=2))
    found["removed_proxy"] = await _asked(auth, deed, shown)
    wanted = {each: getattr(deed, each) for each in found}
    assert set(found) == set(Deed.__slots__) - {"bring", "ask"}
    assert {each: _fits(found[each], wanted[each]) for each in found} == dict.fromkeys(found, True), found


def _fits(text: str, wanted: str) -> bool:
    return wanted in text if wanted else not text
