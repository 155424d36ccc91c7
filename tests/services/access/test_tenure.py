"""How long a connection may stay, on a clock that the test moves: places, deadlines, locks, one timer at most."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from interlock.core.errors import Denied, LimitReached, Locked, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.access import Access
from interlock.domain.identity import Identity
from interlock.domain.lease import Lease
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.target import SubKind, Target
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks
from interlock.services.access.tenure import LOOKS, PLACE_LOST, Conduct, Tenure, Tenures, Terms, too_many_sessions
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLeases, MemoryLocks
from interlock.testing.stores import FakeTimer, FakeTimers

ALICE = Identity("alice", ("dev",), "demo")
WEB = Target(DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.AGENTLESS)
TERMS = Terms(ALICE, "root", WEB, Access(), START + timedelta(hours=1))
LOCK = Lock("l1", LockKind.USER, "alice", START, "call 4711")


class Daemon:
    """Tenures, and what connections were told."""

    def __init__(self) -> None:
        self.clock, self.timers = FakeClock(), FakeTimers()
        self.store = MemoryLeases(self.clock)
        self.locks = Locks(MemoryLocks(), clock=self.clock)
        self.leases = Leases(self.store, daemon_id=DaemonId("proxy"), clock=self.clock, entropy=FakeEntropy())
        self.tenures = Tenures(locks=self.locks, leases=self.leases, clock=self.clock, call_later=self.call_later)
        self.ends: list[Denied] = []
        self.moved = 0
        self.due: dict[FakeTimer, float] = {}

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        """The loop's, with the time at which it is due."""
        timer = self.timers.call_later(delay, callback)
        self.due[timer] = self.clock.monotonic() + delay
        return timer

    async def enter(self, *, serve: bool = True, here: bool = True, **access: Any) -> Tenure:
        """Somebody comes, under these options."""
        tenure = await self.tenures.enter(replace(TERMS, access=Access(**access), here=here))
        if serve:
            self.serve(tenure)
        return tenure

    def serve(self, tenure: Tenure) -> None:
        """The connection is served."""
        tenure.serve(Conduct(self.ends.append, lambda: self.moved))

    def lock(self, *locks: Lock) -> None:
        """The feed says this."""
        self.locks._hear(LockList(locks))

    def pass_time(self, seconds: float, *, move: bool = False) -> None:
        """Let so much time pass, timer by timer as a loop would; ``move``: the person does something at each."""
        until = self.clock.monotonic() + seconds
        while self.timers.pending and (due := self.due[self.timers.pending[0]]) <= until:
            self.clock.advance(due - self.clock.monotonic())
            self.moved += move
            self.timers.fire()
        self.clock.advance(until - self.clock.monotonic())


@pytest.fixture
def daemon() -> Daemon:
    """A daemon without connections."""
    return Daemon()


async def test_a_connection_without_limits_costs_nothing(daemon: Daemon) -> None:
    """No timer, no lease, and a lock watch that goes with it."""
    tenure = await daemon.enter()
    assert daemon.timers.pending == []
    assert daemon.store.stored == {}
    tenure.leave()
    daemon.lock(LOCK)
    assert daemon.ends == []


@pytest.mark.parametrize(
    "options",
    [
        {"client_idle_timeout": 60},
        {"max_session_ttl": 60},
        {"disconnect_expired_cert": True},
        {"client_idle_timeout": 60, "max_session_ttl": 600, "disconnect_expired_cert": True},
    ],
)
async def test_all_deadlines_share_one_timer(daemon: Daemon, options: dict[str, Any]) -> None:
    """Which goes when the connection does."""
    tenure = await daemon.enter(**options)
    assert len(daemon.timers.pending) == 1
    daemon.pass_time(20)
    assert len(daemon.timers.pending) == 1
    tenure.leave()
    assert daemon.timers.pending == []


async def test_an_idle_connection_ends(daemon: Daemon) -> None:
    """Not before the timeout, at most an eighth of it later."""
    await daemon.enter(client_idle_timeout=800)
    daemon.pass_time(799)
    assert daemon.ends == []
    daemon.pass_time(1 + 800 / LOOKS)
    assert [end.public for end in daemon.ends] == ["nothing was sent for 800 seconds"]
    assert daemon.ends[0].reason.startswith("client_idle_timeout: ")


async def test_whoever_does_something_is_not_idle(daemon: Daemon) -> None:
    """The timeout counts from the last time."""
    await daemon.enter(client_idle_timeout=800)
    daemon.pass_time(5000, move=True)
    assert daemon.ends == []
    daemon.pass_time(700)
    assert daemon.ends == []
    daemon.pass_time(300)
    assert len(daemon.ends) == 1


async def test_a_connection_ends_when_it_has_lasted_long_enough(daemon: Daemon) -> None:
    """Busy or not, counted from its beginning."""
    tenure = await daemon.enter(serve=False, max_session_ttl=600)
    daemon.pass_time(100)
    daemon.serve(tenure)
    daemon.pass_time(499, move=True)
    assert daemon.ends == []
    daemon.pass_time(1)
    assert [end.public for end in daemon.ends] == [
        "this connection has lasted 600 seconds, which is as long as it may"
    ]


