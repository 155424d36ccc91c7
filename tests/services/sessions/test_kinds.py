"""What a session channel may begin."""

import pytest

from interlock.domain.access import Access, SessionKind
from interlock.domain.audit import Kind
from interlock.domain.session import SessionKind as Wanted
from interlock.domain.session import Start
from interlock.services.sessions.kinds import kind_disallowed

STARTS = [
    (Start(Wanted.SHELL), SessionKind.SHELL, Kind.SESSION_REJECTED, "shells"),
    (Start(Wanted.EXEC, "id"), SessionKind.EXEC, Kind.EXEC_FAILURE, "commands"),
    (Start(Wanted.EXEC, "sftp"), SessionKind.EXEC, Kind.EXEC_FAILURE, "commands"),
    (Start(Wanted.SUBSYSTEM, "sftp"), SessionKind.SFTP, Kind.SFTP_DISALLOWED, "sftp"),
    (Start(Wanted.SUBSYSTEM, "netconf"), SessionKind.SUBSYSTEM, Kind.SUBSYSTEM_FAILURE, "subsystems"),
]


@pytest.mark.parametrize(("start", "kind", "event", "words"), STARTS)
def test_each_kind(start: Start, kind: SessionKind, event: Kind, words: str) -> None:
    """It begins if it is named, or nothing is said; every other one does not."""
    assert kind_disallowed(start, Access()) is None
    assert kind_disallowed(start, Access(session_kinds=(kind,))) is None
    others = tuple(each for each in SessionKind if each is not kind)
    for allowed in (others, ()):
        refused = kind_disallowed(start, Access(session_kinds=allowed))
        assert refused is not None
        assert refused[0] is event
        assert refused[1].public == f"your role does not allow {words}"


@pytest.mark.parametrize(
    ("asked", "forced", "judged"),
    [
        (Start(Wanted.SHELL), "backup", SessionKind.EXEC),
        (Start(Wanted.SUBSYSTEM, "sftp"), "backup", SessionKind.EXEC),
        (Start(Wanted.SUBSYSTEM, "sftp"), "internal-sftp", SessionKind.SFTP),
        (Start(Wanted.SUBSYSTEM, "netconf"), "internal-sftp -R", SessionKind.SFTP),
    ],
)
def test_it_is_what_runs_that_is_judged(asked: Start, forced: str, judged: SessionKind) -> None:
    """Not what was asked for, of which nothing happens (ADR-0034)."""
    start = asked.forced(forced)
    assert kind_disallowed(start, Access(session_kinds=(judged,))) is None
    assert kind_disallowed(start, Access(session_kinds=tuple(each for each in SessionKind if each is not judged)))


def test_what_is_forwarded_without_a_session_is_another_matter() -> None:
    """Forwards have options of their own."""
    assert kind_disallowed(Start(Wanted.CONNECTION), Access(session_kinds=())) is None
