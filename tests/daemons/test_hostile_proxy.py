"""A stolen proxy, with a listed proxy's identity and everything that it has ever seen, at a real auth.

It gets nothing for people who are not there, and of those who are nothing that they have not asked for. Whatever
it tries is refused, and told in the audit log with the reason.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.adapters.rpc.proxy_client import FarPortal
from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId
from interlock.core.presence import Proof
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster
from interlock.domain.factor import EnrolledKey
from interlock.domain.identity import Joining
from interlock.domain.target import SubKind, Target
from interlock.services.access.caller import Caller
from interlock.services.fleet.tickets import CONFIRMED, FactorTickets
from interlock.services.keys.daemonca import open_daemon_ca
from interlock.services.keys.presence import FRESH, PURPOSE, Beacons
from interlock.testing.apart import SID, WEB, Scene, blob, cluster_apart
from interlock.testing.openssh import make_key
from interlock.testing.presence import public_blob

pytestmark = pytest.mark.slow

DB = replace(WEB, id=DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3167"), hostname="db1")
HOUR = timedelta(hours=1)


@dataclass
class Theft:
    """What the thief has: the scene, alice's last proof, and a second key of its own."""

    scene: Scene
    other_key: str
    leaf: TrustedCluster

    async def dial(self, scene: Scene, login: str = "root", target: Target = WEB, *, key: str = "") -> None:
        """Ask for a certificate to dial with."""
        permit = scene.permit(login, target=target)
        await self.scene.proxy.client.issue_for_target(permit, key or scene.key, records=True)

    async def join(self, scene: Scene) -> None:
        """Ask for one to join alice's session at the other proxy."""
        there = Target(scene.other.id, "web1", "", 0, SubKind.NODE, tunnel=True)
        permit = scene.permit(joining=Joining(SID, (JoinMode.OBSERVER,)), target=there)
        await scene.proxy.client.issue_for_target(permit, scene.key, records=False)

    async def leave(self, scene: Scene, *, key: str = "") -> None:
        """Ask for one for a leaf's door."""
        now = scene.local.clock.now()
        granted = LeafPass.decide(scene.claims, ("access",), self.leaf, login="root", node="web1", now=now)
        await scene.proxy.client.issue_for_leaf(granted, key or scene.key, offers=True)

    async def list_leaf(self, scene: Scene) -> None:
        """Ask for one for a leaf's portal."""
        now = scene.local.clock.now()
        granted = LeafPass.decide(scene.claims, ("access",), self.leaf, login="", node="", now=now)
        await scene.proxy.client.issue_for_leaf(granted, scene.key, offers=False)

    async def ask(self, scene: Scene, request: wire.AnyRequest) -> None:
        """Ask the portal; Denied as in its answer."""
        caller = Caller("alice", scene.claims, ("publickey",), scene.local.clock.now())
        answer = await FarPortal(scene.proxy.client).answer(caller, request)
        if isinstance(answer, wire.Refused):
            raise Denied(answer.message)

    async def beacons(self) -> Beacons:
        """Auth's."""
        local = self.scene.local
        ca = await open_daemon_ca(
            local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
        )
        return Beacons(lambda: [ca.secret(PURPOSE)])

    async def proof(self, user: str = "root%web1", *, beacon: bytes = b"", host_key: bytes = b"") -> Proof:
        """Alice's, who comes to the thief's server."""
        gate = self.scene.proxy
        connecting = self.scene.connecting(user, beacon or await gate.client.beacon(gate.host_key))
        return replace(connecting, host_key=host_key or connecting.host_key).prove()


@pytest.fixture
async def theft(tmp_path: Path) -> AsyncIterator[Theft]:
    """Alice may go to web1 and db1, and to the leaf cluster; her session at the other proxy can be joined."""
    async with cluster_apart(tmp_path) as scene:
        expires = scene.local.clock.now() + HOUR
        await scene.local.inventory.heartbeat(replace(DB, expires=expires))
        await scene.track(SID, scene.other.id, "alice")
        host_ca = scene.local.authority.export("host")
        leaf = TrustedCluster(
            "leaf", str(WEB.id), Relation.LEAF, scene.local.clock.now(), host_cas=(host_ca,), proxy="127.0.0.1:1"
        )
        await scene.local.trusts.put_trust(leaf)
        await scene.proxy.client.beacon(scene.proxy.host_key)  # as every proxy does when it starts
        yield Theft(scene, make_key(tmp_path / "other").public, leaf)


