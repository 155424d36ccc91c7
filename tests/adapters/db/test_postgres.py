"""PostgreSQL: shared by several auths, away for a while, and told no secrets that it could repeat."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from interlock.adapters.db import evidence, schema
from interlock.adapters.db.accounts import SqlUserStore
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import GLANCE_S, Database, open_database
from interlock.adapters.db.leases import SqlLeaseStore
from interlock.adapters.db.postgres import PostgresUrl
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.tokens import SqlTokenStore
from interlock.core.errors import ConfigError, NotFound, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.lease import LEASE_TTL, Lease
from interlock.ports import EventFilter, JoinToken
from interlock.testing.clock import START, FakeClock
from interlock.testing.postgres import PASSWORD, TEMPLATE, PostgresServer

pytestmark = pytest.mark.slow

AUTHS = 3
SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
ONE = text("SELECT 1")
RULE = text("INSERT INTO mode_rules VALUES (:labels, 'node')")
RULES = text("SELECT labels FROM mode_rules ORDER BY labels")


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """A database that is up to date."""
    with postgres.database(TEMPLATE) as made:
        yield made


@pytest.fixture
async def database(postgres: PostgresServer, name: str) -> AsyncIterator[Database]:
    """The same, open."""
    opened = await open_database(postgres.place(name))
    yield opened
    await opened.close()


@pytest.fixture
async def auths(postgres: PostgresServer, name: str) -> AsyncIterator[list[Database]]:
    """The same, open several times: each has its own connections and its own thread that writes."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(AUTHS):
            opened.append(await open_database(postgres.place(name)))
            stack.push_async_callback(opened[-1].close)
        yield opened


# --- several that write at once -----------------------------------------------------------------------------


async def test_several_auths_give_no_place_twice(auths: list[Database]) -> None:
    """Sixty ask for five, over all of them."""
    clock = FakeClock()
    stores = [SqlLeaseStore(each, clock) for each in auths]
    wanted = [Lease(f"l{n}", "alice", DaemonId("d"), START + LEASE_TTL) for n in range(60)]
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(stores[n % AUTHS].acquire(each, 5)) for n, each in enumerate(wanted)]
    assert sum(each.result() for each in asked) == 5


async def test_several_auths_spend_no_use_twice(auths: list[Database]) -> None:
    """Of a join token that was made for four."""
    stores = [SqlTokenStore(each) for each in auths]
    await stores[0].add_token(JoinToken("t1", b"x", START, START, 4))
    async with asyncio.TaskGroup() as tasks:
        spent = [tasks.create_task(stores[n % AUTHS].spend_token("t1")) for n in range(30)]
    assert sum(each.result() for each in spent) == 4


async def test_a_session_starts_and_ends_once_whoever_is_told(auths: list[Database]) -> None:
    """A daemon that says it again says it to another auth."""
    logs = [SqlAuditLog(each) for each in auths]
    kinds = (Kind.SESSION_START, Kind.SESSION_END, Kind.SESSION_UPLOAD)
    async with asyncio.TaskGroup() as tasks:
        for n, log in enumerate(logs * 4):
            told = [AuditEvent(kind, START, f"{kind.name}{n}", "demo", SID, i) for i, kind in enumerate(kinds)]
            tasks.create_task(log.append(told))
    stored = await logs[0].events(EventFilter(sid=SID))
    assert [each["event"] for each in stored] == [kind.event for kind in kinds]


