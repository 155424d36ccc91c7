"""Recordings on a storage that fails, lies, or is shared, and after a crash: a real server, faults in between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from interlock.adapters.blob import bucket as bucket_module
from interlock.adapters.blob.bucket import Bucket, BucketPlace, Condition
from interlock.adapters.blob.content import PART_SIZE, Content
from interlock.adapters.blob.objects import BucketRecordings
from interlock.core.errors import ConfigError, Differs, StoreError
from interlock.core.ids import SessionId
from interlock.testing.faulty import Fault, FaultyProxy
from interlock.testing.s3 import KEY_ID, SECRET, S3Server

pytestmark = pytest.mark.slow

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
LONG = b"a" * PART_SIZE + b"b" * PART_SIZE + b"c" * 100


@pytest.fixture
def place(s3: S3Server) -> BucketPlace:
    """An empty bucket."""
    return s3.place(f"b-{uuid4()}")


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[FaultyProxy]:
    """A way to the server on which things go wrong."""
    async with FaultyProxy(s3.port) as between:
        yield between


def through(proxy: FaultyProxy, place: BucketPlace, directory: Path) -> BucketRecordings:
    """A store on the other side of the proxy."""
    here = BucketPlace(place.bucket, place.prefix, proxy.endpoint, credentials=place.credentials)
    return BucketRecordings(directory, Bucket(here))


def in_file(directory: Path, data: bytes) -> Path:
    """A closed file."""
    path = directory / str(uuid4())
    path.write_bytes(data)
    return path


async def contents(place: BucketPlace, directory: Path) -> bytes:
    """What others read."""
    store = BucketRecordings(directory / str(uuid4()), Bucket(place))
    return b"".join([piece async for piece in store.read(SID)])


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.BUSY, Fault.BROKEN])
async def test_a_storage_in_trouble_is_away_and_can_be_asked_again(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    """Nothing half is ever seen, and the next attempt succeeds."""
    store, path = through(proxy, place, tmp_path / "s"), in_file(tmp_path, LONG)
    proxy.turn(fault)
    with pytest.raises(StoreError) as caught:
        await store.store(SID, path)
    assert not isinstance(caught.value, Differs)
    assert not list(Bucket(place).listed(place.prefix))
    proxy.turn(Fault.NONE)
    await store.store(SID, path)
    assert await contents(place, tmp_path) == LONG


async def test_a_storage_that_does_not_answer_is_away(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some silence; others' requests are not held up meanwhile."""
    monkeypatch.setattr(bucket_module, "SILENCE_S", 1.0)
    store, path = through(proxy, place, tmp_path / "s"), in_file(tmp_path, b"short")
    proxy.turn(Fault.STALL)
    with pytest.raises(StoreError, match="away"):
        await store.store(SID, path)
    proxy.turn(Fault.NONE)
    await store.store(SID, path)
    assert await contents(place, tmp_path) == b"short"


@pytest.mark.parametrize("data", [b"short evidence", LONG + b"evidence"], ids=["short", "long"])
async def test_what_was_damaged_on_the_way_is_noticed_and_replaced(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path, data: bytes
) -> None:
    """The stored object is compared with the file before anybody may remove that."""
    store, path = through(proxy, place, tmp_path / "s"), in_file(tmp_path, data)
    proxy.damage = (b"evidence", b"Evidence")
    proxy.turn(Fault.DAMAGED)
    for _ in range(2):  # repeating it alone does not help
        with pytest.raises(Differs, match="not kept the recording"):
            await store.store(SID, path)
    proxy.turn(Fault.NONE)
    await store.store(SID, path)
    assert await contents(place, tmp_path) == data


