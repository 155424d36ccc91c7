"""When a node's session is the same as one of ours, and when it must not be taken for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.rpc.guard import NODES_TELL
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.twin import CLOCKS_APART, DEDUPLICATED, NODE_SID, Twin, folded, same_session
from interlock.testing.clock import START

OURS = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
THEIRS = SessionId("bbbbbbbb-0000-4000-8000-000000000002")
NODE, OTHER, PROXY = DaemonId("node"), DaemonId("other"), DaemonId("proxy")
FOUND = Twin(OURS, NODE, "10.0.0.1:40000")
NAMED = replace(FOUND, named=THEIRS)
COMMON: dict[str, JsonValue] = {
    "event": "session.start",
    "user": "alice",
    "login": "root",
    "server_id": NODE,
    "initial_command": ["id"],
    "time": rfc3339(START),
}
OUR_START = COMMON | {"sid": OURS, "recorded_by": PROXY, "addr.remote": "192.0.2.7:50022"}
THEIR_START = COMMON | {"sid": THEIRS, "recorded_by": NODE, "addr.remote": "10.0.0.1:40000"}


@pytest.mark.parametrize("twin", [FOUND, NAMED])
def test_the_same_session(twin: Twin) -> None:
    """Told by name, or found by the connection."""
    assert same_session(twin, OUR_START, None, THEIR_START)
    assert same_session(twin, OUR_START, START, THEIR_START)


UNRELATED: dict[str, dict[str, JsonValue]] = {
    "of another daemon": {"recorded_by": OTHER},
    "of the forwarder": {"recorded_by": PROXY},
    "about another host": {"server_id": OTHER},
    "of another user": {"user": "bob"},
    "of another login": {"login": "daemon"},
    "from before": {"time": rfc3339(START - CLOCKS_APART - timedelta(seconds=1))},
    "from after": {"time": rfc3339(START + CLOCKS_APART + timedelta(minutes=1, seconds=1))},
}


@pytest.mark.parametrize("twin", [FOUND, NAMED])
@pytest.mark.parametrize("what", UNRELATED)
def test_an_unrelated_session_is_no_twin(twin: Twin, what: str) -> None:
    """Whether the node named it or not."""
    assert not same_session(twin, OUR_START, START + timedelta(minutes=1), THEIR_START | UNRELATED[what])


def test_a_named_twin_has_that_name() -> None:
    """Another session on the same connection is not it."""
    assert not same_session(NAMED, OUR_START, None, THEIR_START | {"sid": OTHER})


@pytest.mark.parametrize("other", [{"addr.remote": "10.0.0.1:40001"}, {"initial_command": ["ls"]}])
def test_a_twin_without_a_name_came_on_the_same_connection_for_the_same(other: dict[str, JsonValue]) -> None:
    """Neither is asked of one that was named: a translated address or a differently cut command is no matter."""
    assert not same_session(FOUND, OUR_START, None, THEIR_START | other)
    assert same_session(NAMED, OUR_START, None, THEIR_START | other)


@pytest.mark.parametrize("ours", [{"server_id": OTHER}, {"recorded_by": NODE}])
def test_a_twin_is_of_a_session_that_we_had_with_that_node(ours: dict[str, JsonValue]) -> None:
    """Not of another target's, nor of one that the node recorded itself."""
    assert not same_session(NAMED, OUR_START | ours, None, THEIR_START)


NEWS = {
    Kind.SESSION_REJECTED,
    Kind.OFFLINE_ACCESS,
    Kind.X11_FAILURE,
    Kind.AGENT_FAILURE,
    Kind.SESSION_JOIN,
    Kind.RECORDING_LAPSE,
    Kind.RECORDING_QUARANTINED,
    Kind.RECORDING_DIFFERS,
    Kind.ROOM_LESS,
    Kind.ROOM_MORE,
}
"""Of what a node may tell within a session: what the forwarder does not know."""


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind in NODES_TELL and kind is not Kind.AUTH_FAILURE])
def test_what_is_folded_says_so(kind: Kind) -> None:
    """What the forwarder tells too is marked as a duplicate; the node's own news are not."""
    told: dict[str, JsonValue] = THEIR_START | {"event": kind.event, "code": kind.code}
    shown = folded(told, OURS)
    assert (shown["sid"], shown[NODE_SID]) == (OURS, THEIRS)
    assert shown.get(DEDUPLICATED, False) is (kind not in NEWS)
    assert shown.keys() - {NODE_SID, DEDUPLICATED} == told.keys()
