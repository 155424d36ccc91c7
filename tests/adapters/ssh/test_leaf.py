"""Through two gateways to a target: one session, one ID, one record, and every refusal in words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh import leaf as leaf_module
from interlock.adapters.ssh import passage
from interlock.core.errors import NotFound, TargetError
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, FileTransfer, RoleOptions
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.handover import accepted, refused
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START
from interlock.testing.plain_target import Chatter, bulk, plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway, gateway

pytestmark = pytest.mark.slow


@dataclass
class Clusters:
    """A root and a leaf, each a gateway of its own."""

    root: Gateway
    leaf: Gateway

    async def trust(self, *, insists: bool = False, **changes: Any) -> None:
        """Both sides of the trust, as administrators make it."""
        to_leaf = TrustedCluster(
            "branch",
            self.leaf.cluster.id,
            Relation.LEAF,
            START,
            host_cas=(self.leaf.authority.export("host"),),
            proxy=f"{LOOPBACK}:{self.leaf.port}",
        )
        to_root = TrustedCluster(
            "main",
            self.root.cluster.id,
            Relation.ROOT,
            START,
            user_cas=(self.root.authority.export("user"),),
            roles={"access": ("visitor",)},
            insists=insists,
        )
        await self.root.trusts.put_trust(replace(to_leaf, **changes))
        await self.leaf.trusts.put_trust(to_root)
        await self.leaf.door.refresh()

    async def wait_clean(self) -> None:
        """Nothing is left in either."""
        await self.leaf.wait_clean()
        await self.root.wait_clean()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Clusters]:
    """Both, with an agentless host in the leaf, and clean at the end."""
    async with (
        gateway(tmp_path / "leaf", cluster_name="branch") as leaf,
        gateway(tmp_path / "root", cluster_name="main", dial_timeout=3.0) as root,
    ):
        leaf.users.known_roles["visitor"] = Role("visitor", (LOGIN,), {"*": "*"})
        clusters = Clusters(root, leaf)
        leaf.idle = root.idle
        async with plain_target(leaf):
            root.idle = leaf.idle
            yield clusters
            await clusters.wait_clean()


def names(events: list[dict[str, Any]]) -> list[str]:
    """What kinds of events of sessions there are."""
    return sorted({str(each["event"]) for each in events if str(each["event"]).startswith("session.")})


ENTIRE = ["session.data", "session.end", "session.leave", "session.start", "session.upload"]
"""The last one only if something is recorded."""


@pytest.mark.parametrize("insists", [False, True])
@pytest.mark.parametrize("leaf_mode", RecordingMode)
@pytest.mark.parametrize("root_mode", RecordingMode)
async def test_one_cluster_records_and_the_other_knows(
    pair: Clusters, root_mode: RecordingMode, leaf_mode: RecordingMode, insists: bool
) -> None:
    """Whatever the modes are: one record, and one line under the same ID in the other audit log."""
    await pair.trust(insists=insists)
    pair.root.record_in(root_mode)
    pair.leaf.record_in(leaf_mode)
    async with await pair.root.client("plain1.branch") as client:
        done = await client.run("exit 7", check=False)
    assert done.exit_status == 7
    await pair.wait_clean()
    at_root = root_mode.at_proxy and not (insists and leaf_mode is not RecordingMode.OFF)
    recorder, other = (pair.root, pair.leaf) if at_root else (pair.leaf, pair.root)
    for world in (recorder, other):
        await world.sessions._uploads.wait_idle()
    told, trace = await recorder.events(), await other.events()
    kept = at_root or leaf_mode is not RecordingMode.OFF
    assert names(told) == ENTIRE[: None if kept else -1]
    assert names(trace) == ["session.elsewhere"]
    assert len({each["sid"] for each in (*told, *trace) if "sid" in each}) == 1
    [elsewhere] = trace
    started = next(each for each in told if each["event"] == "session.start")
    for event in (elsewhere, started):
        assert (event["user"], event["user_cluster_name"], event["server_hostname"]) == (USER, "main", "plain1")
    assert elsewhere["recorded_in"] == ("main" if at_root else "branch")
    assert started["addr.remote"] == elsewhere["addr.remote"]
    assert started.get("target_cluster") == ("branch" if at_root else None)
    assert started.get("origin_cluster") == (None if at_root else "main")


async def test_every_byte_arrives_through_two_relays(pair: Clusters) -> None:
    """Both ways at once, and by many sessions on one connection."""
    await pair.trust()
    data = bulk(400_000)
    async with await pair.root.client("plain1.branch") as client:

        async def one() -> None:
            async with client.create_process(f"both {len(data)}", encoding=None) as process:
                process.stdin.write(data)
                process.stdin.write_eof()
                assert await process.stdout.read() == data
                assert (await process.wait()).exit_status == 0

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(one())
    sids = {each["sid"] for each in await pair.root.events("session.start")}
    assert len(sids) == 8
    assert {each["sid"] for each in await pair.leaf.events("session.elsewhere")} == sids


async def test_a_jump_leads_into_a_leaf(pair: Clusters) -> None:
    """The root answers the inner handshake under the name that the person wrote; no other port is reached."""
    await pair.trust()
    async with await pair.root.client("", user=USER) as outer:
        async with await pair.root.jump(outer, "plain1.branch") as client:
            assert (await client.run("exit 3")).exit_status == 3
        with pytest.raises(asyncssh.ChannelOpenError, match=r"only the SSH port of plain1\.branch"):
            await pair.root.jump(outer, "plain1.branch", port=80)
    assert len(await pair.root.events("session.start")) == 1


async def refusal(world: Gateway, target: str = "plain1.branch", **options: Any) -> str:
    """Why a session is refused, and that the audit log says it too."""
    async with await world.client(target, **options) as client:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.run("exit 0")
    rejected = await world.events("session.rejected")
    assert caught.value.reason in [each["message"] for each in rejected]
    return str(caught.value.reason)


async def test_the_leaf_decides_by_its_own_roles(pair: Clusters) -> None:
    """Not by the root's role, which allows everything, nor by a role of the same name of its own."""
    await pair.trust()
    pair.leaf.users.known_roles["visitor"] = Role("visitor", ("guest",), {"*": "*"})
    assert await refusal(pair.root) == "cluster branch: access denied: you may not log in as root on plain1"
    del pair.leaf.users.known_roles["visitor"]
    expected = "cluster branch: access denied: none of your roles counts in the cluster branch"
    assert await refusal(pair.root) == expected
    [told, _] = await pair.leaf.events("session.rejected")
    assert (told["user"], told["user_cluster_name"]) == (USER, "main")
    assert str(told["addr.remote"]).startswith(LOOPBACK)


