"""Which sessions and recordings a person is shown, and what of them comes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core import portal as wire
from interlock.core.errors import RecordingError
from interlock.domain.audit import Kind
from interlock.domain.container import FRONT, decode, frames_from
from interlock.domain.recording import Output, Stream
from interlock.services.portal.playback import Download
from interlock.services.portal.portal import Portal
from interlock.testing.clock import FakeClock
from interlock.testing.portal import OTHER_SID, SID, Events, World, recording, refused, signed_in
from interlock.testing.recordings import CONTENT, HEADER, SECOND, long_recording, made


async def test_sessions_and_recordings_are_the_callers_own(portal: Portal) -> None:
    """R23: nobody sees what others do."""
    sessions = await portal.answer(signed_in("alice"), wire.Sessions())
    assert isinstance(sessions, wire.SessionList)
    assert [item.sid for item in sessions.sessions] == [SID]
    recordings = await portal.answer(signed_in("bob"), wire.Recordings())
    assert isinstance(recordings, wire.RecordingList)
    assert [item.sid for item in recordings.recordings] == [OTHER_SID]


async def test_a_session_whose_daemon_died_is_not_listed(portal: Portal, clock: FakeClock) -> None:
    """Nobody keeps its tracker alive, so it is not live, though nobody has swept it yet."""
    clock.advance(timedelta(seconds=30))
    assert await portal.answer(signed_in("alice"), wire.Sessions()) == wire.SessionList([])


async def test_playing_ones_own_recording_is_an_event(portal: Portal, world: World, events: Events) -> None:
    """session.recording.access names who read which session's recording."""
    reply = await portal.answer(signed_in(), wire.Recording(SID.upper()))
    assert isinstance(reply, Download)
    assert b"".join([piece async for piece in reply.pieces]) == world.files[SID]
    assert world.closed == 1
    body = events[0].to_json()
    assert (body["event"], body["code"], body["sid"]) == ("session.recording.access", "T2012I", SID)
    assert (body["user"], body["addr.remote"]) == ("alice", "192.0.2.7:4711")


@pytest.mark.parametrize("fits", [True, False])
async def test_an_encrypted_recording_is_opened_for_who_may_play_it(
    portal: Portal, world: World, fits: bool
) -> None:
    """If the gateway is one of the recipients; else it is handed out as it is, for an identity of the player's."""

    def unlock(_wrapped: bytes) -> bytes:
        if not fits:
            raise RecordingError("encrypted for others")
        return CONTENT.key

    portal._playback._unlock = unlock
    locked = made([b"secret"], header=replace(HEADER, user="alice"), content=CONTENT)
    world.files[SID] = locked.data
    reply = await portal.answer(signed_in(), wire.Recording(SID))
    assert isinstance(reply, Download)
    data = b"".join([piece async for piece in reply.pieces])
    if fits:
        assert Output(Stream.STDOUT, b"secret") in [frame.body for frame in decode([data])]
    else:
        assert data == locked.data


async def placed(reply: object, size: int) -> bytearray:
    """The file as far as it came."""
    assert isinstance(reply, Download)
    data, came = bytearray(size), b"".join([piece async for piece in reply.pieces])
    for offset, length in reply.head.places:
        data[offset : offset + length], came = came[:length], came[length:]
    assert not came
    return data


@pytest.mark.parametrize("fits", [True, False, None])
async def test_of_a_recording_that_is_played_from_a_moment_comes_what_is_needed(
    portal: Portal, world: World, events: Events, fits: bool | None
) -> None:
    """Encrypted or not; with the key in the open if the gateway has it, and as it is if not."""

    def unlock(_wrapped: bytes) -> bytes:
        if not fits:
            raise RecordingError("encrypted for others")
        return CONTENT.key

    portal._playback._unlock = unlock
    content = None if fits is None else CONTENT
    whole = long_recording(60, header=replace(HEADER, user="alice"), content=content)
    world.files[SID] = whole
    at = 55 * SECOND
    data = await placed(await portal.answer(signed_in(), wire.Recording(SID, at)), len(whole))
    assert world.opened is not None
    assert world.opened.closed == 1
    assert world.opened.read_bytes < len(whole) * 2 // 3
    own = None if fits is not False else lambda _wrapped: CONTENT.key
    frames = list(frames_from(lambda offset, size: bytes(data[offset : offset + size]), len(data), at, own))
    known = list(
        frames_from(lambda offset, size: whole[offset : offset + size], len(whole), at, lambda _w: CONTENT.key)
    )
    assert frames == known
    assert [event.kind for event in events] == [Kind.RECORDING_ACCESS]


async def test_where_a_place_cannot_be_told_all_of_the_recording_comes(portal: Portal, world: World) -> None:
    """It is damaged, and whoever plays it is told so; of others nothing comes, whatever moment they ask for."""
    whole = bytearray(long_recording(40, header=replace(HEADER, user="alice")))
    start = whole.rfind(b"ILRB", 0, whole.rfind(b"ILRB"))
    whole[start : start + 4] = b"xxxx"
    world.files[SID] = bytes(whole)
    reply = await portal.answer(signed_in(), wire.Recording(SID, SECOND))
    assert isinstance(reply, Download)
    assert reply.head.places == []
    assert b"".join([piece async for piece in reply.pieces]) == whole
    assert world.opened is not None
    assert (world.opened.closed, world.closed) == (1, 1)
    world.files[OTHER_SID] = long_recording(40, header=replace(HEADER, user="bob"))
    for data in (world.files[OTHER_SID], recording("bob"), recording(""), b"junk", b""):
        world.files[OTHER_SID] = data
        assert (await refused(portal, signed_in(), wire.Recording(OTHER_SID, SECOND))).why in ("denied", "failed")
        assert world.opened.closed == 1
    missing = wire.Recording(str(SID)[:-1] + "0", SECOND)
    assert (await refused(portal, signed_in(), missing)).why == "not-found"


async def test_recordings_of_others_are_denied_and_unknown_ones_not_found(
    portal: Portal, world: World, events: Events
) -> None:
    """R23: knowing a session ID opens nothing; only the denial is an audit event."""
    assert (await refused(portal, signed_in(), wire.Recording(OTHER_SID))).why == "denied"
    assert world.closed == 1
    assert [event.kind.code for event in events] == ["T3007W"]
    for sid in ("../../etc/passwd", "", str(SID)[:-1] + "0"):
        assert (await refused(portal, signed_in(), wire.Recording(sid))).why == "not-found"
    assert len(events) == 1


@pytest.mark.parametrize("whole", [recording(""), recording("alice")[40:], b"", b"x" * 2 * FRONT])
async def test_a_recording_that_names_no_user_belongs_to_nobody(
    portal: Portal, world: World, whole: bytes
) -> None:
    """A header that is empty, damaged or nowhere opens to no one, not even to a user of empty name."""
    world.files[SID] = whole
    world.infos = [replace(world.infos[0], meta={})]
    world.accounts[""] = ("web",)
    for caller in (signed_in(), signed_in("")):
        assert (await refused(portal, caller, wire.Recording(SID))).why in ("denied", "failed")
        assert await portal.answer(caller, wire.Recordings()) == wire.RecordingList([])
