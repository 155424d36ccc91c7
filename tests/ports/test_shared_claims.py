"""Whose session an ID is, for all auths: the daemon's that was the first to name it to any of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.claims import SqlSharedClaims
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.adapters.rpc.guard import SessionOwners
from interlock.core.errors import Denied, RemoteProtocolError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.sessions.claiming import Claim, Claiming, claim_own
from interlock.services.sessions.claims import SessionClaims
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
OTHER = SessionId("aaaaaaaa-0000-4000-8000-000000000002")
PROXY, NODE = DaemonId("proxy"), DaemonId("node")
LIAR = HostIdentity("demo", NODE, ("node",))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def auths(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[list[Database]]:
    """Two, on one database."""
    place = new_place(request.param)
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(2):
            opened.append(await open_database(place))
            stack.push_async_callback(opened[-1].close)
        yield opened


def claim_at(database: Database) -> Claim:
    """As auth does."""
    return lambda sid, daemon: SqlSharedClaims(database).claim(sid, daemon, now=START)


def owners(database: Database) -> SessionOwners:
    """Of an auth of its own."""
    log, trackers = SqlAuditLog(database), SqlTrackerStore(database)
    return SessionOwners(SessionClaims(), log, trackers, claim_at(database))


async def test_the_first_one_has_it_at_every_auth(auths: list[Database]) -> None:
    """And is told so again; everybody else is told whose it is."""
    one, two = map(claim_at, auths)
    assert await one(SID, PROXY) == PROXY
    assert await two(SID, NODE) == PROXY
    assert await two(SID, PROXY) == PROXY
    assert await two(OTHER, NODE) == NODE


async def test_of_many_at_once_one_has_it(auths: list[Database]) -> None:
    """All are told the same."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(claim_at(auths[n % 2])(SID, DaemonId(f"d{n}"))) for n in range(20)]
    assert len({each.result() for each in asked}) == 1


async def test_what_is_claimed_is_known_until_it_is_forgotten(auths: list[Database]) -> None:
    """As is what something is stored of; a refusal is nothing."""
    claims = SqlSharedClaims(auths[0])
    refusal = AuditEvent(Kind.SESSION_REJECTED, START, "u1", "demo", OTHER)
    await SqlAuditLog(auths[1]).append([refusal])
    assert not claims.knows(SID)
    assert not claims.knows(OTHER)
    await claim_at(auths[1])(SID, PROXY)
    await SqlAuditLog(auths[1]).append([AuditEvent(Kind.SESSION_START, START, "u2", "demo", OTHER)])
    assert claims.knows(SID)
    assert claims.knows(OTHER)
    assert await claims.forget(START) == 0
    assert await claims.forget(START + timedelta(seconds=1)) == 1
    assert not claims.knows(SID)


async def test_a_node_says_nothing_of_a_session_that_is_claimed_at_another_auth(auths: list[Database]) -> None:
    """Although that auth has stored nothing yet."""
    await claim_at(auths[0])(SID, PROXY)
    with pytest.raises(Denied) as caught:
        async with owners(auths[1]).speaking(LIAR, [SID]):
            pytest.fail("it was let to speak")
    assert f"session {SID} of daemon {PROXY}" in caught.value.reason


async def test_what_a_node_named_first_begins_at_no_other_auth(auths: list[Database]) -> None:
    """Nor goes on there, if it has begun in the same moment."""
    refused = list[SessionId]()
    lookup, done = SqlSharedClaims(auths[0]), asyncio.Event()

    def told(sid: SessionId, _error: Denied) -> None:
        refused.append(sid)
        done.set()

    claims = SessionClaims(lookup)
    claiming = Claiming(claim_own(claim_at(auths[0]), claims))
    claiming.on_refused = told
    claims.tell = claiming.tell
    claims.begin(OTHER, PROXY)  # what it knows is not what is claimed a moment later
    for sid in (OTHER, SID):
        async with owners(auths[1]).speaking(LIAR, [sid]):
            pass
    with pytest.raises(RemoteProtocolError):
        claims.begin(SID, PROXY)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(claiming.run())
        async with asyncio.timeout(20):
            await done.wait()
        running.cancel()
    assert refused == [OTHER]