async def test_a_leaf_whose_roles_restrict_files_keeps_the_record(pair: Clusters) -> None:
    """The root, which would record, could otherwise let them pass."""
    await pair.trust()
    strict = RoleOptions(file_transfer=FileTransfer.NONE)
    pair.leaf.users.known_roles["visitor"] = Role("visitor", (LOGIN,), {"*": "*"}, strict)
    async with await pair.root.client("plain1.branch") as client:
        done = await client.run("scp -t /tmp", check=False)
    assert str(done.stderr) == "your role does not allow uploads\r\n"
    await pair.wait_clean()
    assert await pair.leaf.events("session.elsewhere") == []
    [told] = await pair.root.events("session.elsewhere")
    assert told["recorded_in"] == "branch"


async def test_names_that_lead_nowhere(pair: Clusters) -> None:
    """Each says in which cluster there is no such node."""
    await pair.trust()
    assert (await refusal(pair.root, "plain2.branch")).startswith("cluster branch: unknown node plain2")
    unknown = await refusal(pair.root, "plain1.twig")
    assert unknown.startswith("unknown node plain1.twig: there is none here, and no leaf cluster")


async def test_nobody_goes_on_from_a_leaf(pair: Clusters) -> None:
    """A leaf of a leaf is not reached, even if both trust."""
    await pair.trust()
    far = TrustedCluster("far", pair.root.cluster.id, Relation.LEAF, START, proxy=f"{LOOPBACK}:1")
    await pair.leaf.trusts.put_trust(far)
    text = await refusal(pair.root, "plain1.far.branch")
    assert text == "cluster branch: from the cluster main there is no way on to other clusters"


