"""Whose a session is: its ID, its daemon, its cluster."""

from dataclasses import replace

import pytest

from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import SessionId
from interlock.domain.audit import Kind
from interlock.domain.duties import NODE_DUTIES, NONE, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.recording import Header, Output, Stream
from interlock.domain.session import SessionKind, Start
from interlock.services.sessions.sessions import LiveSession
from interlock.testing.daemon import CONNECTION, NODE, OTHER, PROXY, SHELL, SID, Daemon, context


async def test_an_id_of_another_live_session_is_refused(daemon: Daemon) -> None:
    """A target that reports one ID for two sessions does not get two sessions into one recording."""
    daemon.sessions.agree(context())
    with pytest.raises(RemoteProtocolError, match="ID of another session"):
        daemon.sessions.agree(context())


async def test_an_id_of_an_ended_session_is_refused(daemon: Daemon) -> None:
    """Neither does one that repeats an old ID get a session, started or not."""
    never = daemon.sessions.agree(replace(context(), sid=OTHER))
    never.end(tx=0, rx=0)
    with pytest.raises(RemoteProtocolError, match="ID of another session"):
        daemon.sessions.agree(replace(context(), sid=OTHER))
    async with daemon.running() as sessions:
        first = sessions.agree(context())
        first.start(SHELL)
        first.end(tx=0, rx=0)
        await sessions._uploads.wait_idle()
        with pytest.raises(RemoteProtocolError, match="ID of another session"):
            sessions.agree(context())


async def test_an_id_that_another_daemon_claimed_is_refused(daemon: Daemon) -> None:
    """It never becomes a session of this one; without the duty to record there is nothing to claim."""
    daemon.claims.hold(SID, NODE)
    with pytest.raises(RemoteProtocolError, match="ID of another session"):
        daemon.sessions.agree(context())
    daemon.sessions.agree(context(NODE_DUTIES[RecordingMode.PROXY, True]))
    assert daemon.claims.owner(SID) == NODE


async def test_a_session_is_claimed_until_everything_about_it_is_stored(daemon: Daemon) -> None:
    """Nobody else may speak of it in between; afterwards the audit log knows whose it was."""
    async with daemon.running() as sessions:
        session = sessions.agree(context())
        assert daemon.claims.held(SID)
        session.start(SHELL)
        session.end(tx=0, rx=0)
        assert daemon.claims.held(SID)
    assert not daemon.claims.held(SID)
    assert daemon.names()[-1] == "session.upload"
    assert not daemon.claims.hold(SID, NODE)


async def test_many_sessions_at_once_are_kept_apart(daemon: Daemon) -> None:
    """Twenty interleaved sessions have twenty complete, separate stories."""
    sids = [SessionId(f"d46d710b-24b9-4f86-af68-{number:012x}") for number in range(20)]
    async with daemon.running() as sessions:
        live: list[LiveSession] = [sessions.agree(replace(context(), sid=sid)) for sid in sids]
        for session in live:
            session.start(SHELL)
        for session in live:
            session.output(Stream.STDOUT, session.sid.encode())
        for session in reversed(live):
            session.end(tx=0, rx=0)
    for sid in sids:
        expected = ["session.start", "session.end", "session.leave", "session.data", "session.upload"]
        assert daemon.names(sid) == expected
        assert (await daemon.recording(sid))[1].body == Output(Stream.STDOUT, sid.encode())


async def test_a_session_that_another_cluster_records_leaves_a_trace(daemon: Daemon) -> None:
    """One event with the ID that the other cluster's audit log has: who, from where, where to, and who records."""
    elsewhere = replace(context(NONE), target_cluster="leaf", recorded_in="leaf")
    async with daemon.running() as sessions:
        session = sessions.agree(elsewhere)
        session.start(Start(SessionKind.SHELL))
        session.end(tx=1, rx=2)
    [told] = [event.to_json() for event in daemon.audit.stored]
    assert (told["event"], told["sid"], told["ei"]) == ("session.elsewhere", SID, 0)
    expected = {"recorded_in": "leaf", "target_cluster": "leaf", "forwarded_by": PROXY, "user": "jeff"}
    assert (expected | CONNECTION).items() <= told.items()
    assert "recorded_by" not in told
    assert daemon.trackers.stored == {}


async def test_somebody_from_another_cluster_is_shown_as_such(daemon: Daemon) -> None:
    """In every event, the recording and the tracker: a namesake here is another person."""
    async with daemon.running() as sessions:
        session = sessions.agree(replace(context(), identity=Identity("jeff", ("access",), "main")))
        session.start(Start(SessionKind.SHELL))
        session.end(tx=1, rx=2)
    started = next(event.to_json() for event in daemon.audit.stored if event.kind is Kind.SESSION_START)
    assert (started["origin_cluster"], started["user_cluster_name"]) == ("main", "main")
    header = (await daemon.recording())[0].body
    assert isinstance(header, Header)
    assert header.origin_cluster == "main"
    assert [each.origin_cluster for each in daemon.trackers.stored.values()] == ["main"]
