"""What a proxy apart from auth can get of a real auth, and above all what a stolen one cannot."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.proxy_client import FarPortal, ProxyClient
from interlock.adapters.rpc.proxy_messages import Password
from interlock.core import portal as wire
from interlock.core.errors import Denied, NotFound, SignInFailed
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import RoleOptions, Verb
from interlock.domain.audit import Kind
from interlock.domain.browser import CONFIRM_LIFE, Confirmation, Purpose, Verdict
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Joining
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.services.access.caller import Caller
from interlock.services.fleet.members import MAX_TUNNELS_TOLD
from interlock.services.fleet.tickets import PURPOSE, Tickets
from interlock.services.keys.daemonca import open_daemon_ca
from interlock.services.signin.confirming import Collected
from interlock.services.signin.signin import Judgement, SignInResult
from interlock.testing.apart import OTHER_SID, PASSWORD, SID, WEB, Scene, blob, cluster_apart

pytestmark = pytest.mark.slow

SOMEWHERE = "192.0.2.7:50022"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """All of it, on loopback."""
    async with cluster_apart(tmp_path) as made:
        yield made


async def test_a_proxy_gets_what_policy_allows(scene: Scene) -> None:
    """For the person whose certificate it shows; the certificate names the proxy that is to use it."""
    assert await scene.proxy.client.find_target(scene.claims.certificate, "web1") == replace(
        WEB, expires=(await scene.local.inventory.target("web1")).expires
    )
    standing = await scene.proxy.client.standing(scene.claims.certificate)
    assert [role.name for role in standing.roles] == ["access"]
    assert standing.modes.default is RecordingMode.PROXY
    made = await (await scene.here()).mint()
    assert made.forwarded is not None
    assert (made.identity.user, made.logins) == ("alice", ("root",))
    assert (made.forwarded.by, made.forwarded.target, made.forwarded.records) == (scene.proxy.id, WEB.id, True)


async def test_auth_decides_anew_when_it_signs(scene: Scene) -> None:
    """Whatever the proxy has decided: by the login, by the account, by what the certificate is."""
    with pytest.raises(Denied, match="may not log in as mallory"):
        await (await scene.here("mallory%web1")).mint("mallory")
    here = await scene.here()
    forwarders = await scene.proxy.client.issue_for_target(here.permit(), scene.key, records=True)
    for shown in (b"", b"nonsense", blob(forwarders.certificate)):
        with pytest.raises(Denied):
            await here.showing(shown).mint()
    await scene.local.users.remove_user("alice")
    with pytest.raises(Denied, match="no longer exists"):
        await (await scene.here()).mint()


async def test_nodes_are_relieved_only_where_the_mode_says_so(scene: Scene) -> None:
    """A stolen proxy cannot keep a node from recording where nodes record."""
    await scene.local.clusters.set_recording_mode(RecordingMode.NODE)
    here = await scene.here()
    with pytest.raises(Denied, match="has just been changed"):
        await here.mint(records=True)
    made = await here.mint(records=False)
    assert made.forwarded is not None
    assert not made.forwarded.records


async def test_a_jump_is_answered_in_the_name_of_targets_only(scene: Scene) -> None:
    """Neither auth's nor another proxy's nor any other host's."""
    line = await scene.proxy.client.issue_for_jump(scene.key, ("web1",))
    assert line.startswith("ssh-ed25519-cert")
    db = replace(WEB, id=DaemonId(SID), hostname="db1", expires=scene.local.clock.now() + timedelta(hours=1))
    await scene.local.inventory.heartbeat(db)
    assert await scene.proxy.client.issue_for_jump(scene.key, (WEB.id, "web1"))
    elsewhere = ("web1", "elsewhere.example.com")
    for names in ((), ("gate",), elsewhere, ("web1", "db1"), ("web1", "web1", "web1")):
        with pytest.raises(Denied):
            await scene.proxy.client.issue_for_jump(scene.key, names)


