"""Who does what, walked cell by cell: every session is minted, recorded and tracked by exactly one server."""

import pytest

from interlock.domain.duties import FORWARDER_DUTIES, NODE_DUTIES, NONE, Duties, RecordingMode
from interlock.domain.target import SubKind

EVERY = [(mode, sub_kind) for mode in RecordingMode for sub_kind in SubKind]


def servers(mode: RecordingMode, sub_kind: SubKind) -> list[Duties]:
    """The rows of the servers of such a session that know of duties: an OpenSSH server does not."""
    forwarder = FORWARDER_DUTIES[mode, sub_kind]
    if sub_kind is SubKind.AGENTLESS:
        return [forwarder]
    return [forwarder, NODE_DUTIES[forwarder.records]]  # auth signs `records` into the forwarder's certificate


def test_the_table_is_complete() -> None:
    """Every mode with every kind of target, and both kinds of certificate."""
    assert set(FORWARDER_DUTIES) == set(EVERY)
    assert set(NODE_DUTIES) == {False, True}


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
@pytest.mark.parametrize("duty", ["mints", "records", "tracks"])
def test_each_duty_is_exactly_one_servers(mode: RecordingMode, sub_kind: SubKind, duty: str) -> None:
    """Not two, or there are duplicates; not none, or the session is lost."""
    assert sum(getattr(server, duty) for server in servers(mode, sub_kind)) == 1


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_who_records_also_tracks(mode: RecordingMode, sub_kind: SubKind) -> None:
    """ADR-0001: the tracker is where the recording is."""
    for server in servers(mode, sub_kind):
        assert server.records == server.tracks


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_who_mints(mode: RecordingMode, sub_kind: SubKind) -> None:
    """Our node always, also when the forwarder records; the forwarder only where nobody else can."""
    assert FORWARDER_DUTIES[mode, sub_kind].mints is (sub_kind is SubKind.AGENTLESS)


@pytest.mark.parametrize(("mode", "sub_kind"), EVERY)
def test_the_forwarder_is_named_in_proxy_mode_only(mode: RecordingMode, sub_kind: SubKind) -> None:
    """Also for agentless targets: in node mode the forwarder records them and is not named."""
    assert FORWARDER_DUTIES[mode, sub_kind].names_forwarder is (mode is RecordingMode.PROXY)
    assert not any(duties.names_forwarder for duties in NODE_DUTIES.values())


@pytest.mark.parametrize(
    ("mode", "sub_kind", "records"),
    [
        (RecordingMode.NODE, SubKind.NODE, False),
        (RecordingMode.NODE, SubKind.AGENTLESS, True),
        (RecordingMode.PROXY, SubKind.NODE, True),
        (RecordingMode.PROXY, SubKind.AGENTLESS, True),
    ],
)
def test_where_recordings_are_made(mode: RecordingMode, sub_kind: SubKind, records: bool) -> None:
    """An agentless target cannot record itself, whatever the mode says."""
    assert FORWARDER_DUTIES[mode, sub_kind].records is records


def test_a_forwarder_without_duties_has_none_at_all() -> None:
    """In node mode it only carries the ID."""
    assert FORWARDER_DUTIES[RecordingMode.NODE, SubKind.NODE] is NONE
    assert Duties(mints=False, records=False, tracks=False, names_forwarder=False) == NONE


def test_a_node_without_a_forwarder_does_everything() -> None:
    """A certificate that does not say so never takes a duty away."""
    assert NODE_DUTIES[False] == Duties(mints=True, records=True, tracks=True, names_forwarder=False)
