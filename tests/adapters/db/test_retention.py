"""What is dropped of the audit log is a signed beginning of a chain; what is held stays; all of it verifies."""

import itertools
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select, text

from interlock.adapters.db import evidence as evidence_module
from interlock.adapters.db import retention, schema
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.backend import driver
from interlock.adapters.db.engine import Database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.adapters.db.holds import SqlHoldStore
from interlock.adapters.db.retention import SqlEventRetention
from interlock.adapters.db.twins import SqlTwinStore
from interlock.core.errors import NotFound
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import BY_AUTH, NEXT, SYNTHESIZED, AuditEvent, JsonValue, Kind
from interlock.domain.evidence import Fault
from interlock.domain.hold import Hold, HoldKind
from interlock.domain.signing import Purpose, SigningKey
from interlock.domain.twin import Twin
from interlock.ports import Dropped, EventFilter, EventLimits
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.verifying import Report, verify
from interlock.testing.clock import START, FakeClock

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ALL = EventLimits(START + timedelta(days=999), None)
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")


def sid(number: int) -> SessionId:
    """A session's ID."""
    return SessionId(f"aaaaaaaa-0000-4000-8000-{number:012}")


class Log:
    """A log, and what is done to it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store, self.holds = SqlEvidenceStore(database), SqlHoldStore(database)
        self.retention = SqlEventRetention(database, "auth")
        self._uids = itertools.count()

    async def tell(
        self, session: int, kind: Kind = Kind.EXEC, *, days: int = 0, writer: str = "one", **more: str
    ) -> None:
        """One event of a session; its user is alice unless something else is said."""
        number = next(self._uids)
        fields: dict[str, JsonValue] = {"user": "alice", **more}
        told = AuditEvent(kind, START + timedelta(days=days), f"u{number}", "demo", sid(session), number, fields)
        await SqlAuditLog(self.database, writer).append([told])

    async def sign(self) -> None:
        """What there is."""
        await Checkpoints(self.store, lambda: KEY, cluster="demo", clock=FakeClock()).sign()

    async def drop(self, limits: EventLimits = ALL) -> list[Dropped]:
        """All that may be."""
        steps: list[Dropped] = []
        while True:
            step = await self.retention.drop(
                limits,
                sign=lambda body: KEY.sign(Purpose.CUT, body.encode()),
                key=KEY.public,
                tell=self._told,
                now=START,
                cluster="demo",
            )
            if step is None:
                return steps
            steps.append(step)

    def _told(self, dropped: Dropped) -> AuditEvent:
        fields: dict[str, JsonValue] = {"writer": dropped.writer, "last": dropped.last, "events": dropped.events}
        return AuditEvent(
            Kind.DROPPED, START + timedelta(days=9999), f"d{next(self._uids)}", "demo", fields=fields
        )

    async def hold(self, kind: HoldKind, name: str) -> str:
        """Its ID."""
        hold = Hold(f"hold-{next(self._uids)}", kind, name, "a trial", START, "root")
        await self.holds.add_hold(hold)
        return hold.id

    async def left(self, writer: str = "one") -> list[int]:
        """The numbers of a writer's events that are there."""
        events, writers = schema.events, schema.writers
        query = select(events.c.number).join(writers, writers.c.id == events.c.writer)
        return [
            row.number
            for row in await self.database.rows(query.where(writers.c.name == writer).order_by(events.c.number))
        ]

    async def report(self) -> Report:
        """What is found."""
        return await self.store.inspect(lambda evidence: verify(evidence, [KEY.public]))

    async def whole(self) -> bool:
        """Whether nothing is wrong, with the sum of each writer's bytes as well."""
        bodies = select(schema.events.c.writer, schema.events.c.body)
        sizes: dict[int, int] = {}
        for row in await self.database.rows(bodies):
            sizes[row.writer] = sizes.get(row.writer, 0) + len(row.body.encode())
        counted = {row.id: row.bytes for row in await self.database.rows(select(schema.writers))}
        return sizes == {id_: size for id_, size in counted.items() if size} and not (await self.report()).findings


@pytest.fixture
def log(database: Database) -> Log:
    """Empty."""
    return Log(database)


async def test_what_is_too_old_goes_up_to_what_is_signed(log: Log) -> None:
    """Three old ones are signed, two more are not; what is dropped is told, and proven."""
    for _ in range(3):
        await log.tell(1)
    await log.sign()
    for _ in range(2):
        await log.tell(1)
    [step] = await log.drop()
    assert (step.writer, step.first, step.last, step.events, step.held) == ("one", 1, 3, 3, 0)
    assert await log.left() == [4, 5]
    assert await log.whole()
    report = await log.report()
    assert (report.writers["one"].dropped, report.writers["one"].first) == (3, 4)
    told = await SqlAuditLog(log.database).events(retention_events())
    assert [(each["event"], each["last"], each["events"]) for each in told] == [("audit.dropped", 3, 3)]


def retention_events() -> EventFilter:
    """What tells of it."""
    return EventFilter(event=Kind.DROPPED.event)