async def test_joining_is_judged_by_auth(scene: Scene) -> None:
    """By who owns the session, who holds it, and what the roles say of joining."""
    await scene.track(SID, scene.other.id, "alice")
    await scene.track(OTHER_SID, scene.other.id, "bob")
    there = Target(scene.other.id, "web1", "", 0, SubKind.NODE, tunnel=True)
    own = Joining(SID, (JoinMode.OBSERVER,))
    here = await scene.here(f"join%{SID}")
    made = await scene.proxy.client.issue_for_target(
        here.permit(joining=own, target=there), scene.key, records=False
    )
    claims = scene.local.claims.read(blob(made.certificate), now=scene.local.clock.now())
    assert claims.forwarded is not None
    assert (claims.forwarded.target, claims.forwarded.joining) == (scene.other.id, own)
    for wanted, where in (
        (Joining(OTHER_SID, (JoinMode.OBSERVER,)), there),  # bob's: no role lets alice
        (Joining(SID, (JoinMode.MODERATOR,)), there),  # nobody moderates their own
        (own, WEB),  # web1 does not hold it
    ):
        permit = (await scene.here(f"join%{wanted.sid}")).permit(joining=wanted, target=where)
        with pytest.raises(Denied):
            await scene.proxy.client.issue_for_target(permit, scene.key, records=False)
    here = await scene.here(f"join%{WEB.id}")
    permit = here.permit(joining=Joining(SessionId(WEB.id), (JoinMode.OBSERVER,)))
    with pytest.raises(NotFound):
        await scene.proxy.client.issue_for_target(permit, scene.key, records=False)


async def test_sign_in_gives_a_ticket_to_this_proxy(scene: Scene) -> None:
    """With it, and with nothing else, the portal gives a certificate."""
    portal = FarPortal(scene.proxy.client)
    caller = Caller("alice", None, ("keyboard-interactive",), scene.local.clock.now(), "10.1.1.1:4711")
    sign = wire.Sign(public_key=scene.key)
    assert isinstance(await portal.answer(caller, sign), wire.Refused)
    with pytest.raises(SignInFailed):
        await portal.check("alice", "wrong", source="10.1.1.1")
    assert isinstance(await portal.answer(caller, sign), wire.Refused)
    assert await portal.check("alice", PASSWORD, source="10.1.1.1") == Judgement(SignInResult.OK)
    signed = await portal.answer(caller, sign)
    assert isinstance(signed, wire.Signed)
    assert (signed.user, signed.roles) == ("alice", ["access"])


async def test_a_ticket_is_good_for_its_own_proxy_only(scene: Scene) -> None:
    """And for whom it was given to."""
    judged = await scene.proxy.client.judge(Password("alice", PASSWORD, "10.1.1.1"))
    caller = Caller("alice", None, (), scene.local.clock.now())
    stolen = FarPortal(scene.other.client)
    stolen._tickets["alice"] = judged.ticket
    refused = await stolen.answer(caller, wire.WhoAmI())
    assert isinstance(refused, wire.Refused)
    changed = judged.ticket.replace(b"alice", b"admin")
    own = FarPortal(scene.proxy.client)
    own._tickets["admin"] = changed
    assert isinstance(await own.answer(replace(caller, user="admin"), wire.WhoAmI()), wire.Refused)


async def test_a_certificate_asks_the_portal(scene: Scene) -> None:
    """As its owner, and not for another certificate."""
    portal = FarPortal(scene.proxy.client)
    here = await scene.here("alice")
    caller = Caller("alice", here.claims, ("publickey",), scene.local.clock.now())
    nodes = await portal.answer(caller, wire.Nodes())
    assert isinstance(nodes, wire.NodeList)
    assert [node.hostname for node in nodes.nodes] == ["web1"]
    assert isinstance(await portal.answer(caller, wire.Sign(public_key=scene.key)), wire.Refused)


