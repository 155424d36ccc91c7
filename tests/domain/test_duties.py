"""Who does what, walked cell by cell: every session is minted, told of and tracked by exactly one server."""

import pytest

from interlock.domain.duties import (
    FORWARDER_DUTIES,
    LEAF_DUTIES,
    NODE_DUTIES,
    NONE,
    Duties,
    RecordingMode,
    leaf_accepts,
    root_duties,
    root_offers,
)
from interlock.domain.target import SubKind

EVERY = [(mode, sub_kind) for mode in RecordingMode for sub_kind in SubKind]


def servers(mode: RecordingMode, sub_kind: SubKind) -> list[Duties]:
    """The rows of the servers of such a session that know of duties: an OpenSSH server does not."""
    forwarder = FORWARDER_DUTIES[mode, sub_kind]
    if sub_kind is SubKind.AGENTLESS:
        return [forwarder]
    # auth signs `emits` into the forwarder's certificate
    return [forwarder, NODE_DUTIES[mode, forwarder.emits]]


def test_the_table_is_complete() -> None:
    """Every mode with every kind of target, and with both kinds of certificate."""
    assert set(FORWARDER_DUTIES) == set(EVERY)
    assert set(NODE_DUTIES) == {(mode, relieved) for mode in RecordingMode for relieved in (False, True)}


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
@pytest.mark.parametrize("duty", ["mints", "emits", "tracks"])
def test_each_duty_is_exactly_one_servers(mode: RecordingMode, sub_kind: SubKind, duty: str) -> None:
    """Not two, or there are duplicates; not none, or the session is lost. Also when nothing is recorded."""
    assert sum(getattr(server, duty) for server in servers(mode, sub_kind)) == 1


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_exactly_one_server_records_unless_it_is_off(mode: RecordingMode, sub_kind: SubKind) -> None:
    """And it is the one that has the events."""
    recording = [server for server in servers(mode, sub_kind) if server.records]
    assert len(recording) == (mode is not RecordingMode.OFF)
    assert all(server.emits for server in recording)


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_who_emits_also_tracks(mode: RecordingMode, sub_kind: SubKind) -> None:
    """ADR-0001: the tracker is where the record of the session is."""
    for server in servers(mode, sub_kind):
        assert server.emits == server.tracks


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_who_mints(mode: RecordingMode, sub_kind: SubKind) -> None:
    """Our node always, also when the forwarder records; the forwarder only where nobody else can."""
    assert FORWARDER_DUTIES[mode, sub_kind].mints is (sub_kind is SubKind.AGENTLESS)


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_the_forwarder_is_named_in_proxy_modes_only(mode: RecordingMode, sub_kind: SubKind) -> None:
    """Also for agentless targets: in node mode the forwarder records them and is not named."""
    assert FORWARDER_DUTIES[mode, sub_kind].names_forwarder is mode.at_proxy
    assert not any(duties.names_forwarder for duties in NODE_DUTIES.values())


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_the_mode_is_named_unless_it_is_node(mode: RecordingMode, sub_kind: SubKind) -> None:
    """By whoever emits: the acceptance list wants it absent in node mode."""
    named = [server.names_mode for server in servers(mode, sub_kind) if server.emits]
    assert named == [mode is not RecordingMode.NODE]


@pytest.mark.parametrize("mode", RecordingMode)
def test_where_recordings_are_made(mode: RecordingMode) -> None:
    """An agentless target cannot record itself, whatever the mode says; a node of ours does unless relieved."""
    off = mode is RecordingMode.OFF
    assert FORWARDER_DUTIES[mode, SubKind.NODE].records is mode.at_proxy
    assert FORWARDER_DUTIES[mode, SubKind.AGENTLESS].records is not off
    assert NODE_DUTIES[mode, False].records is not off
    assert not NODE_DUTIES[mode, True].records