WANTED: dict[str, tuple[str, Callable[[Theft, Scene], Awaitable[None]]]] = {
    "dial": ("root%web1", lambda theft, scene: theft.dial(scene)),
    "dial by ID": (f"root%{WEB.id}", lambda theft, scene: theft.dial(scene)),
    "dial a jump's end": ("root", lambda theft, scene: theft.dial(scene)),
    "join": (f"join%{SID}", lambda theft, scene: theft.join(scene)),
    "go to a leaf": ("root%web1.leaf", lambda theft, scene: theft.leave(scene)),
    "ask a leaf": ("alice", lambda theft, scene: theft.list_leaf(scene)),
    "ask the portal": ("alice", lambda theft, scene: theft.ask(scene, wire.Nodes())),
    "list sessions": ("alice", lambda theft, scene: theft.ask(scene, wire.Sessions())),
    "list recordings": ("alice", lambda theft, scene: theft.ask(scene, wire.Recordings())),
}
"""Everything that a certificate was enough for once, and what alice asks for when she wants it herself."""

SENDS_RECORDINGS = wire.Recording(SID)


async def test_who_is_there_gets_it(theft: Theft) -> None:
    """So that what follows is refused for no other reason."""
    for user, ask in WANTED.values():
        await ask(theft, await theft.scene.here(user))
    assert await theft.scene.refusals() == []


async def test_a_stored_certificate_is_worth_nothing(theft: Theft) -> None:
    """Without its owner."""
    for _, ask in WANTED.values():
        with pytest.raises(Denied, match="does not show that you are connected"):
            await ask(theft, theft.scene)
    told = f"proxy {theft.scene.proxy.id} showed no proof of presence"
    assert await theft.scene.refusals() == [told] * len(WANTED)


async def _stale(theft: Theft, user: str) -> Scene:
    """Alice was there, minutes ago."""
    old = theft.scene.local.clock.now() - FRESH - timedelta(minutes=1)
    beacon = (await theft.beacons()).give(theft.scene.proxy.id, old)
    return theft.scene.proving(await theft.proof(user, beacon=beacon))


async def _by_somebody_else(theft: Theft, user: str) -> Scene:
    """An accomplice is there, and signs with a key of their own."""
    beacon = await theft.scene.proxy.client.beacon(theft.scene.proxy.host_key)
    connecting = theft.scene.connecting(user, beacon)
    return theft.scene.proving(connecting.prove(by=Ed25519PrivateKey.generate()))


async def _at_another_proxy(theft: Theft, user: str) -> Scene:
    """However it came into the thief's hands: it carries the other's beacon, and its host key."""
    return await theft.scene.here(user, theft.scene.other)


async def _at_an_accomplices_server(theft: Theft, user: str) -> Scene:
    """Alice came to some server with her key; it had the thief's beacon, but could not pass for the proxy."""
    host_key = public_blob(Ed25519PrivateKey.generate())
    return theft.scene.proving(await theft.proof(user, host_key=host_key))


FORGED: dict[Callable[[Theft, str], Awaitable[Scene]], str] = {
    _stale: "that is stale: 6 min old",
    _by_somebody_else: "whose signature does not match",
    _at_another_proxy: "another host key than its own",
    _at_an_accomplices_server: "another host key than its own",
}


@pytest.mark.parametrize("forge", FORGED)
async def test_who_is_not_there_cannot_be_made_up(
    theft: Theft, forge: Callable[[Theft, str], Awaitable[Scene]]
) -> None:
    """Whatever is asked for."""
    for user, ask in WANTED.values():
        with pytest.raises(Denied, match="connect again"):
            await ask(theft, await forge(theft, user))
    told = await theft.scene.refusals()
    assert [FORGED[forge] in each for each in told] == [True] * len(WANTED)


