"""A session's life as auditors see it: events in order, one recording, one tracker."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.core.errors import LocalProtocolError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.coverage import Covered, Level
from interlock.domain.duties import FORWARDER_DUTIES, NODE_DUTIES, Duties, RecordingMode
from interlock.domain.recording import Coverage, Frame, Header, Marker, Output, Stream
from interlock.domain.session import Exit, SessionKind, Start, Window
from interlock.domain.target import SubKind
from interlock.domain.tracker import TrackerState
from interlock.services.sessions.live import NO_STATUS, RESIZE_EVENTS
from interlock.services.sessions.trackers import HEARTBEAT_S
from interlock.testing.daemon import (
    COMMON,
    CONNECTION,
    EXEC,
    NO_INPUT,
    NODE,
    OTHER,
    PROXY,
    SFTP,
    SHELL,
    SID,
    WHOLE,
    Daemon,
    context,
)


async def test_an_interactive_session(daemon: Daemon) -> None:
    """Start, resize, end, leave, data, upload: in this order, with the field's codes; and all of it recorded."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        session.output(Stream.STDOUT, b"hello")
        daemon.clock.advance(1)
        session.resize(Window(132, 43))
        session.exited(Exit(status=0))
        session.end(tx=10, rx=20)
    assert daemon.audit.of(SID) == [
        (0, "session.start", "T2000I"),
        (1, "resize", "T2002I"),
        (2, "session.end", "T2004I"),
        (3, "session.leave", "T2003I"),
        (4, "session.data", "T2006I"),
        (5, "session.upload", "T2005I"),
    ]
    header, *rest = await daemon.recording()
    assert isinstance(header.body, Header)
    assert (header.body.sid, header.body.user, header.body.interactive, header.body.term) == (
        SID, "jeff", True, "xterm",
    )  # fmt: skip
    assert rest == [
        Frame(0, Output(Stream.STDOUT, b"hello")),
        Frame(1_000_000, Window(132, 43)),
        Frame(1_000_000, Coverage((WHOLE, NO_INPUT), final=True)),
        Frame(1_000_000, Exit(status=0)),
    ]
    assert sessions.live == []
    assert await daemon.files.unfinished() == []


@pytest.mark.parametrize(
    ("ended", "vanished"),
    [(Exit(status=0), 0), (Exit(signal="TERM"), 0), (Exit(error="it vanished"), 1), (None, 1)],
)
async def test_who_has_the_exit_status_did_not_vanish(daemon: Daemon, ended: Exit | None, vanished: int) -> None:
    """ssh may cut the connection as soon as it knows the status; only before it does somebody vanish."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        if ended is not None:
            session.exited(ended)
        session.end(tx=1, rx=1, reason="the client disconnected")
    assert daemon.names().count("client.disconnect") == vanished


async def test_refusals_within_a_session_are_counted_with_its_events(daemon: Daemon) -> None:
    """Also what was refused before the start, which stays the first event."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.refused("x11-req", public="no X11", reason="X11 is not relayed")
        session.start(SHELL)
        session.refused("shell", public="one start", reason="a second start")
        session.exited(Exit(status=0))
        session.end(tx=1, rx=1)
    assert daemon.names()[:4] == ["session.start", "x11-forward", "session.rejected", "session.end"]
    refused = [dict(event.fields) for event in daemon.audit.stored if event.kind.event == "x11-forward"]
    assert (refused[0]["message"], refused[0]["reason"]) == ("no X11", "X11 is not relayed")


