"""What every store of recordings must do: the same tests over files and over a real S3-compatible server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from interlock.adapters.blob.bucket import Bucket
from interlock.adapters.blob.content import PART_SIZE
from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.objects import BucketRecordings
from interlock.adapters.blob.rekeying import FRONT
from interlock.core.errors import NotFound, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.container import PREAMBLE_SIZE, BlockBuilder, preamble
from interlock.domain.recording import DIED, FrameKind, Header, RecordingState, to_payload
from interlock.domain.session import Exit
from interlock.testing.recordings import CONTENT, made, signer

Stores = Callable[[], FileRecordings]
"""Makes one more view of the same storage, as another process or machine has it."""


@pytest.fixture(params=["files", pytest.param("s3", marks=pytest.mark.slow)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """Two kinds of storage, empty."""
    if request.param == "files":
        return lambda: FileRecordings(tmp_path / "files")
    place = request.getfixturevalue("s3").place(f"b-{uuid4()}")
    return lambda: BucketRecordings(tmp_path / str(uuid4()), Bucket(place))


@pytest.fixture
def store(stores: Stores) -> FileRecordings:
    """One view."""
    return stores()


def sid_of(number: int) -> SessionId:
    """One of many."""
    return SessionId(f"d46d710b-24b9-4f86-af68-{number:012x}")


SID = sid_of(1)


def recording(sid: SessionId = SID, *, output: bytes = b"out", ended: Exit | None = None) -> bytes:
    """A whole recording."""
    header = Header(
        sid=sid,
        user="jeff",
        login="root",
        hostname="web1",
        target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
        sub_kind="interlock",
        recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
        mode="node",
        kind="exec",
        command="ls",
        start="2026-01-10T22:23:57.642Z",
        cluster="demo",
    )
    builder = BlockBuilder(b"saltsalt")
    pieces = [preamble(b"saltsalt")]
    for kind, at, payload in (
        (FrameKind.HEADER, 0, to_payload(header)),
        (FrameKind.STDOUT, 1_000, output),
        (FrameKind.EXIT, 2_500_000, to_payload(ended or Exit(status=0))),
    ):
        builder.add(kind, at, payload)
        pieces.append(builder.take())
    return b"".join(pieces)


def long_content() -> bytes:
    """Two parts and a piece, each part another one."""
    return b"".join(bytes([number]) * PART_SIZE for number in (1, 2)) + b"the rest"


def in_file(directory: Path, data: bytes) -> Path:
    """A closed file."""
    path = directory / str(uuid4())
    path.write_bytes(data)
    return path


async def contents(store: FileRecordings, sid: SessionId = SID) -> bytes:
    """The stored bytes."""
    return b"".join([piece async for piece in store.read(sid)])


@pytest.mark.parametrize("data", [recording(), long_content()], ids=["short", "long"])
async def test_what_is_stored_is_what_was_there(stores: Stores, tmp_path: Path, data: bytes) -> None:
    """For every view, under the same URL however often it is stored."""
    path = in_file(tmp_path, data)
    urls = {await stores().store(SID, path), await stores().store(SID, path)}
    assert await contents(stores()) == data
    assert len(urls) == 1
    assert str(SID) in urls.pop()


async def test_another_recording_of_a_session_is_refused(stores: Stores, tmp_path: Path) -> None:
    """The first one stays, and the newcomer's owner is told for good."""
    await stores().store(SID, in_file(tmp_path, recording()))
    for other in (recording(output=b"OUT"), recording(output=b"longer"), long_content()):
        with pytest.raises(RecordingError, match="another recording"):
            await stores().store(SID, in_file(tmp_path, other))
    assert await contents(stores()) == recording()


@pytest.mark.parametrize("begin", [b"", long_content()], ids=["short", "long"])
async def test_of_many_who_complete_one_session_one_succeeds(stores: Stores, tmp_path: Path, begin: bytes) -> None:
    """Whoever they are, there is one recording afterwards, it is one of theirs, and it never was another."""
    tails = [recording(output=b"%d" % number) for number in range(3 if begin else 8)]
    path = in_file(tmp_path, begin)

    seen: list[bytes] = []

    async def complete(tail: bytes) -> None:
        await stores().complete(SID, path, len(begin), tail)
        seen.append(await contents(stores()))

    async with asyncio.TaskGroup() as tasks:
        for tail in tails:
            tasks.create_task(complete(tail))
    assert seen[0] in [begin + tail for tail in tails]
    assert set(seen) == {await contents(stores())}
    assert [info.sid for info in await stores().recordings()] == [SID]


