"""Listings of ten million events on PostgreSQL: how long each takes, and by which indices.

::

    python -m bench.listing load DIRECTORY [--events N]     # some minutes; the directory keeps a server's files
    python -m bench.listing ask DIRECTORY [--rounds N]      # under a minute; writes bench/listing.json

The events are synthetic: sessions of 2,000 people over a year, seven events each, of the size that real ones have.
They go straight into the tables of months by COPY; indices are made behind it, as nobody reads meanwhile. Asked is
through the stores that a gateway uses, one question at a time, and once more with EXPLAIN for the plans.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import event

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.ports import EventFilter
from interlock.testing.postgres import PostgresServer

EVENTS = 10_000_000
PEOPLE = 2_000
MONTHS = 12
BEGAN = datetime(2025, 12, 1, tzinfo=UTC)
TARGET_MS = 50.0
PAGE = 50
RESULTS = Path(__file__).parent / "listing.json"

KINDS = ("session.start", "resize", "exec", "session.leave", "session.end", "session.data", "session.upload")
_SERVER = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "wal_level": "minimal", "max_wal_senders": "0"}
_COLUMNS = 'seq, uid, sid, event, time, "user", ei, body, writer, number, hash, hidden'
_SEEN_INDICES = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")


def sid_of(session: int) -> SessionId:
    """The ID of the session with this number; they are spread as random ones are."""
    spread = session * 0x9E3779B97F4A7C15 % 2**64
    return SessionId(f"{spread >> 32:08x}-{spread >> 16 & 0xFFFF:04x}-4000-8000-{session:012x}")


def user_of(session: int) -> str:
    """Whose it is: a few work more than the others."""
    return f"user{int((session * 2654435761 % 2**32 / 2**32) ** 2 * PEOPLE)}"


def rows(first: int, last: int, began: datetime, length: timedelta) -> Iterator[str]:
    """Text for COPY, one session at a time; sessions from ``first`` on, evenly over ``length``."""
    hashed = "\\\\x" + "5a" * 32
    for session in range(first, last):
        at = (began + length * (session - first) / (last - first)).isoformat(timespec="microseconds")[:26] + "Z"
        sid, user, seq = sid_of(session), user_of(session), session * len(KINDS)
        yield "".join(
            f"{seq + n + 1}\t{sid[:8]}-{seq + n}\t{sid}\t{kind}\t{at}\t{user}\t{n}\t"
            f'{{"ei":{n},"event":"{kind}","code":"T2000I","time":"{at}","uid":"{sid[:8]}-{seq + n}",'
            f'"cluster_name":"demo","sid":"{sid}","user":"{user}","login":"deploy","server_id":"{sid}",'
            f'"server_hostname":"web{session % 500}.example","server_addr":"10.0.{session % 250}.1:3022",'
            f'"addr.remote":"192.0.2.7:50022","proto":"ssh","session_recording":"proxy","recorded_by":"{sid}"}}\t'
            f"1\t{seq + n + 1}\t{hashed}\tf\n"
            for n, kind in enumerate(KINDS)
        )


def load(directory: Path, events: int) -> None:
    """A database with so many events."""
    sessions, began = events // len(KINDS), time.monotonic()
    with PostgresServer(kept=directory, **_SERVER) as server:
        server.execute("CREATE DATABASE listing")
        asyncio.run(_migrate(server))
        with psycopg.connect(server.url("listing"), autocommit=True) as connection:
            for number in range(MONTHS):
                first, last = sessions * number // MONTHS, sessions * (number + 1) // MONTHS
                _load_month(connection, number, first, last)
                print(f"{last * len(KINDS):>12,} events after {time.monotonic() - began:.0f} s", flush=True)
            connection.execute(
                "INSERT INTO writers (name, number, hash, bytes) VALUES ('auth', %s, '', 0)", [events]
            )
            connection.execute("SELECT setval('events_arrival', %s)", [events])
            connection.execute("VACUUM ANALYZE events")
        print(f"loaded after {time.monotonic() - began:.0f} s")


def _load_month(connection: "psycopg.Connection[Any]", number: int, first: int, last: int) -> None:
    """In one transaction, so that the server need not log what it could not lose."""
    months = BEGAN.year * 12 + BEGAN.month - 1 + number
    begins, ends = (datetime(each // 12, each % 12 + 1, 1, tzinfo=UTC) for each in (months, months + 1))
    month = f"{begins:%Y-%m}"
    with connection.transaction():
        connection.execute("CREATE TABLE loading (LIKE events INCLUDING DEFAULTS)")
        with connection.cursor().copy(f"COPY loading ({_COLUMNS}) FROM STDIN") as copy:
            for session in rows(first, last, begins, ends - begins):
                copy.write(session)
        part = f"events_{begins:%Y_%m}"
        connection.execute(f"DROP TABLE IF EXISTS {part}")
        connection.execute(f"ALTER TABLE loading RENAME TO {part}")
        connection.execute("SELECT interlock_events_keys(%s)", [part])
        connection.execute(
            f"ALTER TABLE events ATTACH PARTITION {part} FOR VALUES FROM ('{month}') TO ('{ends:%Y-%m}')"
        )


async def _migrate(server: PostgresServer) -> None:
    await (await open_database(server.place("listing"))).close()


Question = Callable[[SqlAuditLog, random.Random], Awaitable[object]]


def questions(sessions: int) -> dict[str, Question]:
    """What is listed, each time with other values."""
    last = sessions * len(KINDS)

    def user(chance: random.Random) -> str:
        return user_of(chance.randrange(sessions))

    def sid(chance: random.Random) -> SessionId:
        return sid_of(chance.randrange(sessions))

    def newest(**wanted: Any) -> EventFilter:
        return EventFilter(limit=PAGE, newest=True, **wanted)

    async def knows(log: SqlAuditLog, chance: random.Random) -> object:
        return log.knows(sid(chance))

    return {
        "the newest events": lambda log, _: log.page(newest()),
        "a page from the middle": lambda log, c: log.page(newest(before=c.randrange(last))),
        "what came after a cursor": lambda log, c: log.page(EventFilter(after=c.randrange(last), limit=PAGE)),
        "a user's newest events": lambda log, c: log.page(newest(user=user(c))),
        "a user's page from the middle": lambda log, c: log.page(newest(user=user(c), before=c.randrange(last))),
        "the newest of a kind": lambda log, c: log.page(newest(event=c.choice(KINDS))),
        "a kind's page from the middle": lambda log, c: log.page(
            newest(event=c.choice(KINDS), before=c.randrange(last))
        ),
        "a user's newest of a kind": lambda log, c: log.page(newest(user=user(c), event=c.choice(KINDS))),
        "a session's events": lambda log, c: log.page(EventFilter(sid=sid(c), limit=PAGE)),
        "the latest sessions": lambda log, _: log.begun(user=None, before=None, limit=PAGE),
        "sessions from the middle": lambda log, c: log.begun(user=None, before=c.randrange(last), limit=PAGE),
        "a user's latest sessions": lambda log, c: log.begun(user=user(c), before=None, limit=PAGE),
        "which of 50 sessions have begun": lambda log, c: log.have_begun([sid(c) for _ in range(PAGE)]),
        "was there such a session": knows,
        "a kind that never was": lambda log, _: log.page(newest(event="never")),
        "a user who never was": lambda log, _: log.page(newest(user="nobody")),
        "store a session's five events": _store,
    }


async def _store(log: SqlAuditLog, chance: random.Random) -> object:
    sid = SessionId(f"{chance.getrandbits(32):08x}-{chance.getrandbits(16):04x}-4000-8000-ffffffffffff")
    kinds = (Kind.SESSION_START, Kind.SESSION_LEAVE, Kind.SESSION_END, Kind.SESSION_DATA, Kind.SESSION_UPLOAD)
    at = BEGAN + timedelta(days=360)
    told = [AuditEvent(kind, at, f"{sid}-{n}", "demo", sid, n, {"user": "user1"}) for n, kind in enumerate(kinds)]
    await log.append(told)
    return None


class Plans:
    """Explains what the stores ask, by the statements that they send."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: list[tuple[str, Any]] = []
        event.listen(database._engine, "before_cursor_execute", self._note)  # noqa: SLF001

    def _note(self, _connection: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if "FROM events" in statement and not statement.startswith("EXPLAIN"):
            self._seen.append((statement, values))

    async def of(self, ask: Callable[[], Awaitable[object]]) -> dict[str, Any]:
        """Which scans of events there are, and how long the server plans and executes."""
        self._seen.clear()
        await ask()
        seen = list(self._seen)  # none: it was a prepared statement, which this does not see
        scans: set[str] = set()
        planning = execution = 0.0
        for statement, values in seen:
            query = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            found = await self._database.read(
                lambda connection, query=query, values=values: connection.exec_driver_sql(query, values).scalar()  # type: ignore[misc]
            )
            [plan] = found if isinstance(found, list) else json.loads(str(found))
            scans |= set(_scans(plan["Plan"]))
            planning, execution = planning + plan["Planning Time"], execution + plan["Execution Time"]
        return {"scans": sorted(scans), "planning_ms": round(planning, 2), "execution_ms": round(execution, 2)}


def _scans(node: dict[str, Any]) -> Iterator[str]:
    relation = str(node.get("Relation Name", node.get("Index Name", "")))
    if relation.startswith("events") and "Scan" in node["Node Type"] and node.get("Actual Loops", 1):
        kind = node["Node Type"]
        rows_read = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        yield f"{kind}" if kind in _SEEN_INDICES or kind == "Bitmap Heap Scan" else f"{kind} of {rows_read} rows"
    for child in node.get("Plans", ()):
        yield from _scans(child)


async def _ask(server: PostgresServer, rounds: int) -> dict[str, Any]:
    [[events, parts, size]] = server.execute(
        "SELECT (SELECT max(seq) FROM events), count(*), sum(pg_total_relation_size(relid)) "
        "FROM pg_partition_tree('events') WHERE isleaf",
        name="listing",
    )
    database = await open_database(server.place("listing"))
    log, plans, chance = SqlAuditLog(database), Plans(database), random.Random(7)
    found: dict[str, Any] = {}
    for name, question in questions(events // len(KINDS)).items():
        for _ in range(8):  # the driver prepares what comes for the sixth time
            await question(log, chance)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            await question(log, chance)
            times.append((time.perf_counter() - began) * 1000)
        times.sort()
        result = {"p50_ms": round(statistics.median(times), 2), "p99_ms": round(times[int(len(times) * 0.99)], 2)}
        result |= {"max_ms": round(times[-1], 2)}
        if name != "store a session's five events":
            result |= await plans.of(lambda question=question: question(log, chance))  # type: ignore[misc]
        found[name] = result
        print(
            f"{name:36} p50 {result['p50_ms']:7.2f}  p99 {result['p99_ms']:7.2f}  {result.get('scans', '')}",
            flush=True,
        )
    await database.close()
    facts = {"events": events, "tables": parts, "bytes": int(size), "rounds": rounds, "target_ms": TARGET_MS}
    return {**facts, "listings": found}


def main() -> None:
    """Load, or ask."""
    parser = argparse.ArgumentParser(prog="bench.listing")
    parser.add_argument("what", choices=["load", "ask"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    if chosen.what == "load":
        load(chosen.directory.absolute(), chosen.events)
        return
    with PostgresServer(kept=chosen.directory.absolute(), **_SERVER) as server:
        results = asyncio.run(_ask(server, chosen.rounds))
    chosen.out.write_text(json.dumps(results, indent=1) + "\n")
    slow = [name for name, each in results["listings"].items() if each["p99_ms"] > TARGET_MS]
    print(f"over {TARGET_MS:g} ms: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
