"""``ilctl events``, ``sessions`` and ``recordings``."""

import asyncio
import getpass
import json
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.local import Local, open_local
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.container import SALT_SIZE, BlockBuilder, preamble
from interlock.domain.coverage import Covered, Level, coverage_field
from interlock.domain.recording import Coverage, FrameKind, Header, Marker, to_payload
from interlock.domain.session import Exit
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState

Ilctl = Callable[..., Any]
SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def prepare(data: Path, work: Callable[[Local], Awaitable[object]]) -> None:
    """Put something into the data directory."""

    async def run() -> None:
        async with open_local(data) as local:
            await work(local)

    asyncio.run(run())


def event(uid: str, kind: Kind, **fields: str) -> AuditEvent:
    """An event of the session."""
    return AuditEvent(kind, NOW, uid, "demo", SID, 0, {"user": "alice", **fields})


def test_events_are_listed_and_filtered(ilctl: Ilctl, tmp_path: Path) -> None:
    """JSON is what was stored, and each one's place; text has a line for each."""
    events = [event("u1", Kind.SESSION_START), event("u2", Kind.EXEC, command="uptime", exitCode="0")]
    prepare(tmp_path / "data", lambda local: local.audit.append(events))
    assert ilctl("events", "ls", "--format", "json").json() == [
        {**each.to_json(), "cursor": str(number)} for number, each in enumerate(events, 1)
    ]
    assert [row["uid"] for row in ilctl("events", "ls", "--type", "exec", "--format", "json").json()] == ["u2"]
    assert [row["uid"] for row in ilctl("events", "ls", "--limit", "1", "--format", "json").json()] == ["u2"]
    assert ilctl("events", "ls", "--user", "bob", "--format", "json").json() == []
    text = ilctl("events", "ls", "--sid", SID.upper()).out
    assert len(text.splitlines()) == 3
    assert "uptime (exit 0)" in text


def test_events_come_in_pages(ilctl: Ilctl, tmp_path: Path) -> None:
    """Backwards from the newest and forwards from any; stderr says how to go on, and nothing when that was all."""
    events = [event(f"u{number}", Kind.EXEC) for number in range(1, 6)]
    prepare(tmp_path / "data", lambda local: local.audit.append(events))

    def page(*options: str) -> tuple[list[str], str]:
        shown = ilctl("events", "ls", "--limit", "2", "--format", "json", *options)
        return [row["uid"] for row in shown.json()], shown.err

    assert page() == (["u4", "u5"], "There may be more: --before 4\n")
    assert page("--before", "4") == (["u2", "u3"], "There may be more: --before 2\n")
    assert page("--before", "2") == (["u1"], "")
    assert page("--after", "0") == (["u1", "u2"], "There may be more: --after 2\n")
    assert page("--after", "4", "--type", "exec") == (["u5"], "")
    assert page("--after", "5") == ([], "")
    assert page("--after", "1", "--before", "4") == (["u2", "u3"], "There may be more: --after 3\n")


FILES: list[tuple[Kind, dict[str, JsonValue], str]] = [
    (
        Kind.SFTP_OPEN,
        {"action": 1, "direction": "upload", "path": "/a", "bytes": 5, "success": True},
        "upload /a (5 bytes)",
    ),
    (Kind.SFTP_RENAME, {"action": 16, "path": "/a", "target_path": "/b"}, "rename /a -> /b"),
    (
        Kind.SCP_DOWNLOAD_FAILURE,
        {"action": "download", "direction": "download", "path": "/a", "bytes": 0, "error": "no"},
        "download /a (0 bytes): no",
    ),
    (Kind.SFTP_DISALLOWED, {"error": "the role does not allow it"}, "the role does not allow it"),
    (
        Kind.SFTP_SUMMARY,
        {"files": 2, "bytes_written": 5, "bytes_read": 7},
        "2 files, 5 bytes up, 7 down",
    ),
    (Kind.SFTP_SUMMARY, {"files": 0, "error": "not followed"}, "0 files, 0 bytes up, 0 down: not followed"),
]


@pytest.mark.parametrize(("kind", "fields", "shown"), FILES)
def test_files_in_a_listing(
    ilctl: Ilctl, tmp_path: Path, kind: Kind, fields: dict[str, JsonValue], shown: str
) -> None:
    """What happened to which file, in one line."""
    told = AuditEvent(kind, NOW, "u1", "demo", SID, 0, {"user": "alice", **fields})
    prepare(tmp_path / "data", lambda local: local.audit.append([told]))
    assert shown in " ".join(ilctl("events", "ls").out.split())


