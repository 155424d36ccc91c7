"""Whatever is done to the stored log behind our back is found, and named by writer and number."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select, text

from interlock.adapters.db import evidence as module
from interlock.adapters.db import schema
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.core.errors import StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import BY_AUTH, NEXT, SYNTHESIZED, AuditEvent, Kind
from interlock.domain.chain import Checkpoint, link
from interlock.domain.evidence import Fault
from interlock.domain.signing import Purpose, SigningKey
from interlock.ports import Evidence
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.verifying import Report, verify
from interlock.testing.clock import START, FakeClock
from interlock.testing.database import put_database

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ONE, TWO = "one", "two"


def event(uid: str, kind: Kind = Kind.EXEC, index: int = 0) -> AuditEvent:
    """One of a session."""
    return AuditEvent(kind, START, uid, "demo", SID, index, {"user": "alice", "command": uid})


@dataclass
class Log:
    """A log of two writers with eight and three events; six of the first and two of the other are signed."""

    database: Database

    @property
    def store(self) -> SqlEvidenceStore:
        """To verify it by."""
        return SqlEvidenceStore(self.database)

    async def append(self, writer: str, *uids: str) -> None:
        """More events."""
        await SqlAuditLog(self.database, writer).append([event(uid, index=int(uid[1:])) for uid in uids])

    async def sign(self) -> int:
        """What there is."""
        return await Checkpoints(self.store, lambda: KEY, cluster="demo", clock=FakeClock()).sign()

    async def report(self, key: SigningKey = KEY, known: list[tuple[str, bytes]] | None = None) -> Report:
        """What is found."""
        return await self.store.inspect(lambda evidence: verify(evidence, [key.public], known=known or []))

    async def faults(self) -> set[tuple[Fault, str, int, int]]:
        """In short."""
        found = (await self.report()).findings
        return {(each.fault, each.writer, each.first, each.last) for each in found}

    async def damage(self, *statements: str) -> None:
        """As somebody who can write the file."""
        for statement in statements:
            await self.database.change(text(statement))

    async def rehash(self, writer: int, first: int) -> None:
        """Make all hashes of a chain right from this number on, as somebody who knows how."""

        def work(connection: Connection) -> None:
            events = schema.events
            mine = select(events).where(events.c.writer == writer).order_by(events.c.number)
            previous = b""
            for row in connection.execute(mine).all():
                if row.number >= first:
                    previous = link(previous, row.body.encode())
                    change = events.update().where(events.c.seq == row.seq)
                    connection.execute(change.values(hash=previous))
                else:
                    previous = row.hash
            head = schema.writers.update().where(schema.writers.c.id == writer)
            connection.execute(head.values(hash=previous))

        await self.database.write(work)

    async def kept(self) -> list[tuple[str, bytes]]:
        """The checkpoints, as an export took them away."""
        rows = await self.database.rows(select(schema.checkpoints).order_by(schema.checkpoints.c.number))
        return [(row.body, row.signature) for row in rows]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of such a log: its ten commits are waited for once."""

    async def write(path: Path) -> None:
        database = await open_database(path)
        made = Log(database)
        await made.append(ONE, "u1", "u2", "u3")
        await made.append(TWO, "u4")
        await made.sign()
        await made.append(ONE, "u5", "u6", "u7")
        await made.append(TWO, "u8")
        await made.sign()
        await made.append(ONE, "u9", "u10")
        await made.append(TWO, "u11")
        await database.close()

    path = tmp_path_factory.mktemp("log") / "test.db"
    put_database(path)
    asyncio.run(write(path))
    return path.read_bytes()


@pytest.fixture
async def log(written: bytes, tmp_path: Path) -> AsyncIterator[Log]:
    """See the class."""
    path = tmp_path / "test.db"
    path.touch(mode=0o600)
    path.write_bytes(written)
    database = await open_database(path)
    yield Log(database)
    await database.close()


async def test_an_untouched_log_is_whole(log: Log) -> None:
    """And it is said how far it is signed."""
    report = await log.report()
    assert report.findings == []
    assert [(each.events, each.last, each.signed) for each in report.writers.values()] == [(8, 8, 6), (3, 3, 2)]
    assert (report.checkpoints, report.last_signed) == (2, "2026-01-10T22:23:57.642Z")


async def test_there_is_nothing_to_sign_twice(log: Log) -> None:
    """No news, no checkpoint."""
    assert [await log.sign(), await log.sign()] == [1, 0]
    assert (await log.report()).checkpoints == 3


CHANGE = "UPDATE events SET body = replace(body, 'alice', 'mallory'), user = 'mallory' WHERE uid = '{}'"
FREE = "DROP INDEX events_in_chain"
COPY = (
    "INSERT INTO events (uid, sid, event, time, user, ei, body, writer, number, hash, hidden) "
    "SELECT {}, sid, event, time, user, ei, {}, writer, {}, {}, hidden FROM events WHERE uid = '{}'"
)