async def test_age_counts_from_the_first_young_one_on(log: Log) -> None:
    """An old event behind a young one waits for it: only a beginning can be dropped."""
    for days in (1, 2, 8, 3):
        await log.tell(1, days=days)
        await log.sign()
    await log.tell(1, days=9)
    await log.drop(EventLimits(START + timedelta(days=5), None))
    assert await log.left() == [3, 4, 5]
    assert await log.whole()


@pytest.mark.parametrize("limits", [ALL, EventLimits(None, 1000)], ids=["age", "size"])
async def test_a_step_costs_the_same_however_long_the_log_is(
    file: Database, limits: EventLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait meanwhile who write: counted are the steps of SQLite's machine."""
    monkeypatch.setattr(retention, "STEP", 10)
    monkeypatch.setattr(evidence_module, "SPAN", 10)
    log, write, costs = Log(file), file.write, list[int]()

    async def counted(work: Callable[[Connection], object]) -> object:
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        def run(connection: Connection) -> object:
            driver(connection).set_progress_handler(step, 10)
            try:
                return work(connection)
            finally:
                driver(connection).set_progress_handler(None, 0)

        done = await write(run)
        costs.append(count)
        return done

    audit, told = SqlAuditLog(file, "one"), 0
    for more in (100, 3000):
        events = [
            AuditEvent(Kind.EXEC, START, f"u{number}", "demo", sid(1), number, {"user": "alice"})
            for number in range(told, told + more)
        ]
        await audit.append(events)
        told += more
        await log.sign()
        with monkeypatch.context() as patched:
            patched.setattr(file, "write", counted)
            dropped = await log.retention.drop(
                limits,
                sign=lambda body: KEY.sign(Purpose.CUT, body.encode()),
                key=KEY.public,
                tell=lambda dropped: AuditEvent(Kind.DROPPED, START, f"d{dropped.last}", "demo"),
                now=START,
                cluster="demo",
            )
        assert dropped is not None
        assert dropped.events == 10
    assert costs[1] < 3 * costs[0]


async def test_what_no_near_checkpoint_has_signed_goes_with_the_next_one(
    file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far it is: older versions signed longer stretches."""
    monkeypatch.setattr(retention, "STEP", 3)
    log = Log(file)
    for _ in range(8):
        await log.tell(1)
    await log.sign()
    for _ in range(2):
        await log.tell(1)
        await log.sign()
    await log.drop()
    assert await log.left() == [10]
    assert await log.whole()


async def test_the_newest_of_each_chain_stays(log: Log) -> None:
    """So that its number in the order of arrival is never given again."""
    await log.tell(1)
    await log.tell(2, writer="two")
    await log.sign()
    assert await log.drop() == []
    assert await log.left() == [1]


async def test_what_makes_the_log_too_large_goes_oldest_first(log: Log) -> None:
    """Whoever's it is."""
    for number in range(12):
        await log.tell(number, writer=("one", "two", "three")[number % 3])
        await log.sign()
    rows = await log.database.rows(select(schema.writers))
    limit = sum(row.bytes for row in rows) * 3 // 4
    await log.drop(EventLimits(None, limit))
    assert await log.whole()
    rows = await log.database.rows(select(schema.writers))
    assert sum(row.bytes for row in rows) <= limit
    left = [await log.left(writer) for writer in ("one", "two", "three")]
    assert all(each == list(range(each[0], 5)) and each[0] > 1 for each in left)
    assert max(each[0] for each in left) - min(each[0] for each in left) <= 1
    assert await log.drop(EventLimits(None, limit)) == []


async def test_what_no_export_has_taken_stays(log: Log) -> None:
    """A receiver that is away loses nothing."""
    for _ in range(4):
        await log.tell(1)
        await log.sign()
    taken: Mapping[str, int] = {"one": 2}
    await log.drop(EventLimits(ALL.before, None, taken))
    assert await log.left() == [3, 4]
    await log.drop(EventLimits(ALL.before, None, {}))
    assert await log.left() == [3, 4]
    assert await log.whole()


async def test_a_session_that_is_held_stays_and_the_gaps_are_proven(log: Log) -> None:
    """Until it is not held any more."""
    for number in (1, 2, 1, 3, 3, 2, 4):
        await log.tell(number)
    await log.sign()
    await log.tell(9)
    hold = await log.hold(HoldKind.SESSION, sid(2))
    [step] = await log.drop()
    assert (step.events, step.held) == (5, 2)
    assert await log.left() == [2, 6, 8]
    assert await log.whole()
    assert await log.drop() == []
    assert (await log.holds.remove_hold(hold)).name == sid(2)
    await log.drop()
    assert await log.left() == [8]
    assert await log.whole()
    with pytest.raises(NotFound):
        await log.holds.remove_hold(hold)


async def test_a_user_who_is_held_keeps_every_session_with_them(log: Log) -> None:
    """Their own, those they joined with all that others did there, and what is told of no session."""
    await log.tell(1, user="bob")
    await log.tell(2)
    await log.tell(2, Kind.SESSION_JOIN, user="bob")
    await log.tell(3)
    await log.tell(2)
    await log.sign()
    await log.tell(9)
    await log.hold(HoldKind.USER, "bob")
    await log.drop()
    assert await log.left() == [1, 2, 3, 5, 6]
    assert await log.whole()
    assert await log.holds.held([sid(1), sid(2), sid(3)]) == {sid(1), sid(2)}


async def test_a_twin_is_held_with_its_session(log: Log) -> None:
    """Under whichever of its IDs."""
    for twin, held in (({1: 2}, 1), ({3: 4}, 4)):
        [(ours, theirs)] = twin.items()
        await SqlTwinStore(log.database).put(Twin(sid(ours), NODE, "h:1"))
        folded = schema.twins.update().where(schema.twins.c.sid == sid(ours)).values(folded=sid(theirs))
        await log.database.change(folded)
        await log.hold(HoldKind.SESSION, sid(held))
    assert await log.holds.held([sid(number) for number in range(6)]) == {sid(n) for n in (1, 2, 3, 4)}


async def test_steps_are_short_and_go_on_where_all_is_held(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long beginning goes in several, and a stretch of nothing but held ones stops nobody."""
    monkeypatch.setattr(retention, "STEP", 4)
    monkeypatch.setattr(evidence_module, "SPAN", 3)
    for number in range(30):
        await log.tell(5 if 6 <= number < 16 else 1)
    await log.sign()
    await log.tell(9)
    hold = await log.hold(HoldKind.SESSION, sid(5))
    steps = await log.drop()
    assert max(step.events for step in steps) <= 4
    assert await log.left() == [*range(7, 17), 31]
    assert await log.whole()
    await log.holds.remove_hold(hold)
    assert max(step.events for step in await log.drop()) <= 4
    assert await log.left() == [31]
    assert await log.whole()


async def test_checkpoints_that_sign_nothing_any_more_go_too(log: Log) -> None:
    """In front, with a proof; the others still are a chain, and those that had left still fit."""
    kept = []
    for _ in range(6):
        await log.tell(1)
        await log.sign()
        rows = await log.database.rows(select(schema.checkpoints).order_by(schema.checkpoints.c.number.desc()))
        kept.append((rows[0].body, rows[0].signature))
    await log.drop(EventLimits(ALL.before, None, {"one": 4}))
    numbers = [row.number for row in await log.database.rows(select(schema.checkpoints.c.number))]
    assert min(numbers) == 4
    assert await log.whole()
    known = await log.store.inspect(lambda evidence: verify(evidence, [KEY.public], known=kept))
    assert known.findings == []


async def test_a_superseded_event_and_its_mark_go_together(log: Log) -> None:
    """Also if they are in the chains of two writers, one of which is dropped first."""
    end = AuditEvent(
        Kind.SESSION_END, START, "auth", "demo", sid(1), NEXT, {"user": "alice", SYNTHESIZED: BY_AUTH}
    )
    await SqlAuditLog(log.database, "two").append([end])
    await log.tell(1, Kind.SESSION_END)
    await log.sign()
    for writer in ("one", "two"):
        await log.tell(7, writer=writer)
    await log.sign()
    await log.tell(8)
    await log.drop(EventLimits(ALL.before, None, {"one": 99}))
    assert await log.whole()
    await log.drop()
    assert await log.whole()
    assert (await log.left(), await log.left("two")) == ([4], [2])


FORGED = {
    "a cut that nobody signed": "UPDATE cuts SET signature = zeroblob(64)",
    "a cut that says more": "UPDATE cuts SET body = replace(body, '\"last\"\\:3', '\"last\"\\:4')",
    "a cut that is none": "UPDATE cuts SET body = 'x'",
    "a cut of another writer": "UPDATE cuts SET writer = 'two'",
}


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_cut_proves_nothing(file: Database, what: str) -> None:
    """What it would have covered is missing."""
    log = Log(file)
    for _ in range(3):
        await log.tell(1)
    await log.sign()
    await log.tell(1)
    await log.drop()
    await file.change(text(FORGED[what]))
    faults = {each.fault for each in (await log.report()).findings}
    assert faults >= {Fault.MISSING, Fault.BAD_CUT}


async def test_a_cut_must_end_where_a_checkpoint_has_signed(file: Database) -> None:
    """Or it could be made up for whatever was deleted, were it not for its signature."""
    log = Log(file)
    for _ in range(3):
        await log.tell(1)
        await log.sign()
    await log.tell(1)
    await log.drop()
    await file.change(text("DELETE FROM checkpoints"))
    assert {each.fault for each in (await log.report()).findings} == {Fault.BAD_CUT}


async def test_deleting_more_than_the_policy_did_is_seen(file: Database) -> None:
    """Before or behind what is held."""
    log = Log(file)
    for number in (1, 2, 1, 1):
        await log.tell(number)
    await log.sign()
    await log.tell(1)
    await log.tell(1)
    await log.hold(HoldKind.SESSION, sid(2))
    await log.drop()
    await file.change(text("DELETE FROM events WHERE number IN (2, 5) AND writer = 1"))
    found = {(each.fault, each.first, each.last) for each in (await log.report()).findings}
    assert found == {(Fault.MISSING, 2, 2), (Fault.MISSING, 5, 5)}