@pytest.mark.parametrize("begin", [recording()[:-40], long_content()], ids=["short", "long"])
async def test_a_completed_recording_gives_way_to_the_daemons_own(
    stores: Stores, tmp_path: Path, begin: bytes
) -> None:
    """If that begins with all that had arrived (ADR-0008); afterwards nothing replaces it."""
    arrived, whole = in_file(tmp_path, begin + b"torn"), begin + b"and how it went on"
    url = await stores().complete(SID, arrived, len(begin), b"cut off")
    assert await contents(stores()) == begin + b"cut off"
    assert await stores().store(SID, in_file(tmp_path, whole)) == url
    assert await contents(stores()) == whole
    await stores().complete(SID, arrived, len(begin), b"cut off")
    with pytest.raises(RecordingError, match="another recording"):
        await stores().store(SID, in_file(tmp_path, begin + b"something else"))
    assert await contents(stores()) == whole


@pytest.mark.parametrize("own", [b"oNe and two", b"on", b""])
async def test_what_had_arrived_is_never_replaced(stores: Stores, tmp_path: Path, own: bytes) -> None:
    """A copy that lacks some of it is another recording (R7)."""
    await stores().complete(SID, in_file(tmp_path, b"one"), 3, b" cut off")
    with pytest.raises(RecordingError, match="another recording"):
        await stores().store(SID, in_file(tmp_path, own))
    assert await contents(stores()) == b"one cut off"


async def test_lists_say_what_recordings_say_of_themselves(stores: Stores, tmp_path: Path) -> None:
    """Header, length, and whether they were cut off; a second list is the same."""
    store = stores()
    await store.store(SID, in_file(tmp_path, recording()))
    await store.store(sid_of(2), in_file(tmp_path, recording(sid_of(2), ended=Exit(error=DIED))))
    for _ in range(2):
        found = {info.sid: info for info in await stores().recordings([SID, sid_of(2), sid_of(3)])}
        assert set(found) == {SID, sid_of(2)}
        assert found[SID].meta["user"] == "jeff"
        assert found[SID].meta["duration_ms"] == 2500
        assert found[SID].size == len(recording())
        assert found[sid_of(2)].state is RecordingState.CUT_OFF
        assert {info.sid for info in await store.recordings()} == set(found)
        assert await store.named() == [SID, sid_of(2)]


async def test_what_is_not_there_is_told_apart_from_a_fault(store: FileRecordings, tmp_path: Path) -> None:
    """Neither a missing recording nor a missing file is a bug."""
    with pytest.raises(NotFound):
        await contents(store)
    assert await store.recordings([SID]) == []
    with pytest.raises(StoreError):
        await store.store(SID, tmp_path / "nowhere")
    with pytest.raises(StoreError):
        await store.complete(SID, tmp_path / "nowhere", 10, b"")


async def test_a_session_is_recorded_once(store: FileRecordings, tmp_path: Path) -> None:
    """As far as this process knows, none begins again."""
    assert not store.stored(SID)
    await store.store(SID, in_file(tmp_path, recording()))
    assert store.stored(SID)
    with pytest.raises(FileExistsError):
        store.create(SID)


async def test_a_wrapped_key_is_wrapped_anew(stores: Stores, tmp_path: Path) -> None:
    """Every view sees it, nothing else is different, and lists go on."""
    locked = made(by=signer(), content=CONTENT)
    await stores().store(SID, in_file(tmp_path, locked.data))
    seen = []

    def rewrap(wrapped: bytes) -> bytes:
        seen.append(wrapped)
        return b"for others"

    assert await stores().rekey(SID, rewrap)
    after = await contents(stores())
    assert seen == [CONTENT.wrapped]
    assert (len(after), after[4112:]) == (len(locked.data), locked.data[4112:])
    assert CONTENT.wrapped not in after
    assert b"for others" in after
    assert [info.sid for info in await stores().recordings()] == [SID]


