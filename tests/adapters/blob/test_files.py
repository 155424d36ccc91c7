"""Recordings as files: names, modes, and what a crash at any step leaves."""

import errno
import os
import resource
from pathlib import Path

import pytest

from interlock.adapters.blob import files
from interlock.adapters.blob.files import FileRecordings
from interlock.core.errors import NotFound, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import JsonValue
from interlock.domain.container import BlockBuilder, decode, preamble
from interlock.domain.recording import Frame, FrameKind, Header, Output, Stream, to_payload
from interlock.domain.session import Exit

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("23bc35d7-10f5-421f-9ef4-890af45e3166")
SALT = b"saltsalt"
HEADER = Header(
    sid=SID,
    user="jeff",
    login="root",
    hostname="web1",
    target_id=OTHER,
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="exec",
    command="ls",
    start="2026-01-10T22:23:57.642Z",
    cluster="demo",
)


def blocks() -> list[bytes]:
    """Preamble and header; output; exit."""
    made = []
    builder = BlockBuilder(SALT)
    for kind, at, payload in (
        (FrameKind.HEADER, 0, to_payload(HEADER)),
        (FrameKind.STDOUT, 1_000, b"out"),
        (FrameKind.EXIT, 2_500_000, to_payload(Exit(status=0))),
    ):
        builder.add(kind, at, payload)
        made.append(builder.take())
    return [preamble(SALT) + made[0], *made[1:]]


@pytest.fixture
def recordings(tmp_path: Path) -> FileRecordings:
    """An empty store."""
    return FileRecordings(tmp_path / "recordings")


async def finished(recordings: FileRecordings, sid: SessionId = SID) -> str:
    """Write and store a whole recording."""
    part = recordings.create(sid)
    for block in blocks():
        part.append(block)
    part.close()
    url = await recordings.store(sid, recordings.path(sid))
    await recordings.discard(sid)
    return url


async def contents(recordings: FileRecordings, sid: SessionId = SID) -> bytes:
    """The stored bytes."""
    return b"".join([chunk async for chunk in recordings.read(sid)])


async def test_a_part_becomes_a_recording(recordings: FileRecordings, tmp_path: Path) -> None:
    """The stored bytes are what was appended; the part is gone; the URL names the file."""
    url = await finished(recordings)
    assert await contents(recordings) == b"".join(blocks())
    assert url == (tmp_path / "recordings" / f"{SID}.ilr").as_uri()
    assert not recordings.path(SID).exists()


async def test_only_the_owner_may_read(tmp_path: Path) -> None:
    """Files are 0600, directories 0700, whatever the umask."""
    before = os.umask(0)
    try:
        fresh = FileRecordings(tmp_path / "fresh")
        await finished(fresh)
        part = fresh.create(OTHER)
    finally:
        os.umask(before)
    part.close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "fresh").rglob("*")}
    assert modes == {"live": 0o700, "quarantine": 0o700, f"{SID}.ilr": 0o600, f"{OTHER}.part": 0o600}


async def test_storing_again_changes_nothing(recordings: FileRecordings, tmp_path: Path) -> None:
    """An upload that is repeated after a crash finds its work done; nobody replaces a recording."""
    first = await finished(recordings)
    again = tmp_path / "again"
    again.write_bytes(b"".join(blocks()))
    assert await recordings.store(SID, again) == first
    assert await recordings.store(SID, recordings.path(SID)) == first
    assert await contents(recordings) == b"".join(blocks())


async def test_another_recording_of_the_same_session_is_put_aside(
    recordings: FileRecordings, tmp_path: Path
) -> None:
    """Neither the first recording nor the newcomer is lost, and nobody is told that the newcomer was stored."""
    await finished(recordings)
    same_size = b"x" * len(b"".join(blocks()))
    for name, content in (("again", same_size), ("once-more", b"one more")):
        again = tmp_path / name
        again.write_bytes(content)
        with pytest.raises(RecordingError, match="another recording"):
            await recordings.store(SID, again)
    assert await contents(recordings) == b"".join(blocks())
    assert (tmp_path / "recordings" / "quarantine" / f"{SID}.rival").read_bytes() == same_size


