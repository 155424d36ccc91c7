"""A session's facts as events show them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.duties import FORWARDER_DUTIES, NODE_DUTIES, NONE, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window, end_fields
from interlock.domain.target import SubKind, Target

NODE = Target(DaemonId("node-id"), "web1", "10.0.0.5", 22, SubKind.NODE, labels={"env": "prod"}, version="0.1")
CONTEXT = SessionContext(
    sid=SessionId("00000000-0000-4000-8000-000000000001"),
    identity=Identity("alice", ("ops", "dev"), "home"),
    login="root",
    target=NODE,
    mode=RecordingMode.PROXY,
    duties=FORWARDER_DUTIES[RecordingMode.PROXY, SubKind.NODE],
    daemon_id=DaemonId("proxy-id"),
    client_addr="192.0.2.1:5555",
)


def test_the_person() -> None:
    """User and login are two things."""
    assert CONTEXT.user_fields() == {
        "user": "alice",
        "login": "root",
        "user_kind": 1,
        "user_cluster_name": "home",
        "user_roles": ["ops", "dev"],
    }


def test_the_target_is_named_whoever_records() -> None:
    """Its ID, name, address, labels, kind and version; ``recorded_by`` is the daemon's."""
    fields = CONTEXT.server_fields()
    assert fields["server_id"] == "node-id"
    assert fields["server_hostname"] == "web1"
    assert fields["server_addr"] == "10.0.0.5:22"
    assert fields["server_labels"] == {"env": "prod"}
    assert fields["server_sub_kind"] == "interlock"
    assert fields["server_version"] == "0.1"
    assert fields["recorded_by"] == "proxy-id"


@pytest.mark.parametrize("mode", list(RecordingMode))
@pytest.mark.parametrize("sub_kind", list(SubKind))
def test_forwarder_fields_are_there_in_proxy_mode_only(mode: RecordingMode, sub_kind: SubKind) -> None:
    """The acceptance list: in node mode they are absent for agentless targets too."""
    target = replace(NODE, sub_kind=sub_kind)
    context = replace(CONTEXT, mode=mode, target=target, duties=FORWARDER_DUTIES[mode, sub_kind])
    fields = context.server_fields()
    assert fields.get("forwarded_by") == ("proxy-id" if mode.at_proxy else None)
    silent = mode is RecordingMode.NODE or context.duties is NONE
    assert fields.get("session_recording") == (None if silent else mode.value)


@pytest.mark.parametrize("records", [True, False])
def test_a_node_names_no_forwarder(records: bool) -> None:
    """It is not one."""
    fields = replace(CONTEXT, duties=NODE_DUTIES[RecordingMode.NODE, records]).server_fields()
    assert not {"forwarded_by", "session_recording"} & set(fields)


def test_addresses() -> None:
    """The daemon's own address only if it is known."""
    assert CONTEXT.connection_fields() == {"addr.remote": "192.0.2.1:5555", "proto": "ssh"}
    assert replace(CONTEXT, local_addr="h:1").connection_fields()["addr.local"] == "h:1"


@pytest.mark.parametrize(
    ("start", "interactive", "fields"),
    [
        (Start(SessionKind.SHELL, window=Window(80, 24)), True, {"initial_command": [], "size": "80:24"}),
        (Start(SessionKind.EXEC, "id"), False, {"initial_command": ["id"]}),
        (Start(SessionKind.EXEC, "top", Window(0, 0)), True, {"initial_command": ["top"], "size": "0:0"}),
    ],
)
def test_the_start(start: Start, interactive: bool, fields: dict[str, object]) -> None:
    """A terminal of no size is still a terminal."""
    assert start.interactive is interactive
    assert start.fields() == fields


def test_the_end() -> None:
    """Both times, in UTC, and what was run."""
    began = datetime(2026, 1, 1, 12, tzinfo=UTC)
    fields = end_fields(
        Start(SessionKind.EXEC, "id"), began=began, ended=began + timedelta(seconds=1.5), participants=("alice",)
    )
    assert fields == {
        "enhanced_recording": False,
        "interactive": False,
        "participants": ["alice"],
        "session_start": "2026-01-01T12:00:00.000Z",
        "session_stop": "2026-01-01T12:00:01.500Z",
        "initial_command": ["id"],
    }


@pytest.mark.parametrize(
    ("exit_", "clean"), [(Exit(0), True), (Exit(1), False), (Exit(signal="TERM"), False), (Exit(error="x"), False)]
)
def test_only_status_zero_is_clean(exit_: Exit, clean: bool) -> None:
    """No status is no success."""
    assert exit_.clean is clean
