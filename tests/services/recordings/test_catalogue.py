"""What people list: recordings from what exists, whatever became of them, and each session once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from interlock.core.errors import NotFound
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.container import SALT_SIZE, BlockBuilder, preamble
from interlock.domain.recording import DIED, FrameKind, Header, RecordingState, to_payload
from interlock.domain.session import Exit
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.domain.twin import Twin
from interlock.ports import RecordingFilter, RecordingInfo
from interlock.testing.database import put_database

NODE = DaemonId("11111111-2222-4333-8444-555555555555")


def sid(number: int) -> SessionId:
    """A session's ID."""
    return SessionId(f"00000000-0000-4000-8000-{number:012d}")


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    """Auth's stores in a new data directory."""
    (tmp_path / "data").mkdir(mode=0o700)
    put_database(tmp_path / "data" / DATABASE)
    async with open_local(tmp_path / "data") as opened:
        yield opened


def recorded(ended: Exit | None = None) -> bytes:
    """A recording's bytes; without an end if its recorder was killed."""
    salt = bytes(SALT_SIZE)
    builder = BlockBuilder(salt)
    header = Header("s", "alice", "root", "web1", NODE, "interlock", NODE, "node", "exec", "id", "2026", "demo")
    builder.add(FrameKind.HEADER, 0, to_payload(header))
    data = preamble(salt) + builder.take()
    if ended is not None:
        builder.add(FrameKind.EXIT, 5, to_payload(ended))
        data += builder.take()
    return data


async def store(local: Local, which: SessionId, ended: Exit) -> None:
    """A stored recording."""
    path = local.data_dir / "arriving"
    path.write_bytes(recorded(ended))
    await local.recordings.store(which, path)
    path.unlink()


def leave(local: Local, which: SessionId) -> None:
    """A part whose recorder is gone, or another process."""
    part = local.recordings.create(which)
    part.append(recorded())
    part.close()


async def told(local: Local, which: SessionId, *kinds: Kind, by: DaemonId = NODE, **fields: JsonValue) -> None:
    """Events of a session."""
    common: dict[str, JsonValue] = {
        "user": "alice",
        "login": "root",
        "server_id": NODE,
        "server_hostname": "web1",
        "recorded_by": by,
        "initial_command": [],
        "addr.remote": "10.0.0.1:40000",
    }
    now = local.clock.now()
    events = [
        AuditEvent(kind, now, f"{which}{kind.name}", "demo", which, index, common | fields)
        for index, kind in enumerate(kinds)
    ]
    await local.audit.append(events)


async def lives(local: Local, which: SessionId) -> None:
    """A tracker that is kept alive."""
    now = local.clock.now()
    tracker = Tracker(
        sid=which,
        state=TrackerState.RUNNING,
        created=now,
        expires=now + TRACKER_TTL,
        user="alice",
        login="root",
        hostname="web1",
        target_id=NODE,
        daemon_id=NODE,
        cluster="demo",
        sub_kind="interlock",
        recording_mode="node",
    )
    await local.trackers.put(tracker)


async def listed(local: Local, **wanted: Any) -> dict[SessionId, RecordingInfo]:
    """One page of the list."""
    return {info.sid: info for _, info in (await local.catalogue.page(RecordingFilter(**wanted))).rows}


async def states(local: Local) -> dict[SessionId, RecordingState]:
    """What is listed."""
    return {sid: info.state for sid, info in (await listed(local)).items()}


async def test_recordings_are_listed_from_what_exists(local: Local) -> None:
    """Whether they are whole, cut off, in the making, left behind, elsewhere, unreadable or gone."""
    whole, cut, running, unfinished, elsewhere, far, gone, bad = map(sid, range(1, 9))
    await store(local, whole, Exit(status=0))
    await store(local, cut, Exit(error=DIED))
    for each in (running, unfinished):
        leave(local, each)
    await lives(local, running)
    await told(local, elsewhere, Kind.SESSION_START, Kind.SESSION_END)
    await told(local, far, Kind.SESSION_START)
    await lives(local, far)
    await told(local, gone, Kind.SESSION_START, Kind.SESSION_END, by=local.daemon_id)
    leave(local, bad)
    await local.recordings.quarantine(bad)
    assert await states(local) == {
        whole: RecordingState.COMPLETE,
        cut: RecordingState.CUT_OFF,
        running: RecordingState.RUNNING,
        unfinished: RecordingState.UNFINISHED,
        elsewhere: RecordingState.ON_NODE,
        far: RecordingState.RUNNING,
        gone: RecordingState.MISSING,
        bad: RecordingState.QUARANTINED,
    }
    known = {sid: info.meta for sid, info in (await listed(local)).items()}
    assert {(meta["user"], meta["hostname"], meta["recorded_by"]) for meta in known.values()} == {
        ("alice", "web1", NODE),
        ("alice", "web1", local.daemon_id),
    }