async def test_who_follows_the_log_by_its_cursors_misses_nothing(auths: list[Database]) -> None:
    """What is stored later has a higher number, whichever auth stored it."""
    reader, *writers = (SqlAuditLog(each) for each in auths)
    total, seen, cursor = 120, list[object](), 0

    async def write(log: SqlAuditLog, by: int) -> None:
        for n in range(total // len(writers)):
            await log.append([AuditEvent(Kind.USER_LOGIN, START, f"{by}-{n}", "demo")])

    async with asyncio.TaskGroup() as tasks:
        for by, log in enumerate(writers):
            tasks.create_task(write(log, by))
        while len(seen) < total:
            page = await reader.page(EventFilter(after=cursor, limit=1000))
            seen += [event["uid"] for _, event in page]
            cursor = page[-1][0] if page else cursor
    assert len(set(seen)) == total


# --- away and back ------------------------------------------------------------------------------------------


async def test_a_database_that_is_back_is_used_at_once(postgres: PostgresServer, database: Database) -> None:
    """While it is away everything says so; when it answers again, whatever lay in the pools is forgotten."""
    await asyncio.gather(*(database.rows(ONE) for _ in range(4)))
    await database.change(RULE, {"labels": "before"})
    await asyncio.to_thread(postgres.stop, now=True)
    try:
        for attempt in (database.rows(ONE), database.change(RULE, {"labels": "never"}), database.version()):
            with pytest.raises(StoreError, match="the gateway's database is not available"):
                await attempt
        with pytest.raises(StoreError, match="not available"):
            database.glance(Prepared(select(schema.mode_rules)))
    finally:
        await asyncio.to_thread(postgres.start)
    await asyncio.gather(*(database.rows(ONE) for _ in range(4)))
    await database.change(RULE, {"labels": "later"})
    assert [row.labels for row in await database.rows(RULES)] == ["before", "later"]


async def test_a_restart_between_two_writes_is_not_noticed(postgres: PostgresServer, database: Database) -> None:
    """The connections of before are dead; what asks next gets new ones."""
    await database.change(RULE, {"labels": "a"})
    await database.rows(ONE)
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    await database.change(RULE, {"labels": "b"})
    assert [row.labels for row in await database.rows(RULES)] == ["a", "b"]


class Adding:
    """Stores a rule, and counts how often it was asked to; the first time, ``first`` happens after it."""

    def __init__(self, labels: str, first: str = "") -> None:
        self.labels, self.first, self.runs = labels, first, 0

    def __call__(self, connection: Connection) -> str:
        self.runs += 1
        connection.execute(RULE, {"labels": self.labels})
        if self.first and self.runs == 1:
            connection.execute(text(self.first))
        return self.labels


HANGS_UP = "SELECT pg_terminate_backend(pg_backend_pid())"
COLLIDES = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"


@pytest.mark.parametrize("first", [HANGS_UP, COLLIDES])
async def test_a_group_that_was_undone_by_nobodys_fault_is_done_again(database: Database, first: str) -> None:
    """As a whole: each of its writes once, and each caller gets its result."""
    writes = [Adding("a"), Adding("b", first), Adding("c")]
    assert await asyncio.gather(*(database.write(each) for each in writes)) == ["a", "b", "c"]
    assert [each.runs for each in writes] == [2, 2, 1]
    assert [row.labels for row in await database.rows(RULES)] == ["a", "b", "c"]


async def test_a_commit_that_nobody_answered_is_not_done_twice(database: Database) -> None:
    """Nobody knows whether it is done; the caller does, who can look."""
    await database.change(
        text(
            "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
        )
    )
    await database.change(
        text(
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON mode_rules DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION hang_up()"
        )
    )
    writes = [Adding("a"), Adding("b")]
    outcomes = await asyncio.gather(*(database.write(each) for each in writes), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreError, StoreError]
    assert [each.runs for each in writes] == [1, 1]
    assert await database.rows(RULES) == []


async def test_a_glance_does_not_hold_up_the_loop_for_long(database: Database) -> None:
    """A database that says nothing is away; as long as the question is open, no other is asked."""
    asleep = Prepared(select(schema.users.c.name).where(text("pg_sleep(3) IS NOT NULL")))
    await database.change(
        text("INSERT INTO users (name, must_change, roles, created) VALUES ('a', false, '[]', '')")
    )
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        database.glance(asleep)
    assert time.monotonic() - began >= GLANCE_S
    assert "no answer" in caught.value.reason
    with pytest.raises(StoreError) as caught:
        database.glance(asleep)
    assert "not answered yet" in caught.value.reason


async def test_who_reads_the_whole_log_may_take_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement of it, over ten million events, takes more than a minute; no other's may."""
    monkeypatch.setattr(evidence, "SqlEvidence", lambda connection: connection)
    shown = "SHOW statement_timeout"

    def look(connection: Any) -> str:
        return str(connection.exec_driver_sql(shown).scalar())

    assert await evidence.SqlEvidenceStore(database).inspect(look) == "0"
    assert await database.read(look) == "1min"


# --- what it is told, and what it says ----------------------------------------------------------------------


async def test_what_text_cannot_hold_is_an_escape(database: Database) -> None:
    """A user of whatever name is unknown, not a failure."""
    with pytest.raises(NotFound):
        await SqlUserStore(database).user("a\x00b")


async def test_what_is_told_stored_is_on_the_disk(postgres: PostgresServer, name: str) -> None:
    """Whatever the server is set to."""
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = await open_database(postgres.place(name))
    shown = await database.read(lambda connection: connection.execute(text("SHOW synchronous_commit")).scalar())
    assert shown == "on"
    await database.close()


async def test_text_must_be_unicode(postgres: PostgresServer) -> None:
    """Said at the start, in a sentence for whoever made the database."""
    postgres.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with pytest.raises(ConfigError, match="UTF8"):
        await open_database(postgres.place("ascii"))


@pytest.mark.parametrize(
    "change",
    [{"port": 1}, {"password": "wrong-secret"}, {"name": "nowhere"}],
    ids=lambda change: next(iter(change)),
)
async def test_who_cannot_connect_says_why_without_secrets(
    postgres: PostgresServer, change: dict[str, object]
) -> None:
    """No server, a wrong password, no such database."""
    port, password, name = (
        change.get("port", postgres.port),
        change.get("password", PASSWORD),
        change.get("name", "x"),
    )
    with pytest.raises(StoreError) as caught:
        await open_database(PostgresUrl.parse(f"postgresql://interlock:{password}@127.0.0.1:{port}/{name}"))
    said = f"{caught.value.public} {caught.value.reason} {caught.value.__cause__}"
    assert "OperationalError" in caught.value.reason
    assert "OperationalError" not in caught.value.public
    assert "\n" not in caught.value.public
    assert f"127.0.0.1/{name}: connection failed: " in caught.value.public
    assert str(password) not in said


async def test_what_failed_to_be_stored_is_not_repeated(database: Database) -> None:
    """PostgreSQL quotes the row, and SQLAlchemy the parameters: there may be keys among them."""
    broken = text("INSERT INTO authorities (kind, private_key, public) VALUES ('user', :key, 'p')")
    with pytest.raises(StoreError) as caught:
        await database.change(broken, {"key": "very secret"})
    assert "created" in caught.value.reason
    assert "very secret" not in caught.value.reason


@pytest.mark.parametrize("tcp", [False, True])
async def test_both_ways_lead_to_it(postgres: PostgresServer, name: str, tcp: bool) -> None:
    """By its socket, and by TCP with a password."""
    database = await open_database(PostgresUrl.parse(postgres.url(name, tcp=tcp)))
    assert len(await database.rows(ONE)) == 1
    await database.close()


def test_a_url_shows_no_secret() -> None:
    """In logs and errors it is what follows."""
    url = PostgresUrl.parse("postgresql://bob:hush@db.example:5433/gate?sslmode=verify-full")
    assert url.has_password
    assert str(url) == "postgresql://db.example/gate"
    assert "hush" not in repr(url)
    assert not replace(url, _url="postgresql://bob@db.example/gate").has_password


@pytest.mark.parametrize(
    "bad", ["mysql://bob:hush@h/d", "postgresql://bob:hush@h/d?nonsense=1", "postgresql://[hush"]
)
def test_what_is_no_url_is_not_repeated(bad: str) -> None:
    """A typing error must not put the password into the log."""
    with pytest.raises(ConfigError) as caught:
        PostgresUrl.parse(bad)
    assert "hush" not in f"{caught.value.public}{caught.value.reason}"


def test_a_server_of_tests_leaves_nothing() -> None:
    """Neither its process nor its files."""
    with PostgresServer() as server:
        assert server.execute("SELECT 1") == [(1,)]
        pid, directory = server.pid, server.directory
    assert not Path(f"/proc/{pid}").exists()
    assert not directory.exists()