async def test_the_fields_of_every_event(daemon: Daemon) -> None:
    """Fields are the field's: teleport-facts §3.7. Leave and upload are not about a connection."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        daemon.clock.advance(2)
        session.resize(Window(132, 43))
        session.end(tx=4240, rx=3722, reason="the client disconnected")
    by_name = {event.kind.event: dict(event.fields) for event in daemon.audit.stored}
    assert by_name == {
        "session.start": COMMON | CONNECTION | {"initial_command": [], "size": "80:24"},
        "resize": COMMON | CONNECTION | {"size": "132:43"},
        "client.disconnect": COMMON | CONNECTION | {"reason": "the client disconnected"},
        "session.end": COMMON | CONNECTION | {
            "coverage": [WHOLE.row(), NO_INPUT.row()],
            "enhanced_recording": False,
            "interactive": True,
            "participants": ["jeff"],
            "session_start": "2026-01-10T22:23:57.642Z",
            "session_stop": "2026-01-10T22:23:59.642Z",
            "initial_command": [],
        },
        "session.leave": COMMON,
        "session.data": COMMON | CONNECTION | {"tx": 4240, "rx": 3722},
        "session.upload": COMMON | {"url": (daemon.directory / f"{SID}.ilr").as_uri()},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "ended", "name", "code", "fields"),
    [
        (EXEC, Exit(status=0), "exec", "T3002I", {"command": "ls /", "exitCode": "0"}),
        (
            EXEC,
            Exit(status=2),
            "exec",
            "T3002E",
            {"command": "ls /", "exitCode": "2", "exitError": "exited with status 2"},
        ),
        (
            EXEC,
            Exit(signal="TERM"),
            "exec",
            "T3002E",
            {"command": "ls /", "exitCode": "-1", "exitError": "killed by signal TERM"},
        ),
        (EXEC, None, "exec", "T3002E", {"command": "ls /", "exitCode": "-1", "exitError": NO_STATUS}),
        (SFTP, Exit(status=0), "subsystem", "T3001I", {"name": "sftp", "exitError": ""}),
        (SFTP, Exit(status=1), "subsystem", "T3001E", {"name": "sftp", "exitError": "exited with status 1"}),
    ],
)
async def test_commands_and_subsystems_report_how_they_ended(
    daemon: Daemon, start: Start, ended: Exit | None, name: str, code: str, fields: dict[str, str]
) -> None:
    """One event between start and end says what ran and how it ended, also if nobody told."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(start)
        if ended is not None:
            session.exited(ended)
            session.exited(Exit(status=77))
        session.end(tx=0, rx=0)
    assert daemon.names() == [
        "session.start",
        name,
        "session.end",
        "session.leave",
        "session.data",
        "session.upload",
    ]
    event = daemon.audit.stored[1]
    assert (event.kind.code, dict(event.fields)) == (code, COMMON | CONNECTION | fields)
    assert (await daemon.recording())[-1].body == (ended or Exit(error=NO_STATUS))


async def test_a_session_that_never_started_leaves_no_events(daemon: Daemon) -> None:
    """A client that closes its channel at once has had no session; its tracker ends."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.output(Stream.STDOUT, b"nothing")
        session.resize(Window(1, 1))
        session.exited(Exit(status=0))
        session.end(tx=1, rx=1, reason="gone")
    assert daemon.audit.stored == []
    assert daemon.trackers.stored[SID].state is TrackerState.TERMINATED
    assert await daemon.files.recordings() == []


async def test_ending_twice_ends_once(daemon: Daemon) -> None:
    """Whoever notices first ends the session; what follows changes nothing."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        session.end(tx=1, rx=2, reason="first")
        session.end(tx=3, rx=4, reason="second")
        session.resize(Window(1, 1))
        session.output(Stream.STDOUT, b"late")
    assert daemon.names().count("session.end") == 1
    assert daemon.names().count("client.disconnect") == 1


