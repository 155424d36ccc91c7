"""Recordings on their way to a real S3-compatible server that is away for an hour, in time that runs faster."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from interlock.adapters.blob import bucket as bucket_module
from interlock.adapters.blob.bucket import Bucket, BucketPlace
from interlock.adapters.blob.content import PART_SIZE
from interlock.adapters.blob.objects import BucketRecordings
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.ids import SessionId
from interlock.services.audit.emitter import NoJournal
from interlock.services.recordings.backlog import AT_ONCE, LONGEST_PAUSE_S
from interlock.services.recordings.uploads import Upload, Uploads
from interlock.testing.faulty import Fault, FaultyProxy
from interlock.testing.s3 import S3Server, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FASTER = 100.0
SMALL = 40
"""Recordings that fit into one request; one more has several parts."""


class FastClock(SystemClock):
    """Durations pass faster."""

    def monotonic(self) -> float:
        """Seconds, each shorter than one."""
        return super().monotonic() * FASTER


def fast_sleep(seconds: float) -> Awaitable[None]:
    """As the clock."""
    return asyncio.sleep(seconds / FASTER)


def sid_of(number: int) -> SessionId:
    """One of many."""
    return SessionId(f"d46d710b-24b9-4f86-af68-{number:012x}")


def open_files() -> int:
    """Of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_what_waited_for_an_hour_is_delivered_in_order(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the storage did meanwhile: once each, whole, and by few requests and few open files."""
    place = s3.place(f"b-{uuid4()}")
    monkeypatch.setattr(bucket_module, "SILENCE_S", 2.0)
    contents = [b"recording %d" % number for number in range(SMALL)] + [b"x" * (2 * PART_SIZE + 5)]
    stored: list[SessionId] = []
    async with FaultyProxy(s3.port) as proxy:
        here = BucketPlace(place.bucket, place.prefix, proxy.endpoint, credentials=place.credentials)
        store = BucketRecordings(tmp_path / "s", Bucket(here))

        async def told() -> None:
            return

        uploads = Uploads(
            store, store, events_stored=told, clock=FastClock(), entropy=SystemEntropy(), sleep=fast_sleep
        )
        proxy.turn(Fault.BUSY)
        before = open_files()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(uploads.run())
            for number, content in enumerate(contents):
                sid = sid_of(number)
                part = store.create(sid)
                part.append(content)
                part.close()
                done = _noting(stored, sid)
                uploads.add(Upload(sid, NoJournal(), {}, closed=True, done=done))
            for fault in (Fault.BUSY, Fault.BROKEN, Fault.STALL, Fault.CUT):
                proxy.cut_after = 1500
                proxy.turn(fault)
                await _asked(proxy, 3)
                assert uploads.pending == len(contents)
                assert len(list((tmp_path / "s" / "live").glob("*.part"))) == len(contents)
                assert open_files() < before + 30
            assert uploads.store_away
            proxy.most = 0
            proxy.turn(Fault.NONE)
            await uploads.wait_idle()
            running.cancel()
        assert proxy.most <= 2 * AT_ONCE
    assert sorted(stored) == [sid_of(number) for number in range(len(contents))]
    assert _disorder(stored[1:]) <= 2 * AT_ONCE  # the first one asked whether the storage is back
    plain = BucketRecordings(tmp_path / "t", Bucket(place))
    for number, content in enumerate(contents):
        assert b"".join([piece async for piece in plain.read(sid_of(number))]) == content
    assert not list((tmp_path / "s" / "live").iterdir())
    assert Bucket(place).uploads(place.prefix) == []


async def test_a_server_that_is_stopped_and_started_gets_what_waited(tmp_path: Path) -> None:
    """The real one, gone for so long that every pause was as long as pauses get."""
    with s3_server(tmp_path) as server:
        place = server.place("recordings")
        await asyncio.to_thread(server.stop)
        store = BucketRecordings(tmp_path / "s", Bucket(place))
        clock = FastClock()

        async def told() -> None:
            return

        uploads = Uploads(store, store, events_stored=told, clock=clock, entropy=SystemEntropy(), sleep=fast_sleep)
        stored: list[SessionId] = []
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(uploads.run())
            for number in range(5):
                sid = sid_of(number)
                part = store.create(sid)
                part.append(b"recording %d" % number)
                part.close()
                uploads.add(Upload(sid, NoJournal(), {}, closed=True, done=_noting(stored, sid)))
            began = clock.monotonic()
            while clock.monotonic() - began < 5 * LONGEST_PAUSE_S:
                await fast_sleep(LONGEST_PAUSE_S)
            assert (uploads.store_away, uploads.pending, stored) == (True, 5, [])
            await asyncio.to_thread(server.start)
            server.place("recordings")
            await uploads.wait_idle()
            running.cancel()
        assert sorted(stored) == [sid_of(number) for number in range(5)]
        assert await store.named() == sorted(stored)


def _noting(stored: list[SessionId], sid: SessionId) -> Callable[[], None]:
    return lambda: stored.append(sid)


async def _asked(proxy: FaultyProxy, times: int) -> None:
    """Until the storage was asked so often again."""
    left = proxy.requests + times
    reached = asyncio.Event()

    def look() -> None:
        if proxy.requests >= left:
            reached.set()

    proxy.on_request = look
    await reached.wait()


def _disorder(stored: list[SessionId]) -> int:
    """How far the one that is farthest from its place is from it."""
    return max(abs(place - stored.index(sid)) for place, sid in enumerate(sorted(stored)))
