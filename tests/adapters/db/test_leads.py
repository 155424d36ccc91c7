"""What only one of several auths may do: one at a time has it, and another one when that is gone or hangs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from interlock.adapters.db import postgres as postgres_module
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.exports import SqlExports
from interlock.adapters.system import SystemClock
from interlock.core.errors import StoreError
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.export import Batch
from interlock.ports import HELD_S
from interlock.services.audit.exporter import Exporter
from interlock.services.fleet.leading import Leading
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.postgres import TEMPLATE, PostgresServer

RETENTION, SIEM = "retention", "export siem"
HELD = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """A database that is up to date."""
    with postgres.database(TEMPLATE) as made:
        yield made


@pytest.fixture
async def auths(postgres: PostgresServer, name: str) -> AsyncIterator[list[Database]]:
    """Two."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            opened.append(await open_database(postgres.place(name)))
            stack.push_async_callback(opened[-1].close)
        yield opened


async def until_held(database: Database, duty: str) -> None:
    """Ask until it is ours."""
    async with asyncio.timeout(15):
        while duty not in await database.leads.hold([duty]):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


async def test_whoever_asks_alone_has_everything(database: Database) -> None:
    """And keeps it; a duty that is asked for later too."""
    assert await database.leads.hold([RETENTION]) == {RETENTION}
    assert await database.leads.hold([RETENTION, SIEM]) == {RETENTION, SIEM}
    assert await database.leads.hold([]) == frozenset()
    assert await database.leads.hold([SIEM]) == {SIEM}


@pytest.mark.slow
async def test_one_of_two_has_each_duty(auths: list[Database]) -> None:
    """And the other one when that one has ended."""
    one, two = auths
    assert await one.leads.hold([RETENTION]) == {RETENTION}
    assert await two.leads.hold([RETENTION, SIEM]) == {SIEM}
    assert await one.leads.hold([RETENTION, SIEM]) == {RETENTION}
    await asyncio.to_thread(one.leads.close)
    await until_held(two, RETENTION)


@pytest.mark.slow
async def test_who_writes_does_not_wait_for_who_leads(auths: list[Database]) -> None:
    """The locks are others than that of the turn to write, and the transaction holds nothing else."""
    one, two = auths
    await one.leads.hold([RETENTION])
    await two.write(lambda _connection: None)
    await one.write(lambda _connection: None)


@pytest.mark.slow
async def test_a_duty_is_lost_with_its_connection(
    auths: list[Database], postgres: PostgresServer, name: str
) -> None:
    """Which is said as an error, once; then it is asked for anew."""
    one, two = auths
    await one.leads.hold([RETENTION])
    [(pid,)] = postgres.execute(HELD, name=name)
    postgres.execute("SELECT pg_terminate_backend(%s)", pid)
    await until_held(two, RETENTION)
    with pytest.raises(StoreError):
        await one.leads.hold([RETENTION])
    assert await one.leads.hold([RETENTION, SIEM]) == {SIEM}


@pytest.mark.slow
async def test_who_hangs_does_not_keep_it(auths: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends the transaction of one that asks nothing."""
    one, two = auths
    monkeypatch.setattr(postgres_module, "IDLE_TIMEOUT_MS", 300)
    await one.leads.hold([RETENTION])
    await until_held(two, RETENTION)


class Taking:
    """`ports.Receiver` of everybody."""

    def __init__(self) -> None:
        self.uids: list[str] = []
        self.changed = asyncio.Event()

    async def send(self, batch: Batch) -> None:
        """As it comes."""
        self.uids += [record.uid for record in batch.records]
        self.changed.set()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def until(self, number: int) -> None:
        """Return when there are so many."""
        async with asyncio.timeout(20):
            while len(self.uids) < number:
                self.changed.clear()
                await self.changed.wait()


@pytest.mark.slow
async def test_two_auths_with_one_export_send_nothing_twice(auths: list[Database]) -> None:
    """The second one goes on where the first one was, when that has ended."""
    taking, running = Taking(), list[asyncio.Task[None]]()

    async def auth(database: Database) -> None:
        exports, clock = SqlExports(database), SystemClock()
        leading = Leading(database.leads, [SIEM], clock=clock, sleep=lambda _seconds: asyncio.sleep(0.05))
        exporter = Exporter("siem", exports, exports, taking, clock=clock, entropy=FakeEntropy())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leading.run())
            tasks.create_task(leading.lead(SIEM, exporter.run))

    async def tell(first: int) -> None:
        for number in range(first, first + 5):
            event = AuditEvent(Kind.USER_CREATE, START, f"u{number}", "demo")
            await SqlAuditLog(auths[number % 2], f"auth{number % 2}").append([event])

    await tell(0)
    async with asyncio.TaskGroup() as tasks:
        running += [tasks.create_task(auth(each)) for each in auths]
        await taking.until(5)
        first = 0 if await auths[0].leads.hold([SIEM]) else 1
        running[first].cancel()
        await asyncio.wait([running[first]])
        await asyncio.to_thread(auths[first].leads.close)
        await tell(5)
        await taking.until(10)
        running[1 - first].cancel()
    assert sorted(taking.uids) == sorted(f"u{number}" for number in range(10))


def test_what_is_given_counts_for_less_long_than_it_is_kept() -> None:
    """Or two would have it at once."""
    assert HELD_S * 1000 + 1000 <= postgres_module.IDLE_TIMEOUT_MS