async def test_a_recording_is_listed_in_one_state(local: Local) -> None:
    """On its way from part to store, with and without its events, it is there once."""
    one = sid(1)
    await told(local, one, Kind.SESSION_START)
    leave(local, one)
    assert await states(local) == {one: RecordingState.UNFINISHED}
    await store(local, one, Exit(status=0))
    assert await states(local) == {one: RecordingState.COMPLETE}
    await told(local, one, Kind.SESSION_UPLOAD)
    await local.recordings.discard(one)
    assert await states(local) == {one: RecordingState.COMPLETE}


async def test_what_is_not_recorded_is_no_missing_recording(local: Local) -> None:
    """Mode off."""
    await told(local, sid(1), Kind.SESSION_START, Kind.SESSION_END, session_recording="off")
    assert await states(local) == {}


async def test_a_twin_is_in_no_list_and_finds_its_session(local: Local) -> None:
    """Of trackers and recordings, stored ones and others; its ID reads the one recording."""
    ours, theirs = sid(1), sid(2)
    await told(local, ours, Kind.SESSION_START, by=local.daemon_id)
    for each in (ours, theirs):
        await lives(local, each)
        await store(local, each, Exit(status=0))
    await told(local, theirs, Kind.SESSION_START)
    await local.twins.put(Twin(ours, NODE, "10.0.0.1:40000", theirs))
    assert await states(local) == {ours: RecordingState.COMPLETE}
    assert [tracker.sid for tracker in (await local.catalogue.live(after="", limit=10))[0]] == [ours]
    read = [[piece async for piece in local.catalogue.read(each)] for each in (ours, theirs)]
    assert read[0] == read[1] == [recorded(Exit(status=0))]
    with pytest.raises(NotFound):
        [piece async for piece in local.catalogue.read(sid(3))]
    await told(local, sid(3), Kind.SESSION_START)
    assert set(await states(local)) == {ours, sid(3)}


async def pages(local: Local, limit: int, user: str | None = None) -> list[SessionId]:
    """The whole list, read in pages."""
    found: list[SessionId] = []
    after = ""
    while True:
        page = await local.catalogue.page(RecordingFilter(user, after, limit))
        found += [info.sid for _, info in page.rows]
        assert len(page.rows) <= limit
        after = page.next
        if not after:
            return found


async def test_a_list_comes_in_pages(local: Local) -> None:
    """Each once, the newest sessions first, whatever is added meanwhile; what nobody told of comes last."""
    for number in range(1, 8):
        await told(local, sid(number), Kind.SESSION_START, session_recording="off" if number == 4 else "node")
        if number != 4:
            await store(local, sid(number), Exit(status=0))
    for number in (11, 12):
        await store(local, sid(number), Exit(status=0))
    whole = [sid(number) for number in (7, 6, 5, 3, 2, 1, 11, 12)]
    for limit in (1, 2, 3, 8, 100):
        assert await pages(local, limit) == whole
    first = await local.catalogue.page(RecordingFilter(limit=3))
    await told(local, sid(8), Kind.SESSION_START)
    second = await local.catalogue.page(RecordingFilter(after=first.next, limit=100))
    assert [info.sid for _, info in (*first.rows, *second.rows)] == whole
    assert [cursor for cursor, _ in first.rows][-1] == first.next
    assert await pages(local, 2, "bob") == []
    assert await pages(local, 2, "alice") == [sid(8), *whole[:6]]


@pytest.mark.parametrize("cursor", ["here", "-1", "1.5", "0x10", "\u0663", "9" * 30])
async def test_a_cursor_comes_from_a_list(local: Local, cursor: str) -> None:
    """Anything else is not found, in words."""
    with pytest.raises(NotFound, match="cursor"):
        await local.catalogue.page(RecordingFilter(after=cursor))
    with pytest.raises(NotFound, match="cursor"):
        await local.catalogue.live(after=cursor, limit=1)


async def test_live_sessions_come_in_pages(local: Local) -> None:
    """Oldest first, each once, although one of them ends and another begins between the pages."""
    for number in (1, 2, 3, 4):
        await lives(local, sid(number))
    page, after = await local.catalogue.live(after="", limit=2)
    await local.trackers.put(page[1].moved(TrackerState.TERMINATED, now=local.clock.now()))
    await lives(local, sid(5))
    rest, end = await local.catalogue.live(after=after, limit=100)
    assert ([each.sid for each in page], [each.sid for each in rest]) == (
        [sid(1), sid(2)],
        [sid(3), sid(4), sid(5)],
    )
    assert end == ""