async def test_the_audit_log_is_read_through_a_proxy_apart(scene: Scene) -> None:
    """By whom a role shows it, as at auth; by nobody else."""
    portal = FarPortal(scene.proxy.client)
    here = await scene.here("alice")
    caller = Caller("alice", here.claims, ("publickey",), scene.local.clock.now())
    refused = await portal.answer(caller, wire.Events())
    assert isinstance(refused, wire.Refused)
    assert "events:list" in refused.message
    sees = RoleOptions(allow=(Verb.LIST_EVENTS,))
    await scene.local.roles.replace_role(Role("access", ("root",), {"*": "*"}, sees))
    told = await portal.answer(caller, wire.Events(event="cert.create"))
    assert isinstance(told, wire.EventList)
    assert [each["event"] for each in told.events] == ["cert.create"]


async def test_a_claim_is_good_against_every_other_daemon(scene: Scene) -> None:
    """Whoever comes first has the session; the other one's claim and events are refused."""
    await scene.proxy.client.claim(SID)
    await scene.proxy.client.claim(SID)  # the answer may have been lost
    for member in (scene.node, scene.other):
        with pytest.raises(Denied):
            await member.client.append([scene.event(member.id)])
    with pytest.raises(Denied):
        await scene.other.client.claim(SID)
    await scene.proxy.client.append([scene.event(scene.proxy.id)])
    await scene.node.client.append([scene.event(scene.node.id, OTHER_SID)])
    with pytest.raises(Denied):
        await scene.proxy.client.claim(OTHER_SID)
    await scene.proxy.client.append([scene.event(scene.proxy.id, kind=Kind.SESSION_END)])
    with pytest.raises(Denied, match="speak for itself"):  # its own, but over
        await scene.proxy.client.claim(SID)


async def test_a_proxy_tells_of_refusals_within_a_nodes_session(scene: Scene) -> None:
    """As the proxy in auth's process does; and of nothing else there."""
    await scene.node.client.append([scene.event(scene.node.id)])
    await scene.proxy.client.append([scene.event(scene.proxy.id, kind=Kind.SESSION_REJECTED)])
    with pytest.raises(Denied):
        await scene.proxy.client.append([scene.event(scene.proxy.id, kind=Kind.SESSION_END)])
    with pytest.raises(Denied):
        await scene.proxy.client.append([scene.event(scene.proxy.id, kind=Kind.USER_LOGIN)])


async def test_proxies_learn_of_each_other(scene: Scene) -> None:
    """Where the others are reached and whose tunnels they have, as long as they report."""
    first = await scene.proxy.client.peers(b"")
    assert first.peers == ()
    await scene.other.client.report("10.0.0.2:3027", (WEB.id,), 15.0)
    told = await scene.proxy.client.peers(first.digest)
    assert told.peers is not None
    assert [(each.id, each.peer, each.tunnels) for each in told.peers] == [
        (scene.other.id, "10.0.0.2:3027", (WEB.id,))
    ]
    assert (await scene.proxy.client.peers(told.digest)).peers is None
    with pytest.raises(Denied):
        await scene.other.client.report("-oProxyCommand=x", (), 15.0)
    await scene.other.client.report("", (), 0.0)
    assert (await scene.proxy.client.peers(told.digest)).peers == ()


async def test_a_removed_proxy_is_told_nothing_any_more(scene: Scene) -> None:
    """Whatever its certificate says."""
    portal, now = FarPortal(scene.proxy.client), scene.local.clock.now()
    ca = await open_daemon_ca(
        scene.local.authorities, cluster=scene.local.cluster.name, entropy=scene.local.entropy, now=now
    )
    portal._tickets["alice"] = Tickets(lambda: [ca.secret(PURPOSE)]).give("alice", scene.proxy.id, now)
    await scene.local.proxies.remove_proxy(scene.proxy.id)
    for question in ASKED.keys() - {"trusted", "claim", "portal"}:  # public keys; what is live goes on; below
        with pytest.raises(Denied, match="was removed"):
            await ASKED[question](scene.proxy.client, scene)
    assert await portal.answer(Caller("alice", None, (), now), wire.WhoAmI()) == wire.Refused(
        "denied", "this proxy was removed from the cluster"
    )


