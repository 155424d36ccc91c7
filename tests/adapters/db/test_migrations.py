"""Every released schema is brought up to date with all that it holds, in both databases."""

import json
from collections.abc import Mapping

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from interlock.adapters.db import engine
from interlock.adapters.db.accounts import SqlRoleStore, SqlUserStore
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.authorities import SqlAuthorityStore, SqlClusterStore
from interlock.adapters.db.clusters import SqlTrustStore
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.adapters.db.inventory import SqlInventory
from interlock.adapters.db.leases import SqlLeaseStore
from interlock.adapters.db.locks import SqlLockStore
from interlock.adapters.db.tokens import SqlTokenStore
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.adapters.db.twins import SqlTwinStore
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import BY_AUTH, SYNTHESIZED, AuditEvent, Kind
from interlock.domain.cluster import Relation
from interlock.domain.duties import RecordingMode
from interlock.domain.lease import Lease
from interlock.ports import EventFilter
from interlock.services.audit.verifying import verify
from interlock.services.keys.sealing import ClearSealing
from interlock.testing.clock import START, FakeClock
from interlock.testing.postgres import Place

T = "2026-01-10T22:23:57.642000Z"
BODY = (
    '{"user":"alice","login":"root","hostname":"web1","target_id":"n1","cluster":"demo","sub_kind":"interlock",'
    '"recording_mode":"node","kind":"ssh","command":[],"participants":["alice"]}'
)
RELEASES = [f"{number:04}" for number in range(1, int(engine.HEAD))]

FIRST: list[tuple[str, Mapping[str, object]]] = [
    ("cluster", {"only": 1, "id": "c1", "name": "demo", "recording_mode": "proxy", "created": T}),
    ("authorities", {"kind": "user", "private_key": "private", "public": "public", "created": T}),
    ("users", {"name": "alice", "must_change": True, "roles": '["dev"]', "created": T}),
    ("roles", {"name": "dev", "logins": '["root"]', "node_labels": '{"*":"*"}', "options": "{}"}),
    (
        "nodes",
        {"id": "n1", "hostname": "web1", "host": "h", "port": 22, "sub_kind": "interlock", "labels": "{}",
         "host_keys": "[]", "version": "1"},
    ),
    ("tokens", {"id": "t1", "secret_hash": b"\x00\xff", "created": T, "expires": T, "uses": 3}),
    *(
        (
            "trackers",
            {"sid": f"s{n}", "state": n, "swept": False, "daemon_id": "d", "created": T, "expires": T,
             "body": BODY},
        )
        for n in range(3)
    ),
    *(
        (
            "events",
            {"uid": f"u{n}", "sid": f"s{n}", "event": "session.start", "time": T, "user": "alice", "ei": 0,
             "body": f'{{"uid":"u{n}","ei":0,"event":"session.start","code":"T2000I","sid":"s{n}","time":"{T}"}}'},
        )
        for n in range(3)
    ),
]  # fmt: skip
LATER: dict[str, tuple[str, Mapping[str, object]]] = {
    "0002": ("twins", {"sid": "s0", "node": "n1", "seen_from": "h:1", "folded": "s2"}),
    "0003": ("mode_rules", {"labels": '{"env":"prod"}', "mode": "proxy-sync"}),
    "0005": (
        "locks",
        {"id": "l1", "kind": "user", "name": "bob", "message": "m", "created": T, "created_by": "root"},
    ),
    "0007": (
        "trusted_clusters",
        {"relation": "leaf", "name": "leaf", "id": "c2", "user_cas": "[]", "host_cas": '["k"]', "proxy": "p:1",
         "roles": "{}", "insists": False, "enabled": True, "created": T},
    ),
}  # fmt: skip
"""What came with a release; each is in those that follow."""

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
EVENT_OF_0008 = (
    'INSERT INTO events (seq, uid, sid, event, time, "user", ei, synthesized, body) '
    f"VALUES (:seq, :uid, '{SID}', :event, '{T}', :user, :ei, :by, :body)"
)
LEASE = {"id": "e1", "semaphore": "s", "daemon_id": "d", "expires": "2099-01-01T00:00:00.000000Z"}


def fill(connection: Connection, release: str) -> None:
    """What an installation of this release may have stored."""
    rows = FIRST + [row for since, row in LATER.items() if since <= release]
    if release >= "0005":
        rows.append(("leases", LEASE))
    if release >= "0009":
        rows.insert(0, ("writers", {"name": "auth", "number": 3, "hash": b"0", "bytes": 0}))
    for table, row in rows:
        stored = row
        if table == "tokens" and release >= "0007":
            stored = {**row, "kind": "node"}
        if table == "events" and release >= "0009":
            stored = {**row, "writer": 1, "number": int(str(row["uid"])[1:]) + 1, "hash": b"0", "hidden": False}
        if table == "cluster" and release >= "0013":
            stored = {**row, "offline_s": 0}
        names, values = ", ".join(f'"{each}"' for each in stored), ", ".join(f":{each}" for each in stored)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), dict(stored))


