"""What becomes of parts when the store will not have them, is away, lies, or when very many wait."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.errors import Denied, Differs, InterlockError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.services.audit.emitter import NoJournal
from interlock.services.recordings.backlog import FIRST_PAUSE_S
from interlock.services.recordings.uploads import Upload, Uploads
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import VirtualSleep


def sid_of(number: int) -> SessionId:
    """One of many."""
    return SessionId(f"d46d710b-24b9-4f86-af68-{number:012x}")


SID = sid_of(0)


class Journal(NoJournal):
    """Remembers events."""

    def __init__(self) -> None:
        self.told: list[tuple[Kind, Mapping[str, JsonValue]]] = []

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        del repeatable
        self.told.append((kind, fields))

    @property
    def kinds(self) -> list[Kind]:
        """Their kinds."""
        return [kind for kind, _ in self.told]


class Files(FileRecordings):
    """Whose answers to some sessions are errors first."""

    def __init__(self, directory: Path, clock: FakeClock) -> None:
        super().__init__(directory)
        self.clock = clock
        self.errors: dict[SessionId, list[InterlockError]] = {}
        self.asked: list[tuple[float, SessionId]] = []  # with the time
        self.discards: list[InterlockError] = []
        self.misplaced = ""  # the name by which parts are looked for, if not their own

    async def store(self, sid: SessionId, path: Path) -> str:
        self.asked.append((self.clock.monotonic(), sid))
        if self.errors.get(sid):
            raise self.errors[sid].pop(0)
        return await super().store(sid, path)

    def path(self, sid: SessionId) -> Path:
        return super().path(sid).with_name(self.misplaced) if self.misplaced else super().path(sid)

    async def discard(self, sid: SessionId) -> None:
        if self.discards:
            raise self.discards.pop()
        await super().discard(sid)


class World:
    """Uploads of finished parts."""

    def __init__(self, directory: Path, *, kept: int = 1000) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.files = Files(directory, self.clock)
        self.sleep = VirtualSleep(self.clock)
        self.journal = Journal()
        self.recalled: list[SessionId] = []
        self.done: list[SessionId] = []
        self.uploads = Uploads(
            self.files,
            self.files,
            events_stored=self._stored,
            clock=self.clock,
            entropy=FakeEntropy(),
            recall=self._recall,
            sleep=self.sleep,
            kept=kept,
        )

    async def _stored(self) -> None:
        return

    async def _recall(self, sid: SessionId) -> Upload:
        self.recalled.append(sid)
        return self.upload(sid)

    def upload(self, sid: SessionId, *, closed: bool = True) -> Upload:
        """Of a part."""
        return Upload(sid, self.journal, {"user": "jeff"}, closed=closed, done=lambda: self.done.append(sid))

    def add(self, sid: SessionId = SID, data: bytes = b"evidence", *, closed: bool = True) -> None:
        """A session has ended."""
        part = self.files.create(sid)
        part.append(data)
        part.close()
        self.uploads.add(self.upload(sid, closed=closed))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the uploads run."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.uploads.run())
            yield
            task.cancel()

    async def settle(self) -> None:
        """Until nothing waits; pauses pass at once."""
        async with self.running(), asyncio.TaskGroup() as tasks:
            passing = tasks.create_task(self.let_time_pass())
            await self.uploads.wait_idle()
            passing.cancel()

    async def let_time_pass(self) -> None:
        """For ever."""
        while True:
            await self.sleep.pass_pause()

    @property
    def pauses(self) -> list[float]:
        """Between the attempts so far."""
        return [later - sooner for sooner, later in pairwise(at for at, _ in self.files.asked)]

    @property
    def asked(self) -> list[SessionId]:
        """Of each attempt."""
        return [sid for _, sid in self.files.asked]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A new one."""
    return World(tmp_path)


@pytest.mark.parametrize("refusal", [Denied("not yours"), RecordingError("another recording is there")])
async def test_what_is_refused_for_good_goes_to_quarantine(world: World, refusal: InterlockError) -> None:
    """It is kept for a person, is not offered again at the next start, and an event says so."""
    world.files.errors[SID] = [refusal]
    world.add()
    await world.settle()
    assert (world.directory / "quarantine" / f"{SID}.part").read_bytes() == b"evidence"
    assert await world.files.unfinished() == []
    [(kind, fields)] = world.journal.told
    assert kind is Kind.RECORDING_QUARANTINED
    assert fields == {"user": "jeff", "success": False, "error": refusal.reason, "message": refusal.public}
    assert world.done == [SID]