async def test_a_session_starts_once(daemon: Daemon) -> None:
    """A second start is a bug of the SSH layer and changes nothing."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        with pytest.raises(LocalProtocolError):
            session.start(EXEC)
    assert daemon.names().count("session.start") == 1


@pytest.mark.parametrize(
    "duties", [FORWARDER_DUTIES[RecordingMode.NODE, SubKind.NODE], NODE_DUTIES[RecordingMode.PROXY, True]]
)
async def test_a_daemon_without_duties_does_nothing(daemon: Daemon, duties: Duties) -> None:
    """The same calls leave no event, no tracker and no file where the other side has the duties."""
    async with daemon.running() as sessions:
        session = sessions.agree(context(duties))
        session.start(SHELL)
        session.output(Stream.STDOUT, b"hello")
        session.resize(Window(1, 1))
        session.exited(Exit(status=0))
        assert sessions.live == [session]
        session.end(tx=1, rx=1, reason="gone")
    assert daemon.audit.stored == []
    assert daemon.trackers.history == []
    assert [path for path in daemon.directory.rglob("*") if path.is_file()] == []


async def test_the_tracker_follows_the_session(daemon: Daemon) -> None:
    """Pending when the ID is agreed, running with its command, terminated at the end."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        await sessions._trackers.flush()
        pending = daemon.trackers.stored[SID]
        session.start(EXEC)
        await sessions._trackers.flush()
        running = daemon.trackers.stored[SID]
        session.end(tx=0, rx=0)
    ended = daemon.trackers.stored[SID]
    assert [t.state for t in (pending, running, ended)] == list(TrackerState)
    assert running.command == ("ls /",)
    assert (running.user, running.login, running.hostname, running.participants) == (
        "jeff",
        "root",
        "web1",
        ("jeff",),
    )
    assert (running.daemon_id, running.target_id, running.recording_mode) == (PROXY, NODE, "proxy")


async def test_heartbeats_name_the_live_sessions(daemon: Daemon) -> None:
    """One write per interval for all sessions, and none when there are none."""
    async with daemon.running() as sessions:
        await daemon.sleep.wait_sleeper(HEARTBEAT_S)
        daemon.sleep.advance(HEARTBEAT_S)
        await daemon.sleep.wait_sleeper(HEARTBEAT_S)
        one = sessions.agree(context())
        two = sessions.agree(replace(context(), sid=OTHER))
        daemon.sleep.advance(HEARTBEAT_S)
        await daemon.sleep.wait_sleeper(HEARTBEAT_S)
        await sessions._trackers.flush()
        one.end(tx=0, rx=0)
        two.end(tx=0, rx=0)
    assert daemon.trackers.beats == [(SID, OTHER)]


async def test_a_tracker_store_that_is_away_delays_nothing(daemon: Daemon) -> None:
    """The session goes on, and the tracker catches up with its latest state."""
    daemon.trackers.failures = 1
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        await daemon.sleep.wait_sleeper(0.05)
        session.end(tx=0, rx=0)
        daemon.sleep.advance(0.05)
    assert daemon.trackers.stored[SID].state is TrackerState.TERMINATED