async def test_what_a_proxy_says_is_bounded(scene: Scene) -> None:
    """Other proxies are told of its tunnels; where a person is stands in the audit log."""
    for tunnels in (("x" * 1000,), (WEB.id,) * (MAX_TUNNELS_TOLD + 1)):
        with pytest.raises(Denied):
            await scene.proxy.client.report("", tuple(map(DaemonId, tunnels)), 15.0)
    with pytest.raises(Denied):
        await scene.proxy.client.judge(Password("alice", PASSWORD, "10.1.1.1" * 1000))
    claims = (await scene.here("alice")).claims
    caller = Caller("alice", claims, ("publickey",), scene.local.clock.now(), "x" * 1000)
    portal = FarPortal(scene.proxy.client)
    assert isinstance(await portal.answer(caller, wire.WhoAmI()), wire.Refused)
    here = replace(caller, source="10.1.1.1:4711")
    assert isinstance(await portal.answer(here, wire.WhoAmI()), wire.Myself)
    assert await portal.answer(here, wire.Nodes("x" * wire.MAX_REQUEST)) == wire.Refused(
        "denied", "a proxy may only act for people who are there"
    )


ASKED: dict[str, Callable[[ProxyClient, Scene], Awaitable[object]]] = {
    "standing": lambda c, s: c.standing(s.claims.certificate),
    "find": lambda c, s: c.find_target(s.claims.certificate, "web1"),
    "target": lambda c, _: c.target(WEB.id),
    "trusted": lambda c, _: c.trusted(),
    "tracked": lambda c, _: c.tracked(SID),
    "claim": lambda c, _: c.claim(SID),
    "sign for a target": lambda c, s: c.issue_for_target(s.permit(), s.key, records=True),
    "sign for a jump": lambda c, s: c.issue_for_jump(s.key, ("web1",)),
    "report": lambda c, _: c.report("10.0.0.1:1", (), 1.0),
    "peers": lambda c, _: c.peers(b""),
    "beacon": lambda c, s: c.beacon(s.proxy.host_key),
    "password": lambda c, _: c.judge(Password("alice", PASSWORD, "10.1.1.1")),
    "portal": lambda c, _: FarPortal(c).answer(
        Caller("alice", None, (), _.local.clock.now()), wire.WhoAmI()
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", ASKED)
async def test_a_node_cannot_ask_what_a_proxy_may(scene: Scene, question: str) -> None:
    """Its certificate says what it is."""
    with pytest.raises(Denied, match="a node may not ask this"):
        await ASKED[question](scene.node.client, scene)


async def test_a_proxy_is_no_node(scene: Scene) -> None:
    """It neither reports itself as a host nor asks for admissions."""
    client: AuthClient = scene.proxy.client
    with pytest.raises(Denied, match="a proxy may not ask this"):
        await client.heartbeat(replace(WEB, id=scene.proxy.id, hostname="gate"))
    with pytest.raises(Denied, match="a proxy may not ask this"):
        await client.admit(scene.claims, "root", scene.proxy.id)


async def test_a_browser_signs_somebody_in_through_a_proxy_apart(scene: Scene) -> None:
    """The ticket is the proxy's and the person's who confirmed; auth without a browser's side says so."""
    portal = FarPortal(scene.proxy.client)
    with pytest.raises(Denied, match="no sign-in by browser"):
        await portal.ask("alice", source=SOMEWHERE)
    store = scene.local.browsers
    waiting = Confirmation(
        "w1", b"d", Purpose.SIGN_IN, "", SOMEWHERE, scene.local.clock.now(), scene.local.clock.now() + CONFIRM_LIFE
    )
    assert await store.put_confirmation(waiting, now=scene.local.clock.now(), most=9, of_source=9)
    assert await portal.collect("w1") is None
    assert await store.decide("w1", Verdict.CONFIRMED, by="alice", method="local", device="")
    assert await portal.collect("w1") == Collected("alice")
    caller = Caller("alice", None, ("keyboard-interactive",), scene.local.clock.now(), SOMEWHERE)
    signed = await portal.answer(caller, wire.Sign(scene.key))
    assert isinstance(signed, wire.Signed)
    assert signed.user == "alice"
    with pytest.raises(SignInFailed):
        await portal.collect("w1")