async def test_a_connection_ends_with_its_certificate_if_the_roles_say_so(daemon: Daemon) -> None:
    """By the wall clock, also when that is set while the connection lasts."""
    await daemon.enter(disconnect_expired_cert=True)
    daemon.clock.step_wall(timedelta(hours=-2))
    daemon.pass_time(3600)
    assert daemon.ends == []
    daemon.pass_time(2 * 3600)
    assert [end.public for end in daemon.ends] == ["your certificate has expired: run ilsh login"]


async def test_what_was_given_for_a_while_ends_with_the_certificate(daemon: Daemon) -> None:
    """Whatever the roles say."""
    identity = replace(TERMS.identity, requests=("r1",))
    daemon.serve(await daemon.tenures.enter(replace(TERMS, identity=identity)))
    daemon.pass_time(24 * 3600)
    assert [end.public for end in daemon.ends] == ["your certificate has expired: run ilsh login"]


async def test_otherwise_a_certificate_may_expire(daemon: Daemon) -> None:
    """What was begun goes on."""
    await daemon.enter(max_session_ttl=10 * 3600)
    daemon.pass_time(9 * 3600)
    assert daemon.ends == []


async def test_the_earliest_deadline_ends_it_once(daemon: Daemon) -> None:
    """And no timer is left."""
    await daemon.enter(client_idle_timeout=60, max_session_ttl=90)
    daemon.pass_time(1000)
    daemon.timers.fire()
    assert len(daemon.ends) == 1
    assert daemon.timers.pending == []


async def test_policy_that_changes_moves_the_deadlines(daemon: Daemon) -> None:
    """At the next session, when it is asked again."""
    tenure = await daemon.enter(max_session_ttl=600)
    daemon.pass_time(300)
    tenure.change(Access())
    assert daemon.timers.pending == []
    tenure.change(Access(max_session_ttl=400))
    daemon.pass_time(100)
    assert len(daemon.ends) == 1
    tenure.change(Access(max_session_ttl=1))
    assert daemon.timers.pending == []


async def test_one_connection_too_many_is_refused_in_the_fields_words(daemon: Daemon) -> None:
    """The one that leaves makes room."""
    first = await daemon.enter(max_connections=1)
    with pytest.raises(LimitReached) as caught:
        await daemon.enter(max_connections=1)
    assert caught.value.public == 'too many concurrent ssh connections for user "alice" (max=1)'
    assert (caught.value.reason, caught.value.maximum) == ("max_connections limit reached", 1)
    first.leave()
    await daemon.enter(max_connections=1)


async def test_whoever_is_counted_elsewhere_takes_no_place_and_has_no_deadlines(daemon: Daemon) -> None:
    """A node leaves both to the forwarder, and watches the locks all the same."""
    await daemon.enter(here=False, max_connections=1, client_idle_timeout=60, max_session_ttl=60)
    assert daemon.store.stored == {}
    assert daemon.timers.pending == []
    daemon.lock(LOCK)
    assert [end.public for end in daemon.ends] == ["access is locked: call 4711"]


async def test_a_lost_place_ends_the_connection(daemon: Daemon) -> None:
    """Another has it, somewhere in the cluster."""
    await daemon.enter(max_connections=1)
    [lease] = daemon.store.stored.values()
    daemon.store.stored = {"theirs": replace(lease, id="theirs", daemon_id=DaemonId("another"))}
    await daemon.leases._renew()
    assert [end.public for end in daemon.ends] == [PLACE_LOST]


async def test_nobody_comes_in_while_nobody_can_count(daemon: Daemon) -> None:
    """And nothing of the attempt is left."""
    daemon.store.failures = 1
    with pytest.raises(StoreError):
        await daemon.enter(max_connections=1)
    daemon.lock(LOCK)
    assert daemon.ends == []


async def test_a_locked_user_does_not_come_in(daemon: Daemon) -> None:
    """Nor takes a place."""
    daemon.lock(LOCK)
    with pytest.raises(Locked):
        await daemon.enter(max_connections=1)
    assert daemon.store.stored == {}


async def test_a_lock_between_the_decision_and_the_service_is_not_forgotten(daemon: Daemon) -> None:
    """The target is being dialled for seconds; the end comes as soon as it can be told."""
    tenure = await daemon.enter(serve=False)
    daemon.lock(LOCK)
    assert daemon.ends == []
    daemon.serve(tenure)
    daemon.timers.fire()
    assert len(daemon.ends) == 1


async def test_a_lock_while_a_place_is_being_taken_refuses(daemon: Daemon) -> None:
    """And the place is free again."""
    real = daemon.store.acquire

    async def slow(lease: Lease, limit: int) -> bool:
        daemon.lock(LOCK)
        return await real(lease, limit)

    daemon.store.acquire = slow  # type: ignore[method-assign]
    with pytest.raises(Locked):
        await daemon.enter(max_connections=1)
    daemon.store.acquire = real  # type: ignore[method-assign]
    daemon.lock()
    await daemon.enter(max_connections=1)


def test_the_words_for_too_many_sessions_are_the_fields() -> None:
    """teleport-facts §2.5."""
    error = too_many_sessions(ALICE, 2)
    assert error.public == 'too many session channels for user "alice" (max=2)'
    assert (error.reason, error.maximum) == ("max_sessions limit reached", 2)
