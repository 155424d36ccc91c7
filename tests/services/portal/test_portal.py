"""What a signed-in user gets of the gateway, and what not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    load_ssh_public_identity,
)

from interlock.core import portal as wire
from interlock.core.errors import RemoteProtocolError
from interlock.core.extensions import JoinMode
from interlock.core.ids import SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.access import RoleOptions
from interlock.domain.audit import Kind, rfc3339
from interlock.domain.bounds import Bounds
from interlock.domain.rbac import Role
from interlock.ports import RecordingInfo
from interlock.services.access.caller import SIGN_WINDOW
from interlock.services.portal import portal as service
from interlock.services.portal.certifying import DEFAULT_TTL
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.portal import (
    KEY,
    OTHER_SID,
    SID,
    Elsewhere,
    Events,
    World,
    certified,
    foreigner,
    recording,
    refused,
    signed_in,
    tracker,
)


async def test_a_password_buys_a_certificate_for_the_logins_of_the_users_roles(portal: Portal) -> None:
    """Certificate, host CA and validity come in one reply."""
    reply = await portal.answer(signed_in("bob"), wire.Sign(KEY))
    assert isinstance(reply, wire.Signed)
    certificate = load_ssh_public_identity(reply.certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    assert certificate.valid_principals == [b"deploy", b"postgres", b"root"]
    assert reply.logins == ["deploy", "postgres", "root"]
    assert reply.roles == ["web", "db"]
    assert (reply.cluster, reply.user) == ("test", "bob")
    assert reply.host_ca[0].startswith("ssh-ed25519 ")
    assert reply.valid_until == rfc3339((START + DEFAULT_TTL).replace(microsecond=0))


async def test_the_user_chooses_the_life_of_the_certificate_within_bounds(portal: Portal) -> None:
    """A shorter life is granted, a longer one than the authority allows is refused."""
    reply = await portal.answer(signed_in(), wire.Sign(KEY, ttl=60))
    assert isinstance(reply, wire.Signed)
    assert reply.valid_until == rfc3339((START + timedelta(seconds=60)).replace(microsecond=0))
    assert (await refused(portal, signed_in(), wire.Sign(KEY, ttl=365 * 86400))).why == "denied"


async def test_a_certificate_cannot_renew_itself(portal: Portal, events: Events) -> None:
    """Otherwise a stolen certificate would live for ever; the attempt is in the audit log."""
    reply = await refused(portal, certified("alice", "web"), wire.Sign(KEY))
    assert reply.why == "denied"
    assert "sign in again" in reply.message
    body = events[0].to_json()
    assert (body["event"], body["code"], body["user"], body["success"]) == ("auth", "T3007W", "alice", False)


async def test_one_command_is_nothing_here(portal: Portal, events: Events) -> None:
    """R29: neither lists nor recordings, and no certificate that says less."""
    caller = certified("alice", "web")
    assert caller.claims is not None
    caller = replace(caller, claims=replace(caller.claims, bounds=Bounds("backup")))
    for request in (wire.Nodes(), wire.Sign(KEY), wire.WhoAmI(), wire.Sessions()):
        assert "for one command on nodes" in (await refused(portal, caller, request)).message
    assert events[0].to_json()["event"] == "auth"


async def test_a_sign_in_is_good_for_a_certificate_for_minutes_only(portal: Portal, clock: FakeClock) -> None:
    """A connection left open is no standing key."""
    clock.advance(SIGN_WINDOW)
    assert isinstance(await portal.answer(signed_in(), wire.Sign(KEY)), wire.Signed)
    clock.advance(1)
    assert "too old" in (await refused(portal, signed_in(), wire.Sign(KEY))).message


@pytest.mark.parametrize("key", ["", "ssh-ed25519 AAAA", "nonsense"])
async def test_what_is_not_a_public_key_is_not_certified(portal: Portal, key: str) -> None:
    """The refusal is one sentence for the person."""
    assert (await refused(portal, signed_in(), wire.Sign(key))).why == "denied"


async def test_a_certificate_is_no_subject_key(portal: Portal) -> None:
    """R15: what is already a certificate is refused."""
    reply = await portal.answer(signed_in(), wire.Sign(KEY))
    assert isinstance(reply, wire.Signed)
    assert (await refused(portal, signed_in(), wire.Sign(reply.certificate))).why == "denied"


async def test_a_user_without_logins_gets_no_certificate(portal: Portal, world: World) -> None:
    """R14: no certificate without principals; the person learns whom to ask."""
    world.accounts["alice"] = ("idle",)
    assert "administrator" in (await refused(portal, signed_in(), wire.Sign(KEY))).message


async def test_nodes_are_those_that_the_roles_reach(portal: Portal) -> None:
    """Other nodes are not even named."""
    reply = await portal.answer(signed_in("alice"), wire.Nodes())
    assert isinstance(reply, wire.NodeList)
    assert [(node.hostname, node.logins) for node in reply.nodes] == [
        ("web1", ["deploy", "root"]),
        ("web2", ["deploy", "root"]),
    ]


async def test_a_certificate_counts_for_the_roles_that_it_names_and_the_account_still_has(
    portal: Portal, world: World
) -> None:
    """Neither a role gained after the certificate nor one lost since opens anything."""
    reply = await portal.answer(certified("bob", "db", "gone"), wire.WhoAmI())
    assert isinstance(reply, wire.Myself)
    assert (reply.roles, reply.logins, reply.methods) == (["db"], ["postgres"], ["publickey"])
    assert reply.valid_until == rfc3339(START + timedelta(hours=1))
    world.accounts["bob"] = ("web",)
    assert await portal.answer(certified("bob", "db"), wire.Nodes()) == wire.NodeList([])


@pytest.mark.parametrize("request_", [wire.Nodes(), wire.Sessions(), wire.Recording(SID), wire.Cluster()])
async def test_nothing_is_answered_after_the_certificate_expired_or_the_account_went(
    portal: Portal, world: World, clock: FakeClock, request_: wire.AnyRequest
) -> None:
    """A connection that stays open gains nothing."""
    clock.advance(timedelta(hours=1))
    assert "expired" in (await refused(portal, certified("alice", "web"), request_)).message
    del world.accounts["alice"]
    assert await refused(portal, signed_in(), request_) == wire.Refused("denied", "access denied")


async def test_nothing_is_answered_to_who_had_the_name_before(
    portal: Portal, world: World, clock: FakeClock
) -> None:
    """Whoever has it now has another account."""
    world.since = clock.now() + timedelta(minutes=10)
    assert "earlier account" in (await refused(portal, certified("alice", "web"), wire.Nodes())).message
    assert isinstance(await portal.answer(signed_in(), wire.Nodes()), wire.NodeList)


async def test_a_broken_store_is_told_without_its_secrets(portal: Portal, world: World) -> None:
    """The private reason stays here."""
    world.broken = True
    reply = await refused(portal, signed_in(), wire.Recordings())
    assert reply.why == "failed"
    assert "/secret" not in reply.message


async def test_everyone_who_signed_in_may_know_the_host_ca(portal: Portal) -> None:
    """The cluster's name and host CA are what known_hosts needs."""
    reply = await portal.answer(signed_in(), wire.Cluster())
    assert isinstance(reply, wire.ClusterInfo)
    assert reply.cluster == "test"
    assert reply.host_ca[0].split()[0] == "ssh-ed25519"


