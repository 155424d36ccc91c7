"""Whatever a client asks for, its session's recording can be read, and its events and tracker stay small."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import MAX_COMMAND_SHOWN, MAX_COMMAND_TITLE, MAX_TERM
from interlock.core.sides import Side
from interlock.domain.access import Access, FileTransfer
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.container import decode, new_compressor
from interlock.domain.duties import NODE_DUTIES, NONE, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.recording import Header
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import TrackerState
from interlock.ports import PartReader
from interlock.services.recordings.recorder import Recorder
from interlock.services.recordings.recording import NoRecorder
from interlock.services.sessions.live import LiveSession
from interlock.testing.clock import START, FakeClock
from interlock.testing.stores import FakeTimers
from interlock.testing.transfers import SftpTalk

NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")
CONTEXT = SessionContext(
    sid=SessionId("d46d710b-24b9-4f86-af68-d7755636b94b"),
    identity=Identity("jeff", ("access",), "demo"),
    login="root",
    target=Target(NODE, "web1", "10.0.0.5", 22, SubKind.NODE),
    mode=RecordingMode.NODE,
    duties=NODE_DUTIES[RecordingMode.NODE, False],
    daemon_id=NODE,
    client_addr="192.0.2.7:50022",
)


class Part:
    """`ports.RecordingPart` in memory."""

    def __init__(self) -> None:
        self.data = b""

    def append(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        pass

    def remove(self) -> None:
        pass


class Told:
    """A journal and a tracker that keep what they are told."""

    def __init__(self) -> None:
        self.events: list[tuple[Kind, Mapping[str, JsonValue]]] = []
        self.command: tuple[str, ...] = ()

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        del repeatable
        self.events.append((kind, fields))

    def move(self, state: TrackerState, *, start: Start | None = None) -> None:
        if state is TrackerState.RUNNING and start is not None and start.command:
            self.command = (start.title,)

    def people(self, users: tuple[str, ...]) -> None:
        self.users = users


def nothing_to_follow(_sid: SessionId) -> PartReader:
    """Nobody joins these sessions."""
    raise FileNotFoundError


def lived(start: Start, *, set_by: timedelta = timedelta(0)) -> tuple[Header, Told]:
    """A second of a session, in which the clock is set: the header of its recording, and what else was told."""
    part, told, clock = Part(), Told(), FakeClock()

    def end(_session: LiveSession) -> None:
        pass

    session = LiveSession(
        CONTEXT,
        journal=told,
        tracker=told,
        open_recorder=lambda header, failed, _lapsed: Recorder(
            part,
            header,
            salt=b"salt" * 2,
            compressor=new_compressor(),
            clock=clock,
            on_failure=failed,
            call_later=FakeTimers().call_later,
        ),
        on_end=end,
        cluster="demo",
        clock=clock,
        follow=nothing_to_follow,
    )
    session.start(start)
    clock.advance(timedelta(seconds=1))
    clock.step_wall(set_by)
    session.exited(Exit(status=1))
    session.end(tx=0, rx=0)
    header, *_, last = [frame.body for frame in decode([part.data])]
    assert isinstance(header, Header)
    assert last == Exit(status=1)
    return header, told


texts = st.text(st.characters(exclude_categories=())) | st.builds(
    lambda piece, times: piece * times,
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=3),
    st.integers(1, 300_000),
)
sizes = st.integers(0, 2**32 - 1)
starts = st.builds(
    Start,
    kind=st.sampled_from(SessionKind),
    command=texts,
    window=st.none() | st.builds(Window, sizes, sizes),
    term=texts,
)


@settings(deadline=None)  # the longest commands take a while to make
@given(starts)
@example(Start(SessionKind.EXEC, (b"\xff" * 262_144).decode("utf-8", "backslashreplace")))
@example(Start(SessionKind.EXEC, "\x01" * 262_144))
@example(Start(SessionKind.EXEC, (b"\xff" * 262_144).decode("utf-8", "surrogateescape")))
def test_any_start_gives_a_recording_that_can_be_read(start: Start) -> None:
    """The header is one frame of one block, and a reader takes no block beyond a bound."""
    header, told = lived(start)
    assert header.start.startswith(f"{START:%Y-%m-%d}")
    assert len(header.command.encode()) <= MAX_COMMAND_TITLE
    assert len(header.term.encode()) <= MAX_TERM
    assert told.command == ((header.command,) if start.command else ())
    for _, fields in told.events:
        shown = [fields.get("command", ""), fields.get("name", ""), *_texts(fields.get("initial_command"))]
        assert all(len(str(text).encode()) <= MAX_COMMAND_SHOWN for text in shown)


def test_a_command_of_usual_length_is_kept_whole() -> None:
    """Everywhere."""
    command = "grep -r 'ä' /srv " * 400
    header, told = lived(Start(SessionKind.EXEC, command))
    assert header.command == command
    assert told.command == (command,)
    assert [fields["command"] for kind, fields in told.events if kind is Kind.EXEC_FAILURE] == [command]


def test_a_long_command_is_cut_visibly() -> None:
    """The audit log has more of it than recording and tracker, which are listed; never half a character."""
    command = "ä" * 100_000
    header, told = lived(Start(SessionKind.EXEC, command))
    assert header.command == "ä" * ((MAX_COMMAND_TITLE - 3) // 2) + "…"
    (shown,) = _texts(told.events[0][1]["initial_command"])
    assert shown == "ä" * ((MAX_COMMAND_SHOWN - 3) // 2) + "…"


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_a_session_has_lasted_as_long_as_it_has(hours: int) -> None:
    """Whoever sets the clock meanwhile: an end before its start would be believed by nobody."""
    _, told = lived(Start(SessionKind.EXEC, "true"), set_by=timedelta(hours=hours))
    [end] = [fields for kind, fields in told.events if kind is Kind.SESSION_END]
    stopped, began = (datetime.fromisoformat(str(end[name])) for name in ("session_stop", "session_start"))
    assert stopped - began == timedelta(seconds=1)


def _texts(value: JsonValue | None) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def session_of(context: SessionContext, told: Told) -> LiveSession:
    """A session that nobody records."""

    def end(_session: LiveSession) -> None:
        pass

    return LiveSession(
        context,
        journal=told,
        tracker=told,
        open_recorder=lambda _header, _failed, _lapsed: NoRecorder(),
        on_end=end,
        cluster="demo",
        clock=FakeClock(),
        follow=nothing_to_follow,
    )


@pytest.mark.parametrize(
    ("start", "code"),
    [(Start(SessionKind.SUBSYSTEM, "sftp"), "TS020E"), (Start(SessionKind.EXEC, "scp -t /tmp"), "T3010E")],
)
def test_a_role_that_forbids_file_transfers(start: Start, code: str) -> None:
    """The session does not start, and an event says why; other commands do."""
    told = Told()
    context = replace(CONTEXT, access=Access(file_transfer=FileTransfer.NONE))
    with pytest.raises(Denied, match="your role does not allow"):
        session_of(context, told).start(start)
    [(kind, fields)] = told.events
    assert (kind.code, fields["success"], fields["user"]) == (code, False, "jeff")
    assert str(fields["message"]).startswith("your role does not allow")
    session_of(context, told).start(Start(SessionKind.EXEC, "echo scp"))
    assert told.events[-1][0] is Kind.SESSION_START


def test_who_does_not_emit_does_not_judge() -> None:
    """The other daemon does both, so that its refusal is told once, and within the session."""
    told = Told()
    access = Access(file_transfer=FileTransfer.NONE)
    session = session_of(replace(CONTEXT, access=access, duties=NONE), told)
    session.start(Start(SessionKind.SUBSYSTEM, "sftp"))
    assert session.transfers is None


def test_a_transfer_that_cannot_be_judged_ends_the_session() -> None:
    """The SSH layer is told once, and not any more after the end."""
    told, denied = Told(), list[Denied]()
    access = Access(file_transfer=FileTransfer.UPLOAD)
    for ended in (False, True):
        session = session_of(replace(CONTEXT, access=access), told)
        session.on_forbidden = denied.append
        session.start(Start(SessionKind.SUBSYSTEM, "sftp"))
        assert session.transfers is not None
        if ended:
            session.end(tx=0, rx=0)
        session.transfers.feed(Side.CLIENT, memoryview(bytearray(b"not SFTP at all")))
    assert len(denied) == 1


def test_files_through_a_terminal_are_not_observed() -> None:
    """Who may move them may do so, and the summary says that it cannot tell of them."""
    told = Told()
    session = session_of(CONTEXT, told)
    session.start(Start(SessionKind.SUBSYSTEM, "sftp", Window(80, 24), "xterm"))
    assert session.transfers is not None
    for side, data in SftpTalk().open(b"/a", write=True).close().steps:
        session.transfers.feed(side, memoryview(data))
    session.end(tx=0, rx=0)
    [summary] = [fields for kind, fields in told.events if kind is Kind.SFTP_SUMMARY]
    assert (summary["files"], summary["partial"]) == (0, True)
    assert str(summary["error"]).endswith("the session has a terminal, which edits what passes")


def test_a_restricted_role_moves_no_files_through_a_terminal() -> None:
    """Whatever the direction."""
    context = replace(CONTEXT, access=Access(file_transfer=FileTransfer.DOWNLOAD))
    with pytest.raises(Denied, match="through a terminal"):
        session_of(context, Told()).start(Start(SessionKind.EXEC, "scp -f x", Window(80, 24), "xterm"))