JUMPS = frozenset(("dial", "dial by ID", "dial a jump's end"))
ASKS = frozenset(("ask a leaf", "ask the portal", "list sessions", "list recordings"))
USES: dict[str, frozenset[str]] = {
    "root%web1": JUMPS,
    f"root+{WEB.id}": JUMPS,
    "root": JUMPS | {"go to a leaf"},
    "root%db1": frozenset(),
    "nobody%web1": frozenset(),
    f"join%{SID}": frozenset(("join",)),
    f"join-peer%{SID}": frozenset(),
    "root%web1.leaf": frozenset(("go to a leaf",)),
    "root%db1.leaf": frozenset(),
    "alice": ASKS,
    "bob": frozenset(),
    "%%%": frozenset(),
}
"""What each user name is good for. A bare login is a jump's, whose client may have seen only a key."""


async def test_what_alice_asked_for_is_all_that_can_be_had(theft: Theft) -> None:
    """She is there, and wanted something; the thief wants everything."""
    refused = 0
    for user, (what, (_, ask)) in product(USES, WANTED.items()):
        came = theft.scene.proving(await theft.proof(user))
        if what in USES[user]:
            await ask(theft, came)
            continue
        with pytest.raises(InterlockError) as caught:
            await ask(theft, came)
        refused += isinstance(caught.value, Denied)
        assert isinstance(caught.value, Denied | NotFound)  # there is no such node
    assert len(await theft.scene.refusals()) == refused


async def test_another_target_than_the_one_that_was_named(theft: Theft) -> None:
    """Both of which alice may go to."""
    with pytest.raises(Denied):
        await theft.dial(await theft.scene.here("root%web1"), target=DB)
    assert f"in place of the target {DB.id}" in (await theft.scene.refusals())[0]
    await theft.dial(await theft.scene.here("root%db1"), target=DB)


async def test_a_jumps_proof_is_for_the_host_that_the_client_saw(theft: Theft) -> None:
    """Its certificate names one target only, as auth makes no other."""
    gate = theft.scene.proxy
    line = await gate.client.issue_for_jump(gate.host_key, ("web1",))
    proof = await theft.proof("root", host_key=blob(line))
    with pytest.raises(Denied):
        await theft.dial(theft.scene.proving(proof), target=DB)
    assert "of a connection to web1, not db1" in (await theft.scene.refusals())[0]
    with pytest.raises(Denied, match="may only act"):
        await gate.client.issue_for_jump(gate.host_key, ("web1", "db1"))
    await theft.dial(theft.scene.proving(proof))


async def test_one_proof_is_one_dial(theft: Theft) -> None:
    """Also in the time in which it is fresh, and also for the other kind of dial."""
    here = await theft.scene.here()
    await theft.dial(here)
    await theft.dial(here)  # the same key: an answer that was lost
    with pytest.raises(Denied, match="connect again"):
        await theft.dial(here, key=theft.other_key)
    away = await theft.scene.here("root%web1.leaf")
    await theft.leave(away)
    with pytest.raises(Denied, match="connect again"):
        await theft.leave(away, key=theft.other_key)
    assert ["that was used before" in told for told in await theft.scene.refusals()] == [True, True]


async def test_recordings_are_their_owners_who_must_be_there(theft: Theft) -> None:
    """To be told that there is none takes a proof as well."""
    caller = Caller("alice", theft.scene.claims, ("publickey",), theft.scene.local.clock.now())
    portal = FarPortal(theft.scene.proxy.client)
    answer = await portal.answer(caller, SENDS_RECORDINGS)
    assert isinstance(answer, wire.Refused)
    assert answer.why == "denied"
    here = replace(caller, claims=(await theft.scene.here("alice")).claims)
    answer = await portal.answer(here, SENDS_RECORDINGS)
    assert isinstance(answer, wire.Refused)
    assert answer.why == "not-found"


