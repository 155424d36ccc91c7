"""Locks and places over real connections: followed without asking, counted under one's own name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc import serving
from interlock.adapters.rpc.calling import call, upload
from interlock.adapters.rpc.tls import open_channel
from interlock.core.errors import Denied, Locked, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.identity import Claims, Identity
from interlock.domain.lease import LEASE_TTL, Lease
from interlock.domain.lock import NO_LOCKS, Lock, LockKind, LockList, Subject
from interlock.services.access.locks import Locks
from interlock.services.keys.daemonca import HostIdentity, KeyPair, create_key, create_request
from interlock.testing.auth import SID, Node
from interlock.testing.procs import poll_until

SEMAPHORE = "connections/example/alice"
STRANGER = DaemonId("99999999-9999-4999-8999-999999999999")


def lock(node: Node, **more: object) -> Lock:
    """On alice."""
    made = Lock("l1", LockKind.USER, "alice", node.auth.clock.now(), "call 4711", created_by="root")
    return replace(made, **more)  # type: ignore[arg-type]


def lease(node: Node) -> Lease:
    """A new one of this daemon."""
    return Lease(node.auth.entropy.uuid(), SEMAPHORE, node.id, node.auth.clock.now() + LEASE_TTL)


# --- locks -----------------------------------------------------------------------------------------------------


async def test_a_node_hears_of_locks_as_auth_does(node: Node) -> None:
    """All of each lock but its expiry, which auth decides; what has expired is not told."""
    now, lasting = node.auth.clock.now(), lock(node)
    brief, over = (
        replace(lasting, id="l2", expires=now + timedelta(hours=1)),
        replace(lasting, id="l3", expires=now),
    )
    async with aclosing(node.client.follow_locks()) as told:
        assert await anext(told) == NO_LOCKS
        node.auth.locks.tell(LockList((lasting, brief, over), strict=True, offline_s=60))
        assert await anext(told) == LockList((lasting, replace(brief, expires=None)), strict=True, offline_s=60)
        node.auth.locks.tell(LockList())
        assert await anext(told) == NO_LOCKS


async def test_a_feed_that_fails_at_auth_fails_here(node: Node) -> None:
    """And can be asked again."""
    async with aclosing(node.client.follow_locks()) as told:
        await anext(told)
        node.auth.locks.tell(StoreError("the database is away"))
        with pytest.raises(StoreError, match="the database is away"):
            await anext(told)
    async with aclosing(node.client.follow_locks()) as told:
        assert await anext(told) == NO_LOCKS


async def test_an_auth_that_goes_away_ends_the_feed(node: Node) -> None:
    """So that the view knows, and asks until there is one again."""
    async with aclosing(node.client.follow_locks()) as told:
        await anext(told)
        await node.auth.stop()
        with pytest.raises(StoreError, match="auth cannot be reached"):
            await anext(told)
    await node.auth.start()
    await node.reached()
    async with aclosing(node.client.follow_locks()) as told:
        assert await anext(told) == NO_LOCKS


async def test_a_daemon_watches_once(node: Node, neighbour: Node) -> None:
    """A second watch ends the first, a third is refused: none can use up the calls of all. Others' go on."""
    async with aclosing(node.client.follow_locks()) as first, aclosing(neighbour.client.follow_locks()) as theirs:
        await anext(first)
        await anext(theirs)
        async with aclosing(node.client.follow_locks()) as second, aclosing(node.client.follow_locks()) as third:
            await anext(second)
            with pytest.raises(Denied, match="watches already"):
                await anext(third)
            node.auth.locks.tell(LockList((lock(node),)))
            with pytest.raises(Denied, match="watches elsewhere"):
                await anext(first)
            assert len((await anext(second)).locks) == len((await anext(theirs)).locks) == 1
            async with aclosing(node.client.follow_locks()) as again:
                await anext(again)


async def test_a_new_certificate_ends_the_watch_at_once(node: Node) -> None:
    """The old connection would wait for its end for half a minute."""
    key = create_key()
    identity = HostIdentity("example", node.id, ("db1",))
    fresh = node.auth.ca.issue_daemon(create_request(key), identity, now=node.auth.clock.now())
    async with aclosing(node.client.follow_locks()) as told:
        await anext(told)
        async with asyncio.timeout(10):
            await node.client.use(KeyPair(key, fresh))
        with pytest.raises(StoreError):
            await anext(told)
    async with aclosing(node.client.follow_locks()) as told:
        assert await anext(told) == NO_LOCKS


async def test_a_view_over_the_wire_follows_through_an_absence(node: Node) -> None:
    """What was locked meanwhile takes effect when auth is back."""
    view = Locks(node.client, clock=node.auth.clock)
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(view.run())
        async with aclosing(view.follow_locks()) as told:
            await anext(told)
            view.watch(Subject(user="alice"), lambda _lock: ended.set())
            await node.auth.stop()
            await node.auth.start()
            await anext(told)
            node.auth.locks.tell(LockList((lock(node),)))
            await ended.wait()
        running.cancel()


