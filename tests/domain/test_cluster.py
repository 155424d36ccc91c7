"""Clusters that trust each other: names, mappings of roles, and who may go there."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Denied
from interlock.domain.cluster import (
    LeafPass,
    Relation,
    TrustedCluster,
    door_of,
    format_role_map,
    mapped_roles,
    parse_role_map,
    split_cluster,
)
from interlock.domain.identity import Claims, Identity
from interlock.testing.clock import START

LEAF = TrustedCluster(
    "leaf", "11111111-0000-4000-8000-000000000001", Relation.LEAF, START, proxy="[2001:db8::1]:3023"
)
DEEP = TrustedCluster("eu.leaf", "11111111-0000-4000-8000-000000000002", Relation.LEAF, START, proxy="eu:3023")
CLAIMS = Claims(Identity("alice", ("dev", "ops"), "main"), ("root",), START, START + timedelta(hours=1), 7)


@pytest.mark.parametrize(
    ("name", "node", "cluster"),
    [
        ("web1.leaf", "web1", LEAF),
        ("WEB1.LEAF", "WEB1", LEAF),
        ("db.example.com.leaf", "db.example.com", LEAF),
        ("web1.eu.leaf", "web1", DEEP),
    ],
)
def test_a_node_of_a_leaf_is_named_by_both(name: str, node: str, cluster: TrustedCluster) -> None:
    """ssh lowers names of hosts, nodes have dots in theirs, and of two clusters that fit the longer counts."""
    assert split_cluster(name, [LEAF, DEEP]) == (node, cluster)


@pytest.mark.parametrize("name", ["web1", "leaf", ".leaf", "web1.leafy", "web1leaf", "leaf.web1"])
def test_other_names_are_of_no_leaf(name: str) -> None:
    """The suffix is the whole name of a cluster, behind a dot and a node."""
    assert split_cluster(name, [LEAF, DEEP]) is None


LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROLE = st.builds(str.__add__, st.sampled_from(LETTERS), st.text(f"{LETTERS}0123456789_-", max_size=8))


@given(st.dictionaries(ROLE | st.just("*"), st.lists(ROLE, min_size=1, unique=True).map(tuple)))
def test_a_mapping_reads_as_it_was_written(roles: dict[str, tuple[str, ...]]) -> None:
    """What ls prints can be given to set."""
    assert parse_role_map(format_role_map(roles)) == roles


@pytest.mark.parametrize("text", ["dev", "dev:", ":dev", "dev:a b", "de v:a", "dev:*", "dev:-x", "a:b:c"])
def test_half_a_mapping_is_none(text: str) -> None:
    """Nobody gets a role by a typing error; any role here is not something to give away."""
    with pytest.raises(ValueError, match="not a"):
        parse_role_map(text)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (("admin",), ("ops", "dev", "guest")),
        (("dev",), ("guest",)),
        (("nobody-knows",), ("guest",)),
        ((), ()),
        (("*",), ("guest",)),
    ],
)
def test_roles_count_by_the_mapping_alone(theirs: tuple[str, ...], ours: tuple[str, ...]) -> None:
    """A role's name means nothing in the other cluster; who has no role has none here either."""
    assert mapped_roles(parse_role_map("admin:ops,admin:dev,*:guest"), theirs) == ours


def test_without_a_wildcard_what_is_not_listed_counts_for_nothing() -> None:
    """Absent means denied."""
    assert mapped_roles(parse_role_map("admin:ops"), ("dev", "ops")) == ()


def test_the_door_of_a_cluster_is_no_node() -> None:
    """Even if a leaf took the ID of a node of ours for its own."""
    assert door_of(LEAF.id) == f"cluster/{LEAF.id}"


def test_a_pass_says_who_goes_where() -> None:
    """With the roles that count now, not those of the certificate."""
    granted = LeafPass.decide(CLAIMS, ("dev",), LEAF, login="root", node="web1", now=START)
    assert granted.identity == Identity("alice", ("dev",), "main")
    assert (granted.name, granted.addr, granted.expires) == (
        "web1.leaf",
        "[2001:db8::1]:3023",
        CLAIMS.valid_before,
    )
    assert LeafPass.decide(CLAIMS, (), LEAF, login="", node="", now=START).name == "leaf"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"now": START + timedelta(hours=1)}, "your certificate has expired"),
        ({"leaf": TrustedCluster("leaf", LEAF.id, Relation.LEAF, START, enabled=False)}, "closed"),
        ({"leaf": TrustedCluster("leaf", LEAF.id, Relation.ROOT, START)}, "closed"),
        ({"login": "ro ot"}, "not a valid login or node"),
        ({"node": "a%b"}, "not a valid login or node"),
        ({"node": ""}, "not a valid login or node"),
    ],
)
def test_no_pass_without_reason(changes: dict[str, object], text: str) -> None:
    """Each refusal says why."""
    asked = {"leaf": LEAF, "login": "root", "node": "web1", "now": START} | changes
    with pytest.raises(Denied, match=text):
        LeafPass.decide(CLAIMS, ("dev",), **asked)  # type: ignore[arg-type]


def test_nobody_else_makes_passes() -> None:
    """Forging one needs the import of a private name."""
    with pytest.raises(TypeError, match="LeafPass comes from"):
        LeafPass(CLAIMS.identity, "root", "web1", LEAF, START, object())