async def test_a_thief_cannot_say_that_it_has_another_host_key(theft: Theft) -> None:
    """With which an accomplice's server would make proofs for it."""
    with pytest.raises(Denied):
        await theft.scene.proxy.client.beacon(theft.scene.other.host_key)
    with pytest.raises(Denied):
        await theft.scene.proxy.client.beacon("ssh-ed25519 AAAA")


# --- without a certificate, and with more than one ------------------------------------------------


async def enrolled(theft: Theft) -> Scene:
    """Alice's key is enrolled, which is what she shows; it is no secret."""
    shown = public_blob(theft.scene.person)
    key = EnrolledKey(shown, "alice", "laptop", theft.scene.local.clock.now())
    assert await theft.scene.local.factor_store.enrol_key(key)
    return theft.scene.showing(shown)


async def coming(scene: Scene, user: str) -> Scene:
    """The same once alice has come with her plain key."""
    beacon = await scene.proxy.client.beacon(scene.proxy.host_key)
    connecting = replace(scene.connecting(user, beacon), algorithm="ssh-ed25519")
    return scene.proving(connecting.prove())


async def test_an_enrolled_key_proves_as_a_certificate_does(theft: Theft) -> None:
    """All that can be had by one needs its owner, once for each thing."""
    plain = await enrolled(theft)
    for user, ask in WANTED.values():
        await ask(theft, await coming(plain, user))
        with pytest.raises(Denied, match="does not show that you are connected"):
            await ask(theft, plain)
    here = await coming(plain, "root%web1")
    await theft.dial(here)
    with pytest.raises(Denied, match="connect again"):
        await theft.dial(here, key=theft.other_key)


async def test_a_key_is_not_shown_by_its_certificate_nor_the_other_way_round(theft: Theft) -> None:
    """What was signed says which of them it was; the roles and the time that count may differ."""
    plain = await enrolled(theft)
    by_certificate = (await theft.scene.here()).claims.presence.proof
    by_key = (await coming(plain, "root%web1")).claims.presence.proof
    for scene in (plain.proving(by_certificate), theft.scene.proving(by_key)):
        with pytest.raises(Denied, match="connect again"):
            await theft.dial(scene)
    assert ["by another key or certificate" in each for each in await theft.scene.refusals()] == [True, True]


async def test_a_key_that_was_taken_away_proves_nothing(theft: Theft) -> None:
    """Whoever is there."""
    plain = await enrolled(theft)
    here = await coming(plain, "root%web1")
    await theft.scene.local.factor_store.remove_key("alice", public_blob(theft.scene.person))
    with pytest.raises(NotFound):
        await theft.dial(here)


async def test_a_second_factor_confirms_one_connection(theft: Theft) -> None:
    """The ticket for it is good with the proof of that connection, at the proxy where it was given."""
    scene, local = theft.scene, theft.scene.local
    careful = RoleOptions(second_factor=SecondFactor.SESSION)
    await local.roles.replace_role(replace((await local.roles.roles(["access"]))[0], options=careful))
    here = await scene.here()
    with pytest.raises(Denied, match="second factor"):
        await theft.dial(here)
    ca = await open_daemon_ca(
        local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
    )
    tickets, now, session = (
        FactorTickets(lambda: [ca.secret(CONFIRMED)]),
        local.clock.now(),
        here.claims.presence.session,
    )
    claims = local.claims.read(here.claims.certificate, now=now)
    for ticket in (
        tickets.give(claims, "phone", session, scene.other.id, now),
        tickets.give(claims, "phone", (await scene.here()).claims.presence.session, scene.proxy.id, now),
        tickets.give(claims, "phone", session, scene.proxy.id, now - timedelta(minutes=6)),
        FactorTickets(lambda: [b"made up"]).give(claims, "phone", session, scene.proxy.id, now),
    ):
        here.claims.presence.ticket = ticket
        with pytest.raises(Denied, match="not confirmed with a second factor"):
            await theft.dial(here)
    here.claims.presence.ticket = tickets.give(claims, "phone", session, scene.proxy.id, now)
    await theft.dial(here)