@pytest.mark.parametrize("side", ["root", "leaf"])
async def test_an_ended_trust_is_noticed_by_the_next_session(
    pair: Clusters, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """On a connection that is open: either administrator can end it."""
    monkeypatch.setattr(passage, "JUDGEMENT_S", 0.0)
    await pair.trust()
    async with await pair.root.client("plain1.branch") as client:
        assert (await client.run("exit 0")).exit_status == 0
        if side == "root":
            await pair.root.trusts.remove_trust(Relation.LEAF, "branch")
            text = "the cluster branch is no leaf cluster of this gateway any more"
        else:
            await pair.leaf.trusts.remove_trust(Relation.ROOT, "main")
            text = "the cluster branch does not trust the cluster main any more"
        with pytest.raises(asyncssh.ChannelOpenError, match=text):
            await client.run("exit 0")


async def test_a_user_who_is_gone_reaches_no_leaf(pair: Clusters) -> None:
    """The root lets nobody go whom it does not know any more."""
    await pair.trust()
    async with await pair.root.client("plain1.branch") as client:
        del pair.root.users.people[USER]
        assert (await client.run("exit 0")).exit_status == 0
    options = await pair.root._settings(USER)
    del pair.root.users.people[USER]
    connection = await asyncssh.connect(LOOPBACK, pair.root.port, username=f"{LOGIN}%plain1.branch", **options)
    async with connection as client:
        with pytest.raises(asyncssh.ChannelOpenError, match="your account no longer exists"):
            await client.run("exit 0")


async def test_a_leaf_that_does_not_trust_this_cluster(pair: Clusters) -> None:
    """It knows no certificate of ours."""
    await pair.trust()
    await pair.leaf.trusts.remove_trust(Relation.ROOT, "main")
    await pair.leaf.door.refresh()
    assert await refusal(pair.root) == (
        "the cluster branch does not accept this gateway's users: it may not trust this cluster any more"
    )
    [told] = await pair.leaf.events("auth")
    assert "an authority that is not ours" in str(told["error"])


async def test_an_impostor_of_the_leaf_learns_nothing(pair: Clusters) -> None:
    """A proxy without a certificate of the leaf's host authority for the leaf's ID."""
    await pair.trust(host_cas=(pair.root.authority.export("host"),))
    wrong = "host key verification failed for the cluster branch: its proxy is not the one that is trusted"
    assert await refusal(pair.root) == wrong
    await pair.root.trusts.remove_trust(Relation.LEAF, "branch")
    await pair.trust(id=pair.root.cluster.id)
    assert (await refusal(pair.root)).startswith("host key verification failed for the cluster branch")
    assert await pair.leaf.events("session.elsewhere") == []


async def test_a_leaf_that_is_away(pair: Clusters) -> None:
    """One sentence."""
    await pair.trust(proxy=f"{LOOPBACK}:1")
    assert await refusal(pair.root) == "the cluster branch is unreachable: connection refused"


async def test_a_disabled_trust_is_closed(pair: Clusters) -> None:
    """On the root's side."""
    await pair.trust(enabled=False)
    assert await refusal(pair.root) == "the cluster branch is closed to this gateway's users for now"


async def test_people_of_the_root_are_sent_to_their_gateway(pair: Clusters) -> None:
    """Their own certificate opens nothing at the leaf, not even to jump."""
    await pair.trust()
    options = await pair.root._settings(USER)
    options["known_hosts"] = None
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(LOOPBACK, pair.leaf.port, username=f"{LOGIN}%plain1", **options)
    await pair.leaf.wait_clean()
    [told] = await pair.leaf.events("auth")
    assert "was not made for a session here" in str(told["error"])


# --- leaves that are not what they should be ---------------------------------------------------------

HANDLER = "_process_hand_over_at_interlock_dot_dev_global_request"


@pytest.fixture
async def strange(pair: Clusters) -> AsyncIterator[Callable[[], None]]:
    """An SSH server with the leaf's host certificate, in the leaf's place; it knows nothing of hand-overs."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = await pair.leaf.authority.issue_host(key.export_public_key().decode(), [pair.leaf.cluster.id])
    acceptor = await asyncssh.listen(
        LOOPBACK,
        0,
        server_factory=Chatter,
        server_host_keys=[(key, asyncssh.import_certificate(line))],
        encoding=None,
        config=None,
    )
    await pair.trust(proxy=f"{LOOPBACK}:{acceptor.get_port()}")
    yield acceptor.close
    acceptor.close()
    await acceptor.wait_closed()


@pytest.mark.usefixtures("strange")
async def test_an_older_leaf_is_named_as_such(pair: Clusters) -> None:
    """It would record beside the root; so nothing goes there."""
    assert (await refusal(pair.root)).endswith("it runs an older Interlock")


TARGET = Target(DaemonId("33333333-0000-4000-8000-000000000003"), "far1", "10.0.0.5", 22, SubKind.NODE)


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b" ", "protocol error"),
        (b"{}", "protocol error"),
        (b"\xff" * 100_000, "protocol error"),
        (refused("closed for lunch", by_policy=True), "cluster branch: closed for lunch"),
        (refused("no route to host", by_policy=False), "cluster branch: no route to host"),
    ],
)
async def test_a_leafs_answer_is_judged(
    pair: Clusters, monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str
) -> None:
    """Nonsense ends the attempt; a refusal is passed on."""
    monkeypatch.setattr(
        asyncssh.SSHServerConnection,
        HANDLER,
        lambda self, packet: self._report_global_response(answer),  # noqa: ARG005
        raising=False,
    )
    assert text in await refusal(pair.root)


@pytest.mark.usefixtures("strange")
async def test_a_leaf_that_claims_the_record_is_the_roots_unasked(
    pair: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root records what it offered to record, and nothing because somebody else says so."""
    pair.root.record_in(RecordingMode.NODE)
    answer = accepted(TARGET, Access(), root_records=True)
    monkeypatch.setattr(
        asyncssh.SSHServerConnection,
        HANDLER,
        lambda self, packet: self._report_global_response(answer),  # noqa: ARG005
        raising=False,
    )
    async with await pair.root.client("plain1.branch") as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.run("exit 0")
    assert await pair.root.events("session.start") == []


@pytest.mark.usefixtures("strange")
async def test_a_leaf_that_hangs_up_on_the_question(pair: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its words."""
    monkeypatch.setattr(
        asyncssh.SSHServerConnection,
        HANDLER,
        lambda self, packet: self.disconnect(7, "no questions please"),  # noqa: ARG005
        raising=False,
    )
    assert await refusal(pair.root) == "the cluster branch ended the connection: no questions please"


@pytest.mark.usefixtures("strange")
async def test_a_leaf_that_never_answers(pair: Clusters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up after a while."""
    monkeypatch.setattr(asyncssh.SSHServerConnection, HANDLER, lambda *_: None, raising=False)
    assert await refusal(pair.root) == "the cluster branch is unreachable: it does not answer"


# --- the portal of a leaf ----------------------------------------------------------------------------


async def test_the_portal_of_a_leaf_tells_ones_nodes(pair: Clusters) -> None:
    """With the logins of the roles that one has there."""
    await pair.trust()
    portals = leaf_module.LeafPortals(pair.root.authority, pair.root.proxy._parts.leaves)
    await pair.root.credential()
    claims = await claims_of(pair.root)
    [node] = await portals.nodes(claims, "branch", "192.0.2.7:50022")
    assert (node.hostname, node.logins) == ("plain1", [LOGIN])
    with pytest.raises(NotFound, match="unknown cluster twig"):
        await portals.nodes(claims, "twig", "")
    await pair.trust(proxy=f"{LOOPBACK}:1")
    with pytest.raises(TargetError, match="cannot reach the gateway"):
        await portals.nodes(claims, "branch", "")


async def claims_of(world: Gateway) -> Any:
    """The claims of a fresh certificate of the user."""
    credential = await world.credential()
    return world.door.read(credential.blob, now=world.parts.gate.clock.now())


# --- joining -----------------------------------------------------------------------------------------


async def joined(world: Gateway, sid: str, **options: Any) -> str:
    """Why somebody may not join a session."""
    async with await world.client("", user=f"join%{sid}", **options) as client:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.create_process(term_type="xterm")
    return str(caught.value.reason)


async def live_sid(world: Gateway) -> str:
    """The one session that this cluster has the record of."""
    [sid] = {str(each["sid"]) for each in await world.events("session.start")}
    return sid


async def test_a_session_in_a_leaf_is_not_joined_from_the_root(pair: Clusters) -> None:
    """Not even by its owner: the leaf's roles say who may see what happens there."""
    await pair.trust()
    async with (
        await pair.root.client("plain1.branch") as client,
        client.create_process("cat", term_type="xterm"),
    ):
        text = await joined(pair.root, await live_sid(pair.root))
    assert text == "this session is in the cluster branch: it cannot be joined from here"


async def test_a_namesake_does_not_own_a_session(pair: Clusters) -> None:
    """Alice of the leaf, who may join nothing by her roles, is not alice of the root."""
    await pair.trust(insists=True)
    async with (
        await pair.root.client("plain1.branch") as client,
        client.create_process("cat", term_type="xterm"),
    ):
        text = await joined(pair.leaf, await live_sid(pair.leaf))
    assert text == "access denied: no role of yours lets you join this session"


async def test_nobody_joins_from_a_root(pair: Clusters) -> None:
    """By whatever name a session of the leaf is called."""
    await pair.trust(insists=True)
    async with (
        await pair.root.client("plain1.branch") as client,
        client.create_process("cat", term_type="xterm"),
    ):
        sid = await live_sid(pair.leaf)
        text = await joined(pair.root, f"{sid}.branch")
    assert text == "a session in the cluster branch cannot be joined from here"
    assert await pair.leaf.events("session.join") == []