def test_nothing_in_a_listing_acts_on_the_terminal(ilctl: Ilctl, tmp_path: Path) -> None:
    """R24: commands and names are a stranger's choice."""
    hostile = "\x1b]0;owned\x07\x9b2J\r\nforged line\u202e"
    prepare(tmp_path / "data", lambda local: local.audit.append([event("u1", Kind.EXEC, command=hostile)]))
    for form in ("text", "json"):
        shown = ilctl("events", "ls", "--format", form).out
        assert all(char.isprintable() or char == "\n" for char in shown)
    assert len(ilctl("events", "ls").out.splitlines()) == 2


def test_live_sessions_are_listed_and_dead_ones_are_not(ilctl: Ilctl, tmp_path: Path) -> None:
    """A tracker whose daemon has gone silent is no live session, swept or not."""

    async def work(local: Local) -> None:
        now = local.clock.now()
        for number, expires in enumerate((now + TRACKER_TTL, now)):
            sid = SessionId(f"aaaaaaaa-0000-4000-8000-00000000000{number}")
            await local.trackers.put(
                Tracker(
                    sid=sid,
                    state=TrackerState.RUNNING,
                    created=now,
                    expires=expires,
                    user="alice",
                    login="root",
                    hostname="web1",
                    target_id=DaemonId("t"),
                    daemon_id=DaemonId("d"),
                    cluster="demo",
                    sub_kind="openssh",
                    recording_mode="proxy",
                    command=("uptime",),
                )
            )

    prepare(tmp_path / "data", work)
    [row] = ilctl("sessions", "ls", "--format", "json").json()
    assert (row["sid"], row["state"], row["user"]) == ("aaaaaaaa-0000-4000-8000-000000000000", "running", "alice")
    assert "uptime" in ilctl("sessions", "ls").out


@pytest.fixture
def recorded(tmp_path: Path) -> bytes:
    """One stored recording, and its bytes."""
    return make_recording(tmp_path, [])


def make_recording(tmp_path: Path, more: list[tuple[FrameKind, bytes]]) -> bytes:
    """A stored recording with these frames before its end."""
    salt = bytes(SALT_SIZE)
    builder = BlockBuilder(salt)
    header = Header(
        sid=SID,
        user="alice",
        login="root",
        hostname="web1",
        target_id="t",
        sub_kind="openssh",
        recorded_by="d",
        mode="proxy",
        kind="shell",
        command="",
        start="2026-06-01T00:00:00Z",
        cluster="demo",
        interactive=True,
        cols=80,
        rows=24,
    )
    builder.add(FrameKind.HEADER, 0, to_payload(header))
    builder.add(FrameKind.STDOUT, 1000, b"hello\r\n")
    for kind, payload in more:
        builder.add(kind, 1500, payload)
    builder.add(FrameKind.EXIT, 2000, to_payload(Exit(status=0)))
    made = preamble(salt) + builder.take()
    (tmp_path / "part").write_bytes(made)
    prepare(tmp_path / "data", lambda local: local.recordings.store(SID, tmp_path / "part"))
    return made


def test_recordings_are_listed_and_downloaded_whole(ilctl: Ilctl, tmp_path: Path, recorded: bytes) -> None:
    """Byte for byte, into a private file, replacing what was there."""
    [row] = ilctl("recordings", "ls", "--format", "json").json()
    assert (row["sid"], row["user"], row["size"], row["state"]) == (SID, "alice", len(recorded), "complete")
    out = tmp_path / "copy.ilr"
    for _ in range(2):
        assert ilctl("recordings", "download", SID, "--out", out).code == 0
    assert out.read_bytes() == recorded
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_what_a_recording_covers_is_shown(ilctl: Ilctl, tmp_path: Path) -> None:
    """Each channel and forward, how much of it was kept, and why not more; the gaps in words."""
    rows = (Covered("session", Level.PARTIAL, "9 bytes: full disk"), Covered("x11", Level.NONE, "a role", "h:1"))
    manifest = to_payload(Coverage(rows, final=True))
    gap = to_payload(Marker("gap", "full disk", stdout=9))
    make_recording(tmp_path, [(FrameKind.MARKER, gap), (FrameKind.COVERAGE, manifest)])
    shown = ilctl("recordings", "show", SID, "--format", "json").json()
    assert (shown["sid"], shown["closed"], shown["unreadable_bytes"], shown["mode"]) == (SID, True, 0, "proxy")
    assert shown["coverage"] == [row.row() for row in rows]
    assert shown["gaps"] == ["gap: 9 bytes of stdout not kept: full disk"]
    text = ilctl("recordings", "show", SID).out
    assert "9 bytes: full disk" in text
    assert "h:1" in text
    assert "gap: 9 bytes of stdout not kept: full disk" in text