async def test_a_full_disk_refuses_the_session(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person is told, the audit log knows the path, and the tracker ends with the channel."""

    def full(_sid: SessionId) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/live/x.part")

    monkeypatch.setattr(daemon.files, "create", full)
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        with pytest.raises(RecordingError, match="cannot be recorded: No space left on device"):
            session.start(SHELL)
        session.end(tx=0, rx=0)
    assert daemon.audit.of(SID) == [(0, "session.rejected", "T1006W")]
    assert "/data/live/x.part" in str(daemon.audit.stored[0].fields["reason"])
    assert "/data" not in str(daemon.audit.stored[0].fields["message"])
    assert daemon.trackers.stored[SID].state is TrackerState.TERMINATED


async def test_a_disk_that_fills_up_ends_the_session(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SSH layer is told once and ends the session; what was written becomes the recording, with its end."""
    failures: list[str] = []
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.on_failure = lambda error: failures.append(error.public)
        session.start(SHELL)
        session.output(Stream.STDOUT, b"kept")
        daemon.timers.fire()
        part = session.recorder._part  # type: ignore[attr-defined]
        append = type(part).append

        def full(_self: object, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(type(part), "append", full)
        session.output(Stream.STDOUT, b"lost")
        daemon.timers.fire()
        session.output(Stream.STDOUT, b"ignored")
        monkeypatch.setattr(type(part), "append", append)
        session.end(tx=0, rx=0, reason="the recording failed")
    assert failures == ["the session cannot be recorded: No space left on device"]
    bodies = [frame.body for frame in await daemon.recording()][1:]
    why = "11 bytes: No space left on device"
    assert bodies == [
        Output(Stream.STDOUT, b"kept"),
        Marker("gap", "No space left on device", stdout=11),
        Coverage((Covered("session", Level.PARTIAL, why), NO_INPUT), final=True),
        Exit(error="the recording failed"),
    ]
    assert daemon.names()[-1] == "session.upload"


async def test_an_audit_log_that_is_away_refuses_new_sessions(tmp_path: Path) -> None:
    """Sessions that nobody could account for do not begin; those of other daemons' duty do."""
    daemon = Daemon(tmp_path, backlog=1)
    session = daemon.sessions.agree(context())
    session.start(SHELL)
    with pytest.raises(StoreError, match="audit log"):
        daemon.sessions.agree(replace(context(), sid=OTHER))
    daemon.sessions.agree(replace(context(NODE_DUTIES[RecordingMode.PROXY, True]), sid=OTHER))
    session.recorder.finish(Exit(status=0))


async def test_resizes_cannot_flood_the_audit_log(daemon: Daemon) -> None:
    """All resizes are recorded, repeated sizes are no resizes, and events stop at a limit."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        session.resize(Window(80, 24))
        for number in range(RESIZE_EVENTS + 5):
            session.resize(Window(100 + number % 2, 24))
            session.resize(Window(100 + number % 2, 24))
        session.end(tx=0, rx=0)
    assert daemon.names().count("resize") == RESIZE_EVENTS
    assert sum(isinstance(frame.body, Window) for frame in await daemon.recording()) == RESIZE_EVENTS + 5


async def test_a_command_of_arbitrary_bytes_is_recorded(daemon: Daemon) -> None:
    """What is not UTF-8 becomes visible escapes in header, events and tracker."""
    command = b"cat \xff".decode("utf-8", "surrogateescape")
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(Start(SessionKind.EXEC, command=command))
    header = (await daemon.recording())[0].body
    assert isinstance(header, Header)
    assert header.command == "cat \\udcff"
    assert daemon.trackers.stored[SID].command == ("cat \\udcff",)
    assert daemon.audit.stored[0].fields["initial_command"] == ["cat \\udcff"]


async def test_shutdown_ends_what_is_left(daemon: Daemon) -> None:
    """A stopping daemon ends its sessions with the traffic so far, and stores their recordings."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.traffic = lambda: (7, 8)
        session.start(SHELL)
    assert daemon.names() == [
        "session.start",
        "client.disconnect",
        "session.end",
        "session.leave",
        "session.data",
        "session.upload",
    ]
    data = daemon.audit.stored[4].fields
    assert (data["tx"], data["rx"]) == (7, 8)
    assert daemon.audit.stored[1].fields["reason"] == "the gateway stops"


async def test_nothing_begins_while_the_daemon_stops(daemon: Daemon) -> None:
    """A channel that is opened during shutdown is refused in words."""
    async with daemon.running() as sessions:
        await sessions.end_all("stop")
        with pytest.raises(StoreError, match="stopping"):
            sessions.agree(context())


async def test_storage_that_is_away_at_shutdown_does_not_hold_up_the_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the grace time the daemon stops; the part stays for the next start."""

    async def away(_sid: SessionId, _path: Path) -> str:
        raise StoreError("storage is away")

    monkeypatch.setattr(daemon.files, "store", away)
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        session.start(SHELL)
        await sessions.end_all("stop", grace=0.01)
        sessions._uploads._idle.set()
    assert await daemon.files.unfinished() == [SID]
    assert "session.upload" not in daemon.names()


async def test_rejections_are_in_the_audit_log(daemon: Daemon) -> None:
    """With a context the event has the session's ID; without, whatever is known and no ID."""
    async with daemon.running() as sessions:
        sessions.rejected(context(), public="no", reason="because")
        sessions.rejected({"user": "jeff"}, public="unknown node", reason="no node named x")
    first, second = (event.to_json() for event in daemon.audit.stored)
    assert first["sid"] == SID
    assert "sid" not in second
    assert (
        second
        | {
            "event": "session.rejected",
            "code": "T1006W",
            "user": "jeff",
            "success": False,
            "reason": "no node named x",
            "message": "unknown node",
        }
        == second
    )