async def test_refusals_cannot_flood_the_audit_log(
    portal: Portal, clock: FakeClock, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many of one user in an hour are events, on however many connections; the last says that more follow."""
    monkeypatch.setattr(service, "MAX_REFUSED", 2)
    request = wire.Recording(OTHER_SID)
    for number in range(REFUSALS_TOLD + 20):
        caller = replace(signed_in(), source=f"192.0.2.7:{number}")
        assert (await refused(portal, caller, request)).why == "denied"
    assert len(events) == REFUSALS_TOLD
    assert ["not reported" in str(event.fields["error"]) for event in events[-2:]] == [False, True]
    assert (await refused(portal, signed_in("mallory"), request)).why == "denied"
    assert events[-1].fields["user"] == "mallory"
    clock.advance(service.TOLD_AGAIN_S)
    await refused(portal, signed_in(), request)
    assert events[-1].fields["user"] == "alice"
    for name in ("x", "y", "z"):
        await refused(portal, signed_in(name), request)
    assert list(portal._told) == ["y", "z"]


async def test_sessions_that_one_may_join_are_listed(portal: Portal, world: World) -> None:
    """With the modes: where a role of one's own reaches the target and says so, and there is a terminal."""
    host = await world.targets()
    on = replace(tracker(OTHER_SID, "bob"), target_id=host[0].id, terminal=True, reason="why", invited=("alice",))
    world.live_sessions = [on, replace(on, sid=SID, terminal=False)]
    joining = RoleOptions(join_sessions=(JoinMode.OBSERVER,))
    world.known_roles = [Role("web", ("root",), {"*": "*"}, joining)]
    reply = await portal.answer(signed_in("alice"), wire.Sessions())
    assert isinstance(reply, wire.SessionList)
    [item] = reply.sessions
    assert (item.sid, item.user, item.joinable) == (OTHER_SID, "bob", ["observer"])
    assert (item.reason, item.invited) == ("why", ["alice"])


async def test_nodes_of_a_leaf_are_asked_for_there(portal: Portal, elsewhere: Elsewhere) -> None:
    """As this user, who may be somebody else in that cluster; one's own cluster is no leaf."""
    reply = await portal.answer(certified("alice", "web"), wire.Nodes("leaf"))
    assert isinstance(reply, wire.NodeList)
    assert [node.hostname for node in reply.nodes] == ["far1"]
    assert elsewhere.asked == [("alice", "leaf", "")]
    own = await portal.answer(certified("alice", "web"), wire.Nodes("TEST"))
    assert isinstance(own, wire.NodeList)
    assert [node.hostname for node in own.nodes] == ["web1", "web2"]


async def test_without_a_certificate_nobody_is_shown_elsewhere(portal: Portal) -> None:
    """The leaf has to be told by a certificate who asks."""
    reply = await portal.answer(signed_in(), wire.Nodes("leaf"))
    assert reply == wire.Refused("denied", "other clusters admit by certificate: run ilsh login")


async def test_people_of_a_root_may_ask_for_nodes(portal: Portal) -> None:
    """With the roles that they have here, not those of a namesake."""
    reply = await portal.answer(foreigner(), wire.Nodes())
    assert isinstance(reply, wire.NodeList)
    assert [node.hostname for node in reply.nodes] == ["db1"]


@pytest.mark.parametrize(
    "request_", [wire.Sign("key"), wire.Sessions(), wire.Recordings(), wire.Recording(SID), wire.Nodes("far")]
)
async def test_and_for_nothing_else(portal: Portal, events: Events, request_: wire.AnyRequest) -> None:
    """Not for a namesake's sessions, and not for the way on to a third cluster."""
    reply = await portal.answer(foreigner(), request_)
    assert reply == wire.Refused("denied", "people of other clusters can only ask for nodes here")
    assert [event.kind for event in events] == [Kind.AUTH_FAILURE]


async def test_a_namesakes_sessions_are_not_ones_own(portal: Portal, world: World) -> None:
    """Sessions and recordings of alice of another cluster are in no list of our alice."""
    world.live_sessions = [replace(each, origin_cluster="main") for each in world.live_sessions]
    world.infos = [RecordingInfo(SID, 1, START, {"user": "alice", "origin_cluster": "main"})]
    world.files = {SID: recording("alice", origin_cluster="main")}
    assert await portal.answer(certified("alice", "web"), wire.Sessions()) == wire.SessionList([])
    assert await portal.answer(certified("alice", "web"), wire.Recordings()) == wire.RecordingList([])
    reply = await portal.answer(certified("alice", "web"), wire.Recording(SID))
    assert isinstance(reply, wire.Refused)


async def test_lists_come_in_pages(portal: Portal, world: World) -> None:
    """Each session and recording once, behind the place where the page before ended."""
    [on] = [each for each in world.live_sessions if each.sid == SID]
    sids = [SessionId(f"00000000-0000-4000-8000-{number:012d}") for number in range(5)]
    world.live_sessions = [replace(on, sid=sid) for sid in sids]
    world.infos = [RecordingInfo(sid, 1, START, {"user": "alice"}) for sid in sids]
    live: list[str] = []
    after = ""
    while True:
        reply = await portal.answer(signed_in("alice"), wire.Sessions(after, 2))
        assert isinstance(reply, wire.SessionList)
        live += [item.sid for item in reply.sessions]
        if not (after := reply.next):
            break
    recorded: list[str] = []
    while True:
        answer = await portal.answer(signed_in("alice"), wire.Recordings(after, 2))
        assert isinstance(answer, wire.RecordingList)
        recorded += [item.sid for item in answer.recordings]
        if not (after := answer.next):
            break
    assert live == recorded == sids


@pytest.mark.parametrize("limit", [0, -1, wire.MAX_LISTED + 1, 1 << 62])
def test_a_page_has_its_bounds(limit: int) -> None:
    """Refused as malformed before anything is looked up."""
    for name in ("sessions", "recordings"):
        with pytest.raises(RemoteProtocolError):
            wire.parse_request(f'{{"type":"{name}","limit":{limit}}}'.encode())
    assert wire.encode(wire.Recordings()) == b'{"type":"recordings"}\n'  # an older gateway knows no fields