async def test_what_cannot_be_read_goes_to_quarantine_and_blocks_nobody(world: World) -> None:
    """With an event; those behind it are stored."""
    world.add(SID, b"no recording at all", closed=False)
    world.add(sid_of(1))
    await world.settle()
    assert (world.directory / "quarantine" / f"{SID}.part").exists()
    assert set(world.journal.kinds) == {Kind.RECORDING_QUARANTINED, Kind.SESSION_UPLOAD}
    assert len(world.journal.kinds) == 2
    assert [info.sid for info in await world.files.recordings()] == [sid_of(1)]


async def test_a_store_that_is_away_is_asked_again(world: World) -> None:
    """With growing pauses, until it has the recording; the part stays until then."""
    world.files.errors[SID] = [StoreError("away")] * 6
    world.add()
    await world.settle()
    pauses = world.pauses
    assert len(pauses) == 6
    assert FIRST_PAUSE_S / 2 <= pauses[0] <= FIRST_PAUSE_S + 0.001
    assert sum(pauses[3:]) > 4 * sum(pauses[:3])
    assert [info.sid for info in await world.files.recordings()] == [SID]
    assert world.journal.kinds == [Kind.SESSION_UPLOAD]
    assert not world.files.path(SID).exists()


async def test_a_disk_that_does_not_say_whether_the_part_is_there_ends_no_daemon(world: World) -> None:
    """It is asked while an error of the store is dealt with; here by a name that no disk takes."""
    world.add()
    world.files.misplaced = "x" * 300
    async with world.running():
        await world.sleep.pass_pause()
        await world.sleep.pass_pause()
        world.files.misplaced = ""
        async with asyncio.TaskGroup() as tasks:
            passing = tasks.create_task(world.let_time_pass())
            await world.uploads.wait_idle()
            passing.cancel()
    assert len(world.files.asked) == 3
    assert world.journal.kinds == [Kind.SESSION_UPLOAD]


async def test_while_the_store_is_away_one_asks_for_all(world: World) -> None:
    """Not every recording that waits."""
    numbers, began = range(1, 50), world.clock.monotonic()
    for number in numbers:
        world.files.errors[sid_of(number)] = [StoreError("away")] * 100
        world.add(sid_of(number))
    async with world.running():
        while world.clock.monotonic() - began < 120:
            await world.sleep.pass_pause()
        assert world.uploads.store_away
        assert world.uploads.pending == 49
        assert 6 < len(world.asked) < 20
        world.files.errors.clear()
        tried = len(world.asked)
        async with asyncio.TaskGroup() as tasks:
            passing = tasks.create_task(world.let_time_pass())
            await world.uploads.wait_idle()
            passing.cancel()
    assert len(await world.files.recordings()) == 49
    opener, probe = world.asked[0], world.asked[tried]
    rest = [sid for sid in world.asked[tried:] if sid not in {opener, probe}]
    assert rest == sorted(rest)


async def test_what_the_store_has_changed_is_told_once_and_sent_again(world: World) -> None:
    """The part is the evidence until the store has the same."""
    world.files.errors[SID] = [Differs("not the same", reason="other bytes") for _ in range(3)]
    world.add()
    world.add(sid_of(1))
    await world.settle()
    told = [fields for kind, fields in world.journal.told if kind is Kind.RECORDING_DIFFERS]
    assert [fields["error"] for fields in told] == ["other bytes"]
    assert world.journal.kinds.count(Kind.SESSION_UPLOAD) == 2
    assert len(await world.files.recordings()) == 2


async def test_a_part_that_cannot_be_removed_is_stored_once(world: World) -> None:
    """And removed later."""
    world.files.discards = [RecordingError("the disk refuses")]
    world.add()
    await world.settle()
    assert world.asked == [SID]
    assert world.journal.kinds == [Kind.SESSION_UPLOAD]
    assert not world.files.path(SID).exists()


async def test_of_very_many_only_the_ids_are_kept(tmp_path: Path) -> None:
    """What else there is to say of them is in their headers; the order stays."""
    world = World(tmp_path, kept=3)
    for number in range(10):
        world.add(sid_of(number))
    await world.settle()
    assert world.recalled == [sid_of(number) for number in range(3, 10)]
    assert sorted(world.done) == [sid_of(number) for number in range(10)]
    assert world.journal.kinds == [Kind.SESSION_UPLOAD] * 10


@pytest.mark.slow
async def test_tens_of_thousands_that_wait_take_little_memory(tmp_path: Path) -> None:
    """A day's backlog is no reason to fall over."""
    world = World(tmp_path)
    fields = {f"field-{number}": "x" * 40 for number in range(12)}

    def waiting(number: int) -> Upload:
        own: dict[str, JsonValue] = {name: f"{value}{number}" for name, value in fields.items()}
        return Upload(sid_of(number), Journal(), own, closed=True)

    tracemalloc.start()
    try:
        for number in range(30_000):
            world.uploads.add(waiting(number))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert world.uploads.pending == 30_000
    assert used < 13 * 1024 * 1024, used
