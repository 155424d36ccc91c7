"""Two clusters tell each other what they must know, for one use of a token."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, SignInFailed
from interlock.domain.audit import Kind
from interlock.domain.cluster import Relation
from interlock.domain.duties import RecordingMode
from interlock.ports import Cluster, TokenKind, TrustBundle
from interlock.services.audit.emitter import EventFactory
from interlock.services.clusters.trusting import LeafRequest, RootReply, Trusting, checked_root
from interlock.services.keys.joining import MAX_FAILURES, TokenText, create_token
from interlock.testing.auth import Stores
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import MemoryTrusts

HERE = Cluster("11111111-0000-4000-8000-000000000001", "main", RecordingMode.PROXY, START)
LEAF_ID = "22222222-0000-4000-8000-000000000002"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZha2UgaG9zdCBrZXkgZm9yIHRlc3RzIG9ubHkhISEh"
OWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG91ciBvd24ga2V5LCBmb3IgdGVzdHMgb25seSEhISEh"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAwEAAQ=="
SOURCE = "192.0.2.7"


class Root:
    """The root's side over stores in memory."""

    def __init__(self) -> None:
        self.stores, self.trusts, self.clock, self.entropy = Stores(), MemoryTrusts(), FakeClock(), FakeEntropy()
        self.trusting = Trusting(
            cluster=HERE,
            tokens=self.stores,
            trusts=self.trusts,
            authorities=self.stores,
            audit=self.stores,
            factory=EventFactory(cluster=HERE.name, clock=self.clock, entropy=self.entropy),
            clock=self.clock,
        )

    async def token(self, kind: TokenKind = TokenKind.CLUSTER) -> TokenText:
        """A fresh token."""
        pin = "p" * 43
        return await create_token(self.stores, pin=pin, clock=self.clock, entropy=self.entropy, kind=kind)


@pytest.fixture
def root() -> Root:
    """A new one."""
    return Root()


def request(token: TokenText, **changes: object) -> LeafRequest:
    """What a leaf sends."""
    asked = LeafRequest(token.id, token.secret, "Leaf", LEAF_ID, "leaf.example:3024", (f"{KEY} a-comment",))
    return replace(asked, **changes)  # type: ignore[arg-type]


async def test_a_leaf_is_taken_in(root: Root) -> None:
    """The root knows where it is and who vouches for it; the leaf gets the root's user authority."""
    reply = await root.trusting.accept(request(await root.token()), source=SOURCE)
    assert reply == RootReply("main", HERE.id, ("user-ca",))
    [leaf] = await root.trusts.trusted_clusters(Relation.LEAF)
    assert (leaf.name, leaf.id, leaf.proxy, leaf.host_cas) == ("leaf", LEAF_ID, "leaf.example:3024", (KEY,))
    [told] = root.stores.stored_events
    assert told.kind is Kind.CLUSTER_CREATE
    assert {"name": "Leaf", "relation": "leaf", "addr.remote": SOURCE}.items() <= told.fields.items()


async def test_the_port_may_be_left_out(root: Root) -> None:
    """A proxy has one port unless somebody says otherwise."""
    await root.trusting.accept(request(await root.token(), proxy="leaf.example"), source=SOURCE)
    assert (await root.trusts.trusted_cluster(Relation.LEAF, "leaf")).proxy == "leaf.example:3023"


async def test_a_token_counts_once_and_for_clusters_only(root: Root) -> None:
    """A node's token does not make a cluster a leaf; one text for every cause."""
    spent, nodes = await root.token(), await root.token(TokenKind.NODE)
    await root.trusting.accept(request(spent), source=SOURCE)
    late = await root.token()
    root.clock.advance(3601)
    for token, reason in ((spent, "has expired"), (late, "has expired"), (nodes, "no cluster join token")):
        with pytest.raises(SignInFailed, match="the join token is not valid") as caught:
            await root.trusting.accept(request(token), source=SOURCE)
        assert reason in caught.value.reason
    fresh = await root.token()
    await root.trusting.accept(request(fresh), source=SOURCE)
    with pytest.raises(SignInFailed) as caught:
        await root.trusting.accept(request(fresh), source=SOURCE)
    assert "was used up before" in caught.value.reason


async def test_guessing_is_slowed(root: Root) -> None:
    """By source."""
    wrong = replace(await root.token(), secret="x" * 43)
    for _ in range(MAX_FAILURES):
        with pytest.raises(SignInFailed, match="not valid"):
            await root.trusting.accept(request(wrong), source=SOURCE)
    with pytest.raises(SignInFailed, match="wait a minute"):
        await root.trusting.accept(request(await root.token()), source=SOURCE)
    await root.trusting.accept(request(await root.token()), source="192.0.2.8")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "two words"}, "not a valid name"),
        ({"name": "MAIN"}, "both clusters are called main"),
        ({"id": HERE.id}, "both clusters are called main"),
        ({"id": "leaf"}, "cannot be taken in"),
        ({"proxy": "-oProxyCommand=x"}, "not an address"),
        ({"host_cas": ()}, "1 to 8 Ed25519 keys"),
        ({"host_cas": (RSA,)}, "1 to 8 Ed25519 keys"),
        ({"host_cas": ("garbage",)}, "cannot be taken in"),
    ],
)
async def test_what_cannot_be_is_refused_and_costs_no_token(
    root: Root, changes: dict[str, object], text: str
) -> None:
    """The leaf's administrator can correct it and try again."""
    token = await root.token()
    with pytest.raises(Denied, match=text):
        await root.trusting.accept(request(token, **changes), source=SOURCE)
    await root.trusting.accept(request(token), source=SOURCE)


async def test_a_name_is_one_clusters(root: Root) -> None:
    """Another cluster cannot take over where people mean to go; the same one may come again."""
    await root.trusting.accept(request(await root.token()), source=SOURCE)
    token = await root.token()
    with pytest.raises(Denied, match="another leaf cluster is called Leaf already"):
        await root.trusting.accept(request(token, id="33333333-0000-4000-8000-000000000003"), source=SOURCE)
    await root.trusting.accept(request(token, proxy="leaf.example:4000"), source=SOURCE)
    assert [each.proxy for each in await root.trusts.trusted_clusters()] == ["leaf.example:4000"]


def test_a_leaf_checks_the_root_as_well() -> None:
    """Its name and keys become policy here."""
    now = START + timedelta(hours=1)
    other = Cluster(LEAF_ID, "leaf", RecordingMode.NODE, START)
    own = TrustBundle((OWN,), ())
    root = checked_root(RootReply("main", HERE.id, (KEY,)), other, own, now, roles={"a": ("b",)}, insists=True)
    assert (root.name, root.relation, root.user_cas, root.roles, root.insists, root.created) == (
        "main",
        Relation.ROOT,
        (KEY,),
        {"a": ("b",)},
        True,
        now,
    )
    for reply in (RootReply("Leaf", HERE.id, (KEY,)), RootReply("main", HERE.id, ()), RootReply("m", "x", (KEY,))):
        with pytest.raises(Denied, match="the root cluster cannot be trusted"):
            checked_root(reply, other, own, now, roles={}, insists=False)
    with pytest.raises(Denied, match="it calls our own authority its own"):
        checked_root(RootReply("main", HERE.id, (KEY, OWN)), other, own, now, roles={}, insists=False)