DAMAGE: dict[str, tuple[list[str], set[tuple[Fault, str, int, int]]]] = {
    "an event was changed": ([CHANGE.format("u5")], {(Fault.CHANGED, ONE, 4, 4)}),
    "the first was changed": ([CHANGE.format("u1")], {(Fault.CHANGED, ONE, 1, 1)}),
    "an event and its hash were changed": (
        [CHANGE.format("u10"), "UPDATE events SET hash = zeroblob(32) WHERE uid = 'u10'"],
        {(Fault.CHANGED, ONE, 8, 8)},
    ),
    "an event is missing": (["DELETE FROM events WHERE uid = 'u6'"], {(Fault.MISSING, ONE, 5, 5)}),
    "the first events are missing": (
        ["DELETE FROM events WHERE uid IN ('u1', 'u2')"],
        {(Fault.MISSING, ONE, 1, 2)},
    ),
    "two events changed places": (
        [
            "UPDATE events SET number = 50 WHERE uid = 'u5'",
            "UPDATE events SET number = 4 WHERE uid = 'u6'",
            "UPDATE events SET number = 5 WHERE uid = 'u5'",
        ],
        {(Fault.REORDERED, ONE, 4, 4), (Fault.REORDERED, ONE, 5, 5), (Fault.REORDERED, ONE, 6, 6)},
    ),
    "an event was put in": (
        [
            FREE,
            "UPDATE events SET number = number + 1 WHERE writer = 1 AND number > 3",
            "UPDATE writers SET number = 9 WHERE id = 1",
            COPY.format("'u99'", "replace(body, 'u5', 'u99')", 4, "zeroblob(32)", "u5"),
        ],
        {(Fault.INSERTED, ONE, 4, 4), (Fault.CHANGED, ONE, 4, 6)},
    ),
    "an event was put in under a number that is taken": (
        [FREE, COPY.format("'u99'", "replace(body, 'u5', 'u99')", 4, "zeroblob(32)", "u5")],
        {(Fault.INSERTED, ONE, 4, 4)},
    ),
    "an event was put at the end": (
        [COPY.format("'u99'", "replace(body, 'u5', 'u99')", 9, "zeroblob(32)", "u5")],
        {(Fault.INSERTED, ONE, 9, 9), (Fault.CHANGED, ONE, 9, 9)},
    ),
    "an event was put in for a writer that is none": (
        [COPY.format("'u99'", "replace(body, 'u5', 'u99')", 9, "zeroblob(32)", "u5"),
         "UPDATE events SET writer = 77 WHERE uid = 'u99'"],
        {(Fault.INSERTED, "#77", 9, 9)},
    ),
    "the newest events are gone": (
        ["DELETE FROM events WHERE uid IN ('u9', 'u10')"],
        {(Fault.TRUNCATED, ONE, 7, 8)},
    ),
    "a whole writer is gone": (
        ["DELETE FROM events WHERE writer = 2", "DELETE FROM writers WHERE id = 2"],
        {(Fault.TRUNCATED, TWO, 1, 2)},
    ),
    "an event is found under other values": (
        ["UPDATE events SET user = 'bob' WHERE uid = 'u5'"],
        {(Fault.MISLABELLED, ONE, 4, 4)},
    ),
    "its time is another": (
        ["UPDATE events SET time = 'never' WHERE uid = 'u5'"],
        {(Fault.MISLABELLED, ONE, 4, 4)},
    ),
    "events come in another order than they did": (
        [
            "UPDATE events SET seq = 100 WHERE uid = 'u5'",
            "UPDATE events SET seq = (SELECT seq FROM events WHERE uid = 'u9') - 1000 WHERE uid = 'u9'",
            "UPDATE events SET seq = 5 WHERE uid = 'u5'",
        ],
        {(Fault.MISLABELLED, ONE, 7, 7)},
    ),
    "an event was hidden": (
        ["UPDATE events SET hidden = 1 WHERE uid = 'u5'"],
        {(Fault.HIDDEN, ONE, 4, 4)},
    ),
    "a checkpoint was changed": (
        ["UPDATE checkpoints SET body = replace(body, 'demo', 'dem0') WHERE number = 2"],
        {(Fault.CHECKPOINT, "", 2, 2)},
    ),
    "a signature was changed": (
        ["UPDATE checkpoints SET signature = zeroblob(64) WHERE number = 2"],
        {(Fault.CHECKPOINT, "", 2, 2)},
    ),
    "a checkpoint is no checkpoint": (
        ["UPDATE checkpoints SET body = '{}' WHERE number = 2"],
        {(Fault.CHECKPOINT, "", 2, 2)},
    ),
    "a checkpoint is missing": (["DELETE FROM checkpoints WHERE number = 1"], {(Fault.CHECKPOINT, "", 2, 2)}),
    "a checkpoint has another number": (
        ["UPDATE checkpoints SET number = 3 WHERE number = 2"],
        {(Fault.CHECKPOINT, "", 3, 3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
async def test_damage_is_named(log: Log, what: str) -> None:
    """By raw SQL, each in turn; nothing else is blamed."""
    statements, faults = DAMAGE[what]
    await log.damage(*statements)
    assert await log.faults() == faults


CUT_OFF = (
    "DELETE FROM events WHERE writer = 1 AND number > 4",
    "UPDATE writers SET number = 4, hash = (SELECT hash FROM events WHERE uid = 'u5') WHERE id = 1",
)


async def test_who_hashes_anew_is_caught_by_the_signature(log: Log) -> None:
    """What was signed cannot be made right again; what was not, can."""
    await log.damage(CHANGE.format("u5"))
    await log.rehash(1, 4)
    assert await log.faults() == {(Fault.CHANGED, ONE, 4, 6)}


async def test_who_cuts_off_the_end_and_counts_anew_is_caught_by_the_signature(log: Log) -> None:
    """As far as it goes: the two events that nobody had signed leave no trace."""
    await log.damage("DELETE FROM events WHERE writer = 1 AND number > 4")
    await log.damage(
        "UPDATE writers SET number = 4, hash = (SELECT hash FROM events WHERE uid = 'u5') WHERE id = 1"
    )
    assert await log.faults() == {(Fault.TRUNCATED, ONE, 5, 6)}
    await log.damage("DELETE FROM checkpoints WHERE number = 2")
    assert await log.faults() == set()


async def test_a_checkpoint_that_had_left_tells_more(log: Log) -> None:
    """Whoever deletes the end together with what signs it does not reach the copy."""
    kept = await log.kept()
    await log.damage(
        "DELETE FROM events WHERE writer = 1 AND number > 4", "DELETE FROM checkpoints WHERE number = 2"
    )
    await log.damage(
        "UPDATE writers SET number = 4, hash = (SELECT hash FROM events WHERE uid = 'u5') WHERE id = 1"
    )
    found = (await log.report(known=kept)).findings
    assert {(each.fault, each.writer, each.first) for each in found} == {
        (Fault.TRUNCATED, ONE, 5),
        (Fault.CHECKPOINT, "", 2),
    }


async def test_a_checkpoint_that_had_left_must_be_ours(log: Log) -> None:
    """A forged one would blame a whole log."""
    body, _ = (await log.kept())[1]
    known = [(body, OTHER_KEY.sign(Purpose.CHECKPOINT, body.encode())), ("{}", b"x" * 64)]
    assert [each.fault for each in (await log.report(known=known)).findings] == [Fault.CHECKPOINT] * 2


async def test_a_log_signed_by_another_key_is_not_ours(log: Log) -> None:
    """With a public key that was kept elsewhere, who makes a new key and signs anew is caught."""
    found = (await log.report(OTHER_KEY)).findings
    assert [(each.fault, each.first) for each in found] == [(Fault.CHECKPOINT, 1), (Fault.CHECKPOINT, 2)]


async def test_a_signature_for_something_else_is_none(log: Log) -> None:
    """Ed25519 by the same key, for another purpose."""
    body, _ = (await log.kept())[1]
    wrong = KEY.sign(Purpose.CUT, body.encode())
    change = schema.checkpoints.update().where(schema.checkpoints.c.number == 2)
    await log.database.change(change.values(signature=wrong))
    assert await log.faults() == {(Fault.CHECKPOINT, "", 2, 2)}


async def test_a_replayed_event_is_named_with_its_original(log: Log) -> None:
    """Under another uid in the column, with all hashes right; and under the same, where its index was dropped."""
    await log.damage(COPY.format("'u99'", "body", 9, "zeroblob(32)", "u5"))
    await log.damage("UPDATE writers SET number = 9 WHERE id = 1")
    await log.rehash(1, 9)
    [found] = (await log.report()).findings
    assert (found.fault, found.writer, found.first) == (Fault.REPLAYED, ONE, 9)
    assert "number 4" in found.detail


async def test_a_doubled_uid_is_a_replay(log: Log) -> None:
    """SQLite cannot drop the index of a UNIQUE column, but whoever can write the file can make another table."""
    await log.damage("CREATE TABLE copy AS SELECT * FROM events", "DROP TABLE events")
    await log.damage("ALTER TABLE copy RENAME TO events", "INSERT INTO events SELECT 20, uid, sid, event, time, "
                     "user, ei, synthesized, body, 2, 4, hash, hidden FROM events WHERE uid = 'u5'")  # fmt: skip
    await log.damage("UPDATE writers SET number = 4 WHERE id = 2")
    await log.rehash(2, 4)
    assert await log.faults() == {(Fault.REPLAYED, TWO, 4, 4)}


async def test_what_was_superseded_cannot_be_shown_again(log: Log) -> None:
    """Nor can a mark be shown."""
    end = AuditEvent(Kind.SESSION_END, START, "auth", "demo", SID, NEXT, {SYNTHESIZED: BY_AUTH})
    audit = SqlAuditLog(log.database, ONE)
    await audit.append([end])
    await audit.append([event("u12", Kind.SESSION_END, 12)])
    assert await log.faults() == set()
    await log.damage("DROP INDEX events_once_per_session", "UPDATE events SET hidden = 0")
    assert await log.faults() == {(Fault.SHOWN, ONE, 9, 9), (Fault.SHOWN, ONE, 10, 10)}


async def test_a_table_of_junk_is_an_error_in_words(log: Log) -> None:
    """SQLite stores anything anywhere."""
    await log.damage("UPDATE events SET number = 'x' WHERE uid = 'u11'")
    with pytest.raises(StoreError, match="no Interlock writes"):
        await log.report()


async def test_many_faults_are_told_up_to_a_limit(log: Log) -> None:
    """And hashing stays bounded when nothing fits."""
    await log.append(ONE, *(f"u{number}" for number in range(100, 300)))
    await log.damage("UPDATE events SET body = replace(body, 'alice', 'x'), user = 'x' WHERE number > 1")
    faults = await log.faults()
    assert {(Fault.CHANGED, ONE, number, number) for number in range(2, 200)} <= faults


async def test_a_long_chain_is_signed_at_places_on_the_way(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that policy can drop it in steps; and it is read in pages."""
    monkeypatch.setattr(module, "SPAN", 10)
    monkeypatch.setattr(module, "PAGE", 3)
    await log.append(TWO, *(f"u{number}" for number in range(100, 125)))
    assert await log.sign() == 3
    report = await log.report()
    assert report.findings == []
    assert (report.writers[TWO].signed, report.writers[TWO].events) == (28, 28)
    bodies = [Checkpoint.decode(body) for body, _ in await log.kept()]
    assert [head.number for each in bodies for head in each.heads if head.writer == TWO] == [1, 2, 12, 22, 28]


async def test_verifying_sees_one_moment(log: Log) -> None:
    """What is appended meanwhile is not in it."""

    def work(evidence: Evidence) -> tuple[int, int]:
        before = len(evidence.heads())
        return before, len([event for head in evidence.heads() for event in evidence.events(head.id)])

    assert await log.store.inspect(work) == (2, 11)


COVERED = [
    *(("events", column.name) for column in schema.events.c),
    *(("writers", name) for name in ("id", "name", "number", "hash")),
    *(("checkpoints", column.name) for column in schema.checkpoints.c),
]
"""What evidence is made of. `checkpoint_heads` is an index, and for a writer's bytes there is no proof."""


@pytest.mark.parametrize(("table", "column"), COVERED)
async def test_no_value_can_be_changed_unseen(log: Log, table: str, column: str) -> None:
    """One value of one row becomes another of its kind, another type, or nothing where that is possible."""
    place = {"events": "uid = 'u6'", "writers": "id = 1", "checkpoints": "number = 1"}[table]
    kinds = ["5000", "-1", "'x'", "x'00'", "''", "NULL"]
    unseen = []
    for value in kinds:
        before = await log.database.rows(text(f"SELECT rowid, * FROM {table}"))
        try:
            await log.database.change(text(f'UPDATE {table} SET "{column}" = {value} WHERE {place}'))
        except StoreError:
            continue  # the table itself refuses it
        after = await log.database.rows(text(f"SELECT rowid, * FROM {table}"))
        try:
            seen = bool((await log.report()).findings)
        except StoreError:
            seen = True
        if not seen and [tuple(each) for each in before] != [tuple(each) for each in after]:
            unseen.append(value)
        await restore(log, table, before)
    assert unseen == []
    assert await log.faults() == set()


async def restore(log: Log, table: str, rows: Sequence[Any]) -> None:
    """As it was."""

    def work(connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM {table}"))
        names = [name for name in rows[0]._fields if name != "rowid"]
        places = ", ".join(f":{name}" for name in names)
        listed = ", ".join(f'"{name}"' for name in names)
        for row in rows:
            values = {name: getattr(row, name) for name in names}
            connection.execute(text(f"INSERT INTO {table} ({listed}) VALUES ({places})"), values)

    await log.database.write(work)