async def test_an_upload_goes_on_where_a_process_that_was_killed_left_it(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """Only what is missing is sent, and nothing is left behind on the storage."""
    bucket, path = Bucket(place), in_file(tmp_path, LONG)
    first = through(proxy, place, tmp_path / "s")
    proxy.cut_after = PART_SIZE + PART_SIZE // 2  # in the second part
    proxy.turn(Fault.CUT)
    with pytest.raises(StoreError):
        await first.store(SID, path)
    [begun] = bucket.uploads(place.prefix)
    assert list(bucket.parts(begun.key, begun.id)) == [1]
    proxy.turn(Fault.NONE)
    after = through(proxy, place, tmp_path / "s")
    await after.store(SID, path)
    assert len(LONG) - PART_SIZE <= proxy.sent < PART_SIZE + PART_SIZE // 2
    assert await contents(place, tmp_path) == LONG
    assert bucket.uploads(place.prefix) == []
    assert not list((tmp_path / "s" / "live").glob("*.upload"))


async def test_an_upload_of_other_bytes_is_not_continued(place: BucketPlace, tmp_path: Path) -> None:
    """It is given up, and the note of it goes."""
    bucket, store = Bucket(place), BucketRecordings(tmp_path / "s", Bucket(place))
    key = f"{place.prefix}/{SID}.ilr"
    upload = bucket.begin(key, {})
    store.path(SID).with_suffix(".upload").write_text(f"{upload}\nof something else")
    await store.store(SID, in_file(tmp_path, LONG))
    assert await contents(place, tmp_path) == LONG
    assert bucket.uploads(place.prefix) == []


async def test_stale_uploads_are_given_up(place: BucketPlace, tmp_path: Path) -> None:
    """Those that nobody can be at any more (the server dates all of them to 2010)."""
    bucket, store = Bucket(place), BucketRecordings(tmp_path / "s", Bucket(place))
    for number in range(3):
        bucket.begin(f"{place.prefix}/{number}", {})
    [begun, *_] = bucket.uploads(place.prefix)
    assert await store.tidy(begun.begun - timedelta(seconds=1)) == 0
    assert await store.tidy(datetime(2026, 1, 1, tzinfo=UTC)) == 3
    assert bucket.uploads(place.prefix) == []


async def test_a_storage_that_ignores_conditions_is_refused(
    place: BucketPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a second recording of a session would take the place of the first."""
    store = BucketRecordings(tmp_path / "s", Bucket(place))
    await store.check()
    await store.check()
    monkeypatch.setattr(Condition, "arguments", lambda _self: {})  # the server is not even told
    with pytest.raises(ConfigError, match="If-None-Match"):
        await store.check()


async def test_a_list_while_the_storage_is_away_is_one_error(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """Of ours, however many requests it took."""
    store = through(proxy, place, tmp_path / "s")
    proxy.turn(Fault.BROKEN)
    for only in (None, [SID, SessionId(str(uuid4()))]):
        with pytest.raises(StoreError, match="storage is away"):
            await store.recordings(only)


async def test_a_rival_is_kept_beside_the_recording(place: BucketPlace, tmp_path: Path) -> None:
    """The first one, for a person to look at."""
    store = BucketRecordings(tmp_path / "s", Bucket(place))
    await store.store(SID, in_file(tmp_path, b"recording"))
    for rival in (b"rival", b"second rival"):
        with pytest.raises(Exception, match="another recording"):
            await store.store(SID, in_file(tmp_path, rival))
    kept = Bucket(place).get(f"{place.prefix}/quarantine/{SID}.rival", 0, 100)
    assert kept is not None
    assert kept.data == b"rival"
    assert [info.sid for info in await store.recordings()] == [SID]


async def test_few_are_sent_at_once_in_little_memory(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """However many ask."""
    store = through(proxy, place, tmp_path / "s")
    async with asyncio.TaskGroup() as tasks:
        for number in range(40):
            path = in_file(tmp_path, b"recording %d" % number)
            tasks.create_task(store.store(SessionId(str(uuid4())), path))
    listed = await store.recordings()
    assert len(listed) == 40
    sizes = {(each.sid, each.size, each.stored) for each in await store.sizes()}
    assert sizes == {(each.sid, each.size, each.stored) for each in listed}
    assert proxy.most < 2 * 16  # both ends of each: as many as there are readers, and some that are being closed


async def test_what_was_stored_in_files_stays_readable(place: BucketPlace, tmp_path: Path) -> None:
    """A bucket is configured later: the old recordings are where they were, and are not stored twice."""
    old = BucketRecordings.__mro__[1](tmp_path / "s")
    path = in_file(tmp_path, b"old recording")
    url = await old.store(SID, path)
    store = BucketRecordings(tmp_path / "s", Bucket(place))
    assert await store.store(SID, path) == url
    assert b"".join([piece async for piece in store.read(SID)]) == b"old recording"
    assert [info.sid for info in await store.recordings([SID])] == [SID]
    assert not list(Bucket(place).listed(place.prefix))


async def test_secrets_are_in_no_error(
    place: BucketPlace, proxy: FaultyProxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails, neither the key nor its name is told (R6)."""
    store, path = through(proxy, place, tmp_path / "s"), in_file(tmp_path, b"x")
    for fault in (Fault.CUT, Fault.BUSY, Fault.BROKEN):
        proxy.turn(fault)
        proxy.cut_after = 10
        with pytest.raises(StoreError) as caught:
            await store.store(SID, path)
        said = f"{caught.value.public} {caught.value.reason} {caught.value.__cause__} {capfd.readouterr()}"
        assert SECRET not in said
        assert KEY_ID not in said


def test_credentials_that_others_can_read_are_refused(tmp_path: Path) -> None:
    """As with every key of ours."""
    open_to_all = tmp_path / "credentials"
    open_to_all.touch(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Bucket(BucketPlace("bucket", credentials=str(open_to_all))).head("x")


def test_sums_are_those_of_the_storage(place: BucketPlace) -> None:
    """In one request and in parts."""
    bucket = Bucket(place)
    for key, data in (("one", b"short"), ("two", b"")):
        content = Content.of(iter([data]))
        assert bucket.put(key, data, content.parts[0], {}, Condition())
        found = bucket.head(key)
        assert found is not None
        assert content.agrees(found)
        assert not Content.of(iter([data + b"x"])).agrees(found)