def make(connection: Connection, release: str) -> None:
    """The tables of this release."""
    config = Config()
    config.set_main_option("script_location", str(engine._MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, release)


@pytest.mark.parametrize("release", RELEASES)
async def test_a_database_of_any_release_is_brought_up_to_date_with_all_it_holds(
    empty: Place, release: str
) -> None:
    """Each table is read by its store; new indices find old rows."""
    old = Database(engine._backend(empty))
    await old.write(lambda connection: make(connection, release))
    await old.write(lambda connection: fill(connection, release))
    await old.close()
    database, clock = await open_database(empty), FakeClock()
    assert (await SqlClusterStore(database).cluster()).recording_mode is RecordingMode.PROXY
    assert (await SqlAuthorityStore(database, clock, ClearSealing()).authority("user")).private_key == "private"
    user = await SqlUserStore(database).user("alice")
    assert (user.roles, user.must_change) == (("dev",), True)
    assert [role.logins for role in await SqlRoleStore(database).all_roles()] == [("root",)]
    assert [(node.hostname, node.tunnel) for node in await SqlInventory(database, clock).targets()] == [
        ("web1", False)
    ]
    [token] = await SqlTokenStore(database).tokens()
    assert (token.secret_hash, token.uses) == (b"\x00\xff", 3)
    assert [tracker.sid for tracker in await SqlTrackerStore(database).live()] == ["s0", "s1"]
    audit = SqlAuditLog(database)
    assert [start["uid"] for _, start in await audit.begun(user="alice", before=3, limit=10)] == ["u1", "u0"]
    stored = await audit.events(EventFilter(as_told=True))
    assert [each["uid"] for each in stored] == ["u0", "u1", "u2"]
    twins = await SqlTwinStore(database).folded([SessionId("s2")])
    assert twins == ({SessionId("s2"): SessionId("s0")} if release >= "0002" else {})
    rules = (await SqlClusterStore(database).mode_policy()).rules
    assert [rule.mode for rule in rules] == ([RecordingMode.PROXY_SYNC] if release >= "0003" else [])
    assert [lock.name for lock in await SqlLockStore(database).locks()] == (["bob"] if release >= "0005" else [])
    leases = SqlLeaseStore(database, clock)
    assert await leases.acquire(Lease("e2", "s", DaemonId("d"), START), 1) == (release < "0005")
    trusts = await SqlTrustStore(database).trusted_clusters(Relation.LEAF)
    assert [each.name for each in trusts] == (["leaf"] if release >= "0007" else [])
    await database.close()


async def test_events_of_before_become_the_chain_of_before(empty: Place) -> None:
    """In the order in which they came and byte for byte; what auth had made up still gives way; verified whole."""
    old = Database(engine._backend(empty))
    await old.write(lambda connection: make(connection, "0008"))
    told = [AuditEvent(Kind.EXEC, START, f"u{n}", "demo", SID, n + 1, {"user": "älice"}) for n in range(1200)]
    told.append(AuditEvent(Kind.SESSION_END, START, "auth", "demo", SID, 1201, {SYNTHESIZED: BY_AUTH}))
    stored = [
        {
            "seq": 2 * each.index + 1,
            "uid": each.uid,
            "event": each.kind.event,
            "user": each.fields.get("user"),
            "ei": each.index,
            "by": each.fields.get(SYNTHESIZED),
            "body": json.dumps(each.to_json()),
        }
        for each in told
    ]

    def put(connection: Connection) -> None:
        for row in stored:
            connection.execute(text(EVENT_OF_0008), row)

    await old.write(put)
    before = await old.rows(text("SELECT seq, uid, body FROM events ORDER BY seq"))
    await old.close()
    database = await open_database(empty)
    after = await database.rows(text("SELECT seq, uid, body FROM events ORDER BY seq"))
    assert [tuple(each) for each in after] == [tuple(each) for each in before]
    log = SqlAuditLog(database, "gateway")
    await log.append([AuditEvent(Kind.SESSION_END, START, "own", "demo", SID, 1201)])
    [(cursor, last)] = await log.page(EventFilter(sid=SID, event="session.end"))
    assert (last["uid"], cursor > 2403) == ("own", True)
    report = await SqlEvidenceStore(database).inspect(lambda evidence: verify(evidence, []))
    assert report.findings == []
    assert [(each.writer, each.events) for each in report.writers.values()] == [("before", 1201), ("gateway", 2)]
    await database.close()