async def test_a_lock_is_told_as_one(node: Node) -> None:
    """Auth's refusal of a login, so that the node can call it a rejection."""
    node.auth.stores.denial = lock(node).refusal()
    now = node.auth.clock.now()
    with pytest.raises(Locked, match="access is locked: call 4711"):
        await node.client.admit(Claims(Identity("a", (), "example"), ("root",), now, now, 1), "root", node.id)


# --- places ----------------------------------------------------------------------------------------------------


async def test_places_are_counted_over_all_daemons(node: Node, neighbour: Node) -> None:
    """Each keeps and gives back its own."""
    mine, theirs = lease(node), lease(neighbour)
    assert await node.client.acquire(mine, 2)
    assert await neighbour.client.acquire(theirs, 2)
    assert not await node.client.acquire(lease(node), 2)
    expires = node.auth.clock.now() + LEASE_TTL
    assert await node.client.renew_leases(node.id, [mine.id, theirs.id], expires) == {mine.id}
    await node.client.release(node.id, [mine.id, theirs.id])
    assert set(node.auth.leases.stored) == {theirs.id}
    assert await node.client.acquire(lease(node), 2)
    await neighbour.client.release_all(neighbour.id)
    assert [each.daemon_id for each in node.auth.leases.stored.values()] == [node.id]


async def test_a_node_takes_places_under_its_own_name_only(node: Node) -> None:
    """Whatever it says."""
    assert await node.client.acquire(replace(lease(node), daemon_id=STRANGER), 1)
    assert [each.daemon_id for each in node.auth.leases.stored.values()] == [node.id]


async def test_a_place_lasts_no_longer_than_auth_allows(node: Node) -> None:
    """A node with a clock of its own, or a mind of its own, cannot hold one for ever."""
    long = replace(lease(node), expires=node.auth.clock.now() + timedelta(days=365))
    assert await node.client.acquire(long, 1)
    (stored,) = node.auth.leases.stored.values()
    assert stored.expires < node.auth.clock.now() + timedelta(minutes=6)


@pytest.mark.parametrize(
    "offence",
    [
        m.Acquire("not-a-uuid", SEMAPHORE, 1, 30.0),
        m.Acquire("6ba7b810-9dad-11d1-80b4-00c04fd430c8", SEMAPHORE, 1, 30.0),
        m.Acquire("11111111-1111-4111-8111-111111111111", "x" * 513, 1, 30.0),
    ],
)
async def test_a_lease_must_look_like_one(node: Node, offence: m.Acquire) -> None:
    """Its ID is drawn, its semaphore has a reasonable length."""
    with pytest.raises(Denied, match="only speak for itself"):
        await call(node.client._channel, m.ACQUIRE, offence)
    assert node.auth.leases.stored == {}


async def test_nobody_renews_more_leases_than_there_can_be(node: Node) -> None:
    """One message is bounded by its number, not only by its bytes."""
    with pytest.raises(Denied, match="only speak for itself"):
        await node.client.release(node.id, [f"{number}" for number in range(m.MAX_LEASES + 1)])


async def test_the_join_listener_tells_nobody_of_locks(node: Node) -> None:
    """It knows no caller."""
    auth = node.auth
    async with open_channel(auth.bound.join, auth.ca.certificate, max_message=m.MAX_MESSAGE) as channel:
        with pytest.raises(StoreError, match="auth is of an older version"):
            await call(channel, m.WATCH_LOCKS, m.Nothing())


# --- calls -----------------------------------------------------------------------------------------------------


async def test_calls_beyond_the_limit_are_refused_and_watches_are_not_among_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may hold a message. Whoever was refused tries again."""
    async with aclosing(node.client.follow_locks()) as told:
        await anext(told)
        monkeypatch.setattr(serving, "MAX_CALLS", 0)
        with pytest.raises(StoreError, match="auth is busy"):
            await node.client.trust()
        async with aclosing(node.client.follow_locks()) as another:
            await anext(another)
        monkeypatch.undo()
        await node.client.trust()


async def test_uploads_are_counted_apart(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings that come slowly keep nobody's events waiting."""
    monkeypatch.setattr(serving, "MAX_CALLS", 1)
    go_on = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ta"
        await go_on.wait()
        yield b"pe"

    async def store(sid: SessionId) -> m.Stored:
        return await upload(node.client._channel, m.STORE_RECORDING, m.RecordingHeader(sid, 4), chunks())

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(store(SID))
        arriving = node.auth.directory
        await asyncio.to_thread(poll_until, lambda: list(arriving.glob("*.arriving")), "upload", every=0.01)
        await node.client.trust()
        with pytest.raises(StoreError, match="auth is busy"):
            await store(SessionId(STRANGER))
        go_on.set()
    assert first.result().url


async def test_a_refusal_is_heard_by_whoever_is_still_sending(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that auth failed: in that gRPC turns a refusal when it comes between two writes, time and again."""
    monkeypatch.setattr(serving, "MAX_CALLS", 0)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"tape"
            await asyncio.sleep(0)

    for _ in range(200):
        with pytest.raises(StoreError, match="auth is busy"):
            await upload(node.client._channel, m.STORE_RECORDING, m.RecordingHeader(SID, 80), chunks())