def test_a_session_without_a_recording_is_shown_by_its_end(ilctl: Ilctl, tmp_path: Path) -> None:
    """Off, or by best effort; an unknown session is not found."""
    rows = coverage_field([Covered("session", Level.NONE, "the recording mode is off")])
    end = AuditEvent(Kind.SESSION_END, NOW, SID, "demo", SessionId(SID), fields=rows)
    prepare(tmp_path / "data", lambda local: local.audit.append([end]))
    assert ilctl("recordings", "show", SID, "--format", "json").json() == {
        "sid": SID,
        "recorded": False,
        "coverage": rows["coverage"],
    }
    assert ilctl("recordings", "show", SID.replace("1", "2")).code == 3


def test_a_recording_that_is_not_here_is_listed_as_such(ilctl: Ilctl, tmp_path: Path) -> None:
    """Its node has told of the session, and nothing since."""
    start = event("u1", Kind.SESSION_START, recorded_by="node", server_hostname="web1")
    prepare(tmp_path / "data", lambda local: local.audit.append([start]))
    assert "on node" in ilctl("recordings", "ls").out
    [row] = ilctl("recordings", "ls", "--format", "json").json()
    assert (row["sid"], row["user"], row["hostname"], row["size"]) == (SID, "alice", "web1", 0)


def test_who_reads_a_recording_is_in_the_audit_log(ilctl: Ilctl, tmp_path: Path, recorded: bytes) -> None:
    """session.recording.access for a download and for an export, and none for a recording that is not there."""
    assert recorded
    ilctl("recordings", "download", SID, "--out", tmp_path / "copy.ilr")
    ilctl("recordings", "export", SID, "--format", "text")
    ilctl("recordings", "export", SID.replace("1", "2"))
    found = ilctl("events", "ls", "--format", "json").json()
    assert [(each["event"], each["code"], each["sid"], each["format"]) for each in found] == [
        ("session.recording.access", "T2012I", SID, form) for form in ("ilr", "text")
    ]
    assert {(each["user"], each["method"]) for each in found} == {(getpass.getuser(), "ilctl")}


def test_a_download_that_fails_leaves_what_was_there(ilctl: Ilctl, tmp_path: Path) -> None:
    """Neither an empty file nor a temporary one."""
    out = tmp_path / "copy.ilr"
    out.write_text("precious")
    assert ilctl("recordings", "download", SID, "--out", out).code == 3
    assert ilctl("recordings", "export", SID, "--out", out).code == 3
    assert out.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.ilr", "data"]


@pytest.mark.parametrize("form", ["asciicast-v2", "asciicast-v3", "text", "json"])
def test_recordings_are_exported(ilctl: Ilctl, tmp_path: Path, recorded: bytes, form: str) -> None:
    """To a file and to the standard output alike."""
    assert recorded
    out = tmp_path / "out"
    assert ilctl("recordings", "export", SID, "--format", form, "--out", out).code == 0
    shown = ilctl("recordings", "export", SID, "--format", form).out
    assert shown == out.read_text()
    assert "hello" in shown
    if form != "text":
        assert all(json.loads(line) for line in shown.splitlines())


def test_a_part_of_a_recording_is_exported_from_a_moment_on(ilctl: Ilctl, tmp_path: Path, recorded: bytes) -> None:
    """Players draw the screen as it was then, and the header says when that was; events are later ones."""
    path = tmp_path / "data" / "recordings" / f"{SID}.ilr"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (tmp_path / "data").chmod(0o700)
    path.write_bytes(recorded)
    lines = ilctl("recordings", "export", SID, "--from", "1m").out.splitlines()
    assert json.loads(lines[0])["timestamp"] == datetime(2026, 6, 1, 0, 1, tzinfo=UTC).timestamp()
    assert json.loads(lines[1]) == [0, "o", "hello\r\n"]
    [header] = ilctl("recordings", "export", SID, "--format", "json", "--from", "1m").out.splitlines()
    assert json.loads(header)["start"] == "2026-06-01T00:01:00+00:00"
    assert ilctl("recordings", "export", SID, "--from", "soon").code == 2