async def test_a_file_from_another_file_system_is_copied(
    recordings: FileRecordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where links are impossible, the recording still appears whole, with the same mode."""
    source = tmp_path / "arrived"
    source.write_bytes(b"".join(blocks()))

    def across(_source: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    await recordings.store(SID, source)
    assert await contents(recordings) == b"".join(blocks())
    assert recordings._done(SID).stat().st_mode & 0o777 == 0o600


async def test_a_part_stays_until_it_is_discarded(recordings: FileRecordings) -> None:
    """Stored recording and part exist side by side, so that a crash between the two repeats and loses nothing."""
    part = recordings.create(SID)
    for block in blocks():
        part.append(block)
    part.close()
    await recordings.store(SID, recordings.path(SID))
    assert await recordings.unfinished() == [SID]
    await recordings.discard(SID)
    await recordings.discard(SID)
    assert await recordings.unfinished() == []
    assert await contents(recordings) == b"".join(blocks())


async def test_what_is_not_there_cannot_be_stored_or_read(recordings: FileRecordings) -> None:
    """A missing part is a failure of storage; a missing recording is not found."""
    with pytest.raises(StoreError):
        await recordings.store(SID, recordings.path(SID))
    with pytest.raises(NotFound):
        await contents(recordings)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 36, "", f"{SID}/x", f"{SID}\n"])
def test_names_that_are_no_session_id_are_refused(recordings: FileRecordings, name: str) -> None:
    """No text but an ID ever becomes part of a path (R26)."""
    with pytest.raises(ValueError, match="session ID"):
        recordings.create(SessionId(name))


async def test_one_session_is_recorded_once(recordings: FileRecordings) -> None:
    """A second part is refused while the first is there, and when its recording is stored."""
    recordings.create(SID).close()
    with pytest.raises(FileExistsError):
        recordings.create(SID)
    await recordings.discard(SID)
    await finished(recordings)
    with pytest.raises(FileExistsError):
        recordings.create(SID)


def test_a_link_is_not_followed(recordings: FileRecordings, tmp_path: Path) -> None:
    """Somebody who could plant a link cannot redirect a recording."""
    recordings.path(SID).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="File exists"):
        recordings.create(SID)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_block_that_does_not_fit_leaves_no_trace(
    recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fills up in the middle of a block, the part ends with the block before."""
    part = recordings.create(SID)
    part.append(blocks()[0])
    write, room = os.write, 5

    def filling(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        size, room = min(len(data), room), 0
        return write(fd, data[:size])

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(OSError, match="No space"):
        part.append(blocks()[1])
    monkeypatch.setattr(os, "write", write)
    part.append(blocks()[2])
    part.close()
    survey = await recordings.survey(SID)
    assert (survey.lost, survey.exit) == (0, Exit(status=0))


async def test_what_cannot_be_read_hides_no_orphan_and_is_an_error_in_words(
    recordings: FileRecordings, tmp_path: Path
) -> None:
    """Here by links that lead to themselves; whoever mends the part is told so, and tries again."""
    recordings.create(OTHER).close()
    for path in (recordings.path(SID), tmp_path / "recordings" / f"{SID}.ilr"):
        path.symlink_to(path)
    assert set(await recordings.unfinished()) == {SID, OTHER}
    with pytest.raises(RecordingError):
        await recordings.survey(SID)
    with pytest.raises(RecordingError):
        await recordings.recordings()
    with pytest.raises(RecordingError):
        await recordings.left_behind([SID])


async def test_orphans_are_found_and_living_sessions_are_not(recordings: FileRecordings, tmp_path: Path) -> None:
    """Recovery sees the parts that nobody writes to, also through another view of the directory."""
    living = recordings.create(SID)
    recordings.create(OTHER).close()
    (tmp_path / "recordings" / "live" / "notes.part").write_text("not ours")
    view = FileRecordings(tmp_path / "recordings")
    assert await view.unfinished() == [OTHER]
    living.close()
    assert set(await view.unfinished()) == {SID, OTHER}


async def test_an_end_of_which_the_disk_takes_only_some_is_not_written(recordings: FileRecordings) -> None:
    """A write may take less than it was given and call that a success: here up to the longest file allowed."""
    part = recordings.create(SID)
    part.append(blocks()[0])
    part.close()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(b"".join(blocks())) - 3, before[1]))
    try:
        with pytest.raises(RecordingError, match="mended"):
            await recordings.mend(SID, len(blocks()[0]), b"".join(blocks()[1:]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await recordings.mend(SID, len(blocks()[0]), b"".join(blocks()[1:]))
    assert recordings.path(SID).read_bytes() == b"".join(blocks())


async def test_a_torn_part_can_be_mended(recordings: FileRecordings) -> None:
    """A survey says what is whole; mending cuts off the rest and appends the end."""
    part = recordings.create(SID)
    part.append(blocks()[0] + blocks()[1] + blocks()[2][:-3])
    part.close()
    survey = await recordings.survey(SID)
    assert (survey.header, survey.exit, survey.last) == (HEADER, None, 1_000)
    assert survey.lost == len(blocks()[2]) - 3
    await recordings.mend(SID, survey.good, blocks()[2])
    await recordings.store(SID, recordings.path(SID))
    assert list(decode([await contents(recordings)])) == [
        Frame(0, HEADER),
        Frame(1_000, Output(Stream.STDOUT, b"out")),
        Frame(2_500_000, Exit(status=0)),
    ]


async def test_a_part_that_is_gone_cannot_be_surveyed(recordings: FileRecordings) -> None:
    """A missing file is an error of the recording, not of the program."""
    with pytest.raises(RecordingError):
        await recordings.survey(SID)


async def test_quarantine_takes_a_part_out_of_the_way(recordings: FileRecordings, tmp_path: Path) -> None:
    """The file is kept for a person; recovery does not see it any more. Twice is harmless."""
    part = recordings.create(SID)
    part.append(b"garbage")
    part.close()
    assert (await recordings.survey(SID)).header is None
    await recordings.quarantine(SID)
    await recordings.quarantine(SID)
    assert await recordings.unfinished() == []
    assert (tmp_path / "recordings" / "quarantine" / f"{SID}.part").read_bytes() == b"garbage"


async def test_listings_show_header_and_duration(recordings: FileRecordings) -> None:
    """Meta comes from the recording itself, newest first; an unreadable one is listed without."""
    await finished(recordings)
    damaged = recordings.path(OTHER)
    damaged.write_bytes(b"garbage")
    await recordings.store(OTHER, damaged)
    os.utime(recordings._done(OTHER), (0, 0))
    first, second = await recordings.recordings()
    assert (first.sid, first.size) == (SID, len(b"".join(blocks())))
    assert first.meta == {
        "sid": SID, "user": "jeff", "login": "root", "hostname": "web1", "target_id": OTHER,
        "sub_kind": "interlock", "recorded_by": "31486a8f-ed19-45e7-9610-ddb916493e52", "mode": "node",
        "kind": "exec", "command": "ls", "start": "2026-01-10T22:23:57.642Z", "cluster": "demo",
        "interactive": False, "duration_ms": 2500,
    }  # fmt: skip
    assert (second.sid, second.meta) == (OTHER, {})


async def test_a_list_reads_no_recording_twice(
    recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptions are kept, in bounded memory; a file that somebody put in a recording's place is read again."""
    monkeypatch.setattr(files, "REMEMBERED", 1)
    read: list[Path] = []
    describe = files._meta

    def counting(path: Path) -> dict[str, JsonValue]:
        read.append(path)
        return describe(path)

    monkeypatch.setattr(files, "_meta", counting)
    done = Path((await finished(recordings)).removeprefix("file://"))
    first, again = await recordings.recordings(), await recordings.recordings()
    assert first == again
    assert read == [done]
    replacement = done.with_suffix(".new")
    replacement.write_bytes(b"not a recording")
    replacement.replace(done)
    [info] = await recordings.recordings()
    assert info.meta == {}
    await finished(recordings, OTHER)
    await recordings.recordings()
    assert len(recordings._described) == 1


async def test_a_part_is_followed_while_it_grows(recordings: FileRecordings) -> None:
    """Everything that was appended, once, and nothing after the end; whoever follows disturbs nobody."""
    part = recordings.create(SID)
    reader = recordings.follow(SID)
    assert reader.read() == b""
    part.append(b"one")
    part.append(b"two")
    assert reader.read() == b"onetwo"
    assert reader.read() == b""
    part.append(b"three")
    part.close()
    assert reader.read() == b"three"
    reader.close()
    reader.close()
    assert reader.read() == b""
    with pytest.raises(FileNotFoundError):
        recordings.follow(OTHER)
