"""Forwards as audit events: whose they are, that each has an end, and that refusals do not flood."""

from collections.abc import Callable

import pytest

from interlock.core.errors import RecordingError, StoreError
from interlock.core.limits import FORWARD_REFUSALS_TOLD
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.coverage import Level
from interlock.domain.session import Exit, SessionKind, Start
from interlock.services.sessions.forwarding import Forward, ForwardJournal

PORT = Forward("direct-tcpip", "db:5432", "127.0.0.1:40000")


class Session:
    """What a session was told."""

    def __init__(self, *, started: bool = False) -> None:
        self.on_failure: Callable[[RecordingError], None] | None = None
        self.traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.started = started
        self.begun: Start | None = None
        self.told: list[tuple[Kind, dict[str, JsonValue]]] = []
        self.covered: list[tuple[str, Level, str]] = []
        self.exits: list[Exit] = []
        self.ends: list[tuple[int, int, str]] = []

    def start(self, start: Start) -> None:
        self.begun, self.started = start, True

    def tell(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        self.told.append((kind, fields))

    def cover(self, what: str, level: Level, *, why: str = "", where: str = "") -> None:
        assert why
        self.covered.append((what, level, where))

    def exited(self, ended: Exit) -> None:
        self.exits.append(ended)

    def end(self, *, tx: int, rx: int, reason: str = "") -> None:
        self.ends.append((tx, rx, reason))


class World:
    """One connection: its sessions, and those that were made for itself."""

    def __init__(self, *sessions: Session) -> None:
        self.sessions = list(sessions)
        self.own: list[Session] = []
        self.lost: list[RecordingError] = []
        self.failure: Exception | None = None
        self.journal = ForwardJournal(
            begin=self.begin,
            running=lambda: [each for each in self.sessions if each.started],
            on_failure=self.lost.append,
        )

    def begin(self) -> Session:
        if self.failure is not None:
            raise self.failure
        self.own.append(Session())
        return self.own[-1]


def kinds(session: Session) -> list[Kind]:
    """What it was told, in short."""
    return [kind for kind, _ in session.told]


def test_a_connection_without_session_gets_a_record() -> None:
    """One for all of its forwards, with their bytes."""
    world = World()
    world.journal.opened(0, PORT)
    world.journal.opened(1, PORT)
    world.journal.closed(1, sent=5, received=7)
    world.journal.closed(0, sent=1, received=1)
    world.journal.end()
    (record,) = world.own
    assert record.begun == Start(SessionKind.CONNECTION)
    assert kinds(record) == [Kind.PORT, Kind.PORT, Kind.PORT_CLOSED, Kind.PORT_CLOSED]
    assert record.told[2][1] == {
        **PORT.fields(),
        "success": True,
        "tx": 5,
        "rx": 7,
    }
    assert record.ends == [(6, 8, "")]
    assert record.exits == [Exit(status=0)]
    assert record.covered == [("direct-tcpip", Level.METADATA, "db:5432")] * 2


def test_the_oldest_session_that_runs_has_them() -> None:
    """One that has not started yet has none, and no record is made."""
    waiting, older, newer = Session(), Session(started=True), Session(started=True)
    world = World(waiting, older, newer)
    world.journal.opened(0, PORT)
    world.journal.listening(Forward("tcpip-forward", ":80"))
    world.sessions.remove(older)
    world.journal.closed(0, sent=1, received=2)
    assert kinds(older) == [Kind.PORT, Kind.PORT, Kind.PORT_CLOSED]
    assert [*world.own, *waiting.told, *newer.told] == []


def test_what_listens_waits_for_the_session_that_follows() -> None:
    """ssh asks for -R before it opens its session, and one ssh is one session to people."""
    session = Session()
    world = World(session)
    world.journal.listening(Forward("tcpip-forward", ":80"))
    world.journal.failed(Forward("streamlocal-forward@openssh.com", "/x"), public="no", reason="no")
    assert world.journal.holds
    session.started = True
    world.journal.session_began()
    assert kinds(session) == [Kind.PORT, Kind.PORT_FAILURE]
    assert world.own == []
    assert not world.journal.holds


@pytest.mark.parametrize("how", ["it stays", "it is used", "it ends"])
def test_what_listens_gets_a_record_if_no_session_follows(how: str) -> None:
    """-N -R: when it has stayed for a while, when a connection comes through, or at the end."""
    world = World()
    world.journal.listening(Forward("tcpip-forward", ":80"))
    assert world.own == []
    match how:
        case "it stays":
            world.journal.ensure_record()
        case "it is used":
            world.journal.opened(0, Forward("forwarded-tcpip", ":80"))
        case _:
            world.journal.end()
    assert kinds(world.own[0])[0] is Kind.PORT


def test_a_record_stays_the_owner() -> None:
    """Forwards that come after a session has begun belong to the record, if there is one already."""
    world = World()
    world.journal.opened(0, PORT)
    world.sessions.append(Session(started=True))
    world.journal.opened(1, PORT)
    assert kinds(world.own[0]) == [Kind.PORT, Kind.PORT]


def test_the_session_that_the_kind_names() -> None:
    """X11 and the agent."""
    older, asked = Session(started=True), Session(started=True)
    world = World(older, asked)
    world.journal.opened(0, Forward("x11", "X11 display"), asked)
    assert kinds(asked) == [Kind.PORT]
    assert older.told == []


def test_refusals_are_told_and_bounded() -> None:
    """The last one says that there may be more."""
    world = World()
    for _ in range(FORWARD_REFUSALS_TOLD + 5):
        world.journal.failed(PORT, public="no", reason="no role")
    told = world.own[0].told
    assert len(told) == FORWARD_REFUSALS_TOLD
    assert told[0][1]["error"] == "no role"
    assert "later ones" in str(told[-1][1]["error"])


def test_a_connection_that_only_stays() -> None:
    """It gets a record, unless something else was told of it."""
    world = World()
    world.journal.ensure_record()
    world.journal.ensure_record()
    assert len(world.own) == 1
    world = World(Session(started=True))
    world.journal.ensure_record()
    assert world.own == []


def test_a_failed_end_has_its_reason() -> None:
    """The target went away, say."""
    world = World()
    world.journal.opened(0, PORT)
    world.journal.end("the target was lost")
    assert world.own[0].exits == [Exit(error="the target was lost")]
    assert world.own[0].ends == [(0, 0, "the target was lost")]
    world.journal.end()
    assert len(world.own[0].ends) == 1


def test_nothing_begins_after_the_end() -> None:
    """A channel that was being opened when the connection was lost is refused by that."""
    world = World()
    world.journal.end()
    world.journal.opened(0, PORT)
    world.journal.failed(PORT, public="no", reason="no")
    world.journal.listening(Forward("tcpip-forward", ":80"))
    world.journal.closed(0, sent=1, received=1)
    assert world.own == []


def test_what_cannot_be_told_raises() -> None:
    """The connection must end then."""
    world = World()
    world.failure = StoreError("the audit log is away")
    with pytest.raises(StoreError):
        world.journal.opened(0, PORT)
    with pytest.raises(StoreError):
        world.journal.failed(PORT, public="no", reason="no")
    world.journal.closed(0, sent=1, received=1)
    world.journal.end()


def test_a_recorder_that_fails_is_heard() -> None:
    """Of the connection's own session."""
    world = World()
    world.journal.opened(0, PORT)
    on_failure = world.own[0].on_failure
    assert on_failure is not None
    on_failure(RecordingError("full"))
    assert len(world.lost) == 1