async def test_what_holds_no_wrapped_key_is_left_as_it_is(stores: Stores, tmp_path: Path) -> None:
    """In the clear, or not there, or of which the key is somebody else's."""
    await stores().store(SID, in_file(tmp_path, recording()))
    assert not await stores().rekey(SID, lambda wrapped: wrapped)
    with pytest.raises(NotFound):
        await stores().rekey(sid_of(2), lambda wrapped: wrapped)

    def refuse(_wrapped: bytes) -> bytes:
        raise RecordingError("encrypted for others")

    locked = made(content=CONTENT)
    await stores().store(sid_of(3), in_file(tmp_path, locked.data))
    with pytest.raises(RecordingError, match="for others"):
        await stores().rekey(sid_of(3), refuse)
    assert await contents(stores(), sid_of(3)) == locked.data


async def test_a_recording_that_is_delivered_again_after_its_key_was_wrapped_anew(
    stores: Stores, tmp_path: Path
) -> None:
    """Its daemon was killed before it could remove its part: that is no second recording."""
    locked = made(content=CONTENT)
    path = tmp_path / "delivered"
    path.write_bytes(locked.data)
    await stores().store(SID, path)
    await stores().rekey(SID, lambda _wrapped: b"for others")
    await stores().store(SID, path)
    assert b"for others" in await contents(stores())
    path.write_bytes(locked.data[:-1] + b"x")
    with pytest.raises(RecordingError, match="another recording"):
        await stores().store(SID, path)


async def test_what_was_completed_gives_way_also_after_its_key_was_wrapped_anew(
    stores: Stores, tmp_path: Path
) -> None:
    """The daemon's own copy has the key as it was wrapped before; who may read stays as it was decided since."""
    locked = made(by=signer(), content=CONTENT)
    path, keep = in_file(tmp_path, locked.data), len(locked.data) - len(locked.blocks[-1])
    await stores().complete(SID, path, keep, b"made up")
    await stores().rekey(SID, lambda _wrapped: b"for others")
    for _ in range(2):
        await stores().store(SID, path)
        after = await contents(stores())
        assert after[FRONT:] == locked.data[FRONT:]
        assert after[:PREAMBLE_SIZE] == locked.data[:PREAMBLE_SIZE]
        assert b"for others" in after
        assert CONTENT.wrapped not in after
    path.write_bytes(locked.data + b"x")
    with pytest.raises(RecordingError, match="another recording"):
        await stores().store(SID, path)


async def test_what_does_not_begin_with_all_that_had_arrived_is_another_recording(
    stores: Stores, tmp_path: Path
) -> None:
    """Whatever its key is wrapped for."""
    locked = made(by=signer(), content=CONTENT)
    path = in_file(tmp_path, locked.data)
    await stores().complete(SID, path, len(locked.data) - 10, b"made up")
    await stores().rekey(SID, lambda _wrapped: b"for others")
    for at in (3, FRONT + 80):
        changed = bytearray(locked.data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(RecordingError, match="another recording"):
            await stores().store(SID, path)


async def test_any_place_of_a_recording_can_be_read(stores: Stores, tmp_path: Path) -> None:
    """Without what is around it; and what is put in its place meanwhile is never read instead."""
    locked = made(by=signer(), content=CONTENT).data
    with pytest.raises(NotFound):
        await stores().open(SID)
    await stores().store(SID, in_file(tmp_path, locked))
    opened = await stores().open(SID)
    assert opened.size == len(locked)
    assert await opened.read(FRONT, 10) == locked[FRONT : FRONT + 10]
    assert await opened.read(0, 0) == b""
    assert await opened.read(len(locked) - 5, 100) == locked[-5:]
    assert await opened.read(len(locked) + 5, 100) == b""
    await stores().rekey(SID, lambda _wrapped: b"for others")
    try:
        assert CONTENT.wrapped in await opened.read(0, FRONT)
    except StoreError as error:
        assert "storage" in error.public  # noqa: PT017  # an object that has changed is not read
    await opened.close()
