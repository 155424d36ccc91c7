"""R18 for daemons: one that was taken over fills none of auth's stores; an honest one waits and loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.adapters.system import SystemClock
from interlock.core.errors import Denied, StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import Kind
from interlock.domain.tracker import Tracker, TrackerState
from interlock.services.audit.emitter import Emitter
from interlock.services.fleet.pacing import PACE, Rate
from interlock.services.sessions.trackers import TrackerWriter
from interlock.testing.auth import SID, Auth, Node

SMALL = replace(PACE, events=Rate(600, 600), trackers=Rate(100, 100), live=50)


class Clock(SystemClock):
    """Whose seconds pass while a daemon waits: what is refused does not depend on how fast this machine is."""

    def __init__(self) -> None:
        self._passed = 0.0

    def monotonic(self) -> float:
        """Seconds that somebody has waited."""
        return self._passed

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self._passed += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    """Auth's."""
    return Clock()


@pytest.fixture
async def auth(tmp_path: Path, clock: Clock) -> AsyncIterator[Auth]:
    """Whose bounds a test reaches."""
    auth = Auth(tmp_path / "auth")
    auth.pace, auth.clock = SMALL, clock
    await auth.start()
    try:
        yield auth
    finally:
        await auth.stop()


@pytest.fixture
async def node(auth: Auth) -> AsyncIterator[Node]:
    """A daemon of auth's."""
    node = await Node.join(auth, "db1")
    yield node
    await node.client.close()


def throttled(auth: Auth) -> list[object]:
    """What the audit log says of it."""
    return [each.fields["reason"] for each in auth.stores.stored_events if each.kind is Kind.DAEMON_THROTTLED]


def tracker(node: Node, sid: str, state: TrackerState = TrackerState.RUNNING) -> Tracker:
    """A session of the node's."""
    return replace(node.tracker(), sid=SessionId(sid), state=state)


async def flood(node: Node, messages: int) -> None:
    """Events, as many as fit."""
    for _ in range(messages):
        await node.client.append([node.event() for _ in range(200)])


async def test_r18_who_floods_is_stopped_and_told_of_once(node: Node) -> None:
    """Whatever it sends, auth has taken what it may; nobody else's events wait."""
    with pytest.raises(StoreError, match="try again"):
        await flood(node, 20)
    for _ in range(10):
        with suppress(StoreError):
            await flood(node, 1)
    taken = [each for each in node.auth.stores.stored_events if each.kind is not Kind.DAEMON_THROTTLED]
    assert len(taken) < 20 * 200
    assert throttled(node.auth) == ["too many events"]
    other = await Node.join(node.auth, "db2")
    await other.client.append([other.event(sid=SessionId("22222222-2222-4222-8222-222222222222"))])
    await other.client.close()


async def test_r18_an_honest_daemon_waits_and_loses_nothing(node: Node, clock: Clock) -> None:
    """By the same queues as ever: it tries again, as when auth is away, and says all in order."""
    emitter = Emitter(node.client, sleep=clock.sleep)
    writer = TrackerWriter(node.client, daemon_id=node.id, clock=clock, sleep=clock.sleep)
    events = [node.event() for _ in range(2_000)]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(emitter.run())
        tasks.create_task(writer.run())
        for event in events:
            emitter.emit(event)
        for number in range(40):
            for state in TrackerState:
                writer.put(tracker(node, f"00000000-0000-4000-8000-{number:012x}", state))
                await writer.flush()
        await emitter.flush()
        emitter.stop()
        writer.stop()
    stored = dict.fromkeys(each.uid for each in node.auth.stores.stored_events if each.kind is events[0].kind)
    assert list(stored) == [each.uid for each in events]
    assert {each.state for each in node.auth.stores.trackers.values()} == {TrackerState.TERMINATED}
    assert len(throttled(node.auth)) == 1


async def test_r18_live_sessions_of_a_daemon_have_an_end(node: Node) -> None:
    """What is no session's, and larger than any, is refused for good."""
    taken = 0
    for number in range(60):
        with suppress(StoreError):
            await node.client.put(tracker(node, f"00000000-0000-4000-8000-{number:012x}"))
            taken += 1
    assert taken == SMALL.live
    assert throttled(node.auth) == ["too many live sessions"]
    with pytest.raises(Denied, match="speak for itself"):
        await node.client.put(replace(tracker(node, SID), command=("x" * 200_000,)))
    assert len(node.auth.stores.trackers) == SMALL.live