CHAINS = [
    (root, leaf, sub_kind, insists)
    for root in RecordingMode
    for leaf in RecordingMode
    for sub_kind in SubKind
    for insists in (False, True)
]
"""A session through two clusters: both modes, the kind of target, and whether the leaf insists on recording."""


def chain(root: RecordingMode, leaf: RecordingMode, sub_kind: SubKind, insists: bool) -> dict[str, Duties]:
    """The rows of all servers of such a session, each by what it is told and by nothing else."""
    offered = root_offers(root)
    accepted = leaf_accepts(leaf, offered=offered, insists=insists, guarded=False)
    leaf_forwarder = LEAF_DUTIES[sub_kind] if accepted else FORWARDER_DUTIES[leaf, sub_kind]
    servers = {"root": root_duties(root, accepted=accepted), "leaf": leaf_forwarder}
    if sub_kind is SubKind.NODE:
        servers["node"] = NODE_DUTIES[leaf, leaf_forwarder.emits or accepted]
    return servers


@pytest.mark.parametrize(("root", "leaf", "sub_kind", "insists"), CHAINS)
@pytest.mark.parametrize("duty", ["mints", "emits", "tracks"])
def test_each_duty_is_exactly_one_servers_of_two_clusters(
    root: RecordingMode, leaf: RecordingMode, sub_kind: SubKind, insists: bool, duty: str
) -> None:
    """Root, leaf and node together do what one cluster does: nothing twice, nothing never."""
    assert sum(getattr(server, duty) for server in chain(root, leaf, sub_kind, insists).values()) == 1


@pytest.mark.parametrize(("root", "leaf", "sub_kind", "insists"), CHAINS)
def test_which_cluster_records(root: RecordingMode, leaf: RecordingMode, sub_kind: SubKind, insists: bool) -> None:
    """The root if it would and the leaf does not insist; the leaf as by its own mode otherwise."""
    servers = chain(root, leaf, sub_kind, insists)
    off = leaf is RecordingMode.OFF
    at_root = root.at_proxy and (off or not insists)
    assert servers["root"].records is at_root
    assert sum(server.records for server in servers.values()) == (at_root or not off)
    if not at_root:
        assert servers["leaf"] == FORWARDER_DUTIES[leaf, sub_kind]


@pytest.mark.parametrize("mode", RecordingMode)
@pytest.mark.parametrize("insists", [False, True])
def test_a_leaf_keeps_what_its_roles_restrict(mode: RecordingMode, insists: bool) -> None:
    """Whoever has the record enforces it, and that is not another cluster; also if nothing is recorded."""
    assert not leaf_accepts(mode, offered=True, insists=insists, guarded=True)


@pytest.mark.parametrize(("root", "leaf", "sub_kind", "insists"), CHAINS)
def test_the_root_never_mints(root: RecordingMode, leaf: RecordingMode, sub_kind: SubKind, insists: bool) -> None:
    """The ID comes from the end of the way: from the node, or from the leaf's forwarder in its place."""
    servers = chain(root, leaf, sub_kind, insists)
    assert servers["leaf" if sub_kind is SubKind.AGENTLESS else "node"].mints
    assert not servers["root"].mints


@pytest.mark.parametrize("mode", [mode for mode in RecordingMode if not mode.at_proxy])
def test_a_forwarder_without_duties_has_none_at_all(mode: RecordingMode) -> None:
    """In node modes it only carries the ID."""
    assert FORWARDER_DUTIES[mode, SubKind.NODE] is NONE
    assert not any(getattr(NONE, name) for name in Duties.__dataclass_fields__)


@pytest.mark.parametrize("mode", RecordingMode)
def test_a_node_without_a_forwarder_does_everything(mode: RecordingMode) -> None:
    """A certificate that does not say so never takes a duty away, also not in a proxy mode (ADR-0002)."""
    duties = NODE_DUTIES[mode, False]
    assert (duties.mints, duties.emits, duties.tracks) == (True, True, True)
    assert mode.at_node.sync == mode.sync
    assert NODE_DUTIES[mode.at_node, False] == duties
