"""Locks and leases in memory, and tenures for what has none."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime

from interlock.core.errors import NotFound, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.lease import Lease
from interlock.domain.lock import NO_LOCKS, Lock, LockList, Subject
from interlock.ports import Clock, Entropy
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks
from interlock.services.access.tenure import Tenures
from interlock.services.timers import CallLater, call_later
from interlock.testing.clock import START


class MemoryLocks:
    """`ports.LockStore`, and `ports.LockFeed` that tells what the test says."""

    def __init__(self) -> None:
        self.stored: list[Lock] = []
        self.followers = 0
        self._told: list[asyncio.Queue[LockList | StoreError | None]] = []

    async def locks(self) -> list[Lock]:
        """All that are stored, oldest first."""
        return sorted(self.stored, key=lambda lock: (lock.created, lock.id))

    async def add_lock(self, lock: Lock) -> None:
        """Store it, and forget what has expired."""
        self.stored = [each for each in self.stored if each.in_force(lock.created)] + [lock]

    async def remove_lock(self, lock_id: str) -> Lock:
        """Forget a lock; NotFound if there is none."""
        for lock in self.stored:
            if lock.id == lock_id:
                self.stored.remove(lock)
                return lock
        raise NotFound(f"there is no lock {lock_id}")

    def tell(self, word: LockList | StoreError | None) -> None:
        """Say this to all followers: a list, a failure, or the end."""
        for queue in self._told:
            queue.put_nowait(word)

    async def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """Nothing is locked at first; then what the test tells."""
        queue: asyncio.Queue[LockList | StoreError | None] = asyncio.Queue()
        self._told.append(queue)
        self.followers += 1
        try:
            yield NO_LOCKS
            while (word := await queue.get()) is not None:
                if isinstance(word, StoreError):
                    raise word
                yield word
        finally:
            self._told.remove(queue)


class FakeView:
    """`offline.View` under the test's control; it keeps who was judged by an old answer."""

    def __init__(self, *, offline_s: int = 0) -> None:
        self.offline_s = offline_s
        self.locks = NO_LOCKS
        self.judged: list[tuple[Subject, datetime]] = []

    def check(self, subject: Subject) -> None:
        """By ``locks``."""
        self.locks.check(subject, now=START)

    def told(self, subject: Subject, given: datetime) -> None:
        """`offline.Told`."""
        self.judged.append((subject, given))


class MemoryLeases:
    """`ports.LeaseStore`. ``failures``: how many of the next calls fail."""

    def __init__(self, clock: Clock, *, failures: int = 0) -> None:
        self.failures = failures
        self.stored: dict[str, Lease] = {}
        self._clock = clock

    async def acquire(self, lease: Lease, limit: int) -> bool:
        """Take a place."""
        self._fail()
        now = self._clock.now()
        for each in list(self.stored.values()):
            if each.semaphore == lease.semaphore and each.expires <= now:
                del self.stored[each.id]
        others = [each for each in self.stored.values() if each.id != lease.id]
        if sum(each.semaphore == lease.semaphore for each in others) >= limit:
            return False
        self.stored[lease.id] = lease
        return True

    async def renew_leases(self, daemon: DaemonId, leases: Iterable[str], expires: datetime) -> set[str]:
        """One heartbeat."""
        self._fail()
        kept = {each for each in leases if each in self.stored and self.stored[each].daemon_id == daemon}
        for each in kept:
            lease = self.stored[each]
            self.stored[each] = Lease(lease.id, lease.semaphore, lease.daemon_id, expires)
        return kept

    async def release(self, daemon: DaemonId, leases: Iterable[str]) -> None:
        """Give places back."""
        self._fail()
        for each in leases:
            if each in self.stored and self.stored[each].daemon_id == daemon:
                del self.stored[each]

    async def release_all(self, daemon: DaemonId) -> None:
        """Give back whatever the daemon held."""
        self._fail()
        self.stored = {key: each for key, each in self.stored.items() if each.daemon_id != daemon}

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the lease store is away")


def make_tenures(
    daemon_id: DaemonId,
    *,
    clock: Clock,
    entropy: Entropy,
    locks: MemoryLocks | None = None,
    leases: MemoryLeases | None = None,
    call_later: CallLater = call_later,
) -> Tenures:
    """Tenures over stores in memory; nobody is locked out unless ``Tenures.locks`` runs and the test says so."""
    return Tenures(
        locks=Locks(locks or MemoryLocks(), clock=clock),
        leases=Leases(leases or MemoryLeases(clock), daemon_id=daemon_id, clock=clock, entropy=entropy),
        clock=clock,
        call_later=call_later,
    )
