"""A daemon's places among limited numbers: taken, kept alive together, given back.

A place is a lease in auth's store. A daemon that dies keeps none: its leases expire, and its next start gives back
what is left of them. When auth says that a place is gone, for instance because its clock was set and the lease
expired, it is taken again; whoever holds it is told if others have it now. As long as auth says nothing, the place
is kept: nobody can take it from an auth that is away.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from interlock.core.errors import InterlockError
from interlock.core.ids import DaemonId
from interlock.domain.lease import LEASE_TTL, Lease
from interlock.ports import Clock, Entropy, LeaseStore
from interlock.services.audit.outbox import Sleep

RENEWAL_S = LEASE_TTL.total_seconds() / 3
"""Seconds between two heartbeats for all of a daemon's leases: two may be lost before a place is free."""

RETRY_S = 1.0
"""Seconds before a place that could not be given back is given back again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Held:
    semaphore: str
    limit: int  # when it was taken
    on_lost: Callable[[], None]


class Leases:
    """The places of one daemon. `run` belongs into a TaskGroup of the daemon."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        daemon_id: DaemonId,
        clock: Clock,
        entropy: Entropy,
        alone: bool = True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``alone``: False if others hold places under this name now, so that none may be given back at first."""
        self._store = store
        self._daemon_id = daemon_id
        self._clock = clock
        self._entropy = entropy
        self._sleep = sleep
        self._held: dict[str, _Held] = {}  # by the lease's ID
        self._returned: list[str] = []  # to be given back
        self._giving_back = asyncio.Lock()
        self._some_returned = asyncio.Event()
        self._fresh = not alone  # whether an earlier process's leases are given back

    async def take(self, semaphore: str, limit: int, on_lost: Callable[[], None]) -> str | None:
        """A place's ID, to be given back with `give_back`; None if none is left, StoreError if nobody can tell.

        What this daemon has given back before counts as free.
        """
        await self._give_back()
        lease = Lease(self._entropy.uuid(), semaphore, self._daemon_id, self._clock.now() + LEASE_TTL)
        try:
            taken = await self._store.acquire(lease, limit)
        except BaseException:
            self._return_later(lease.id)  # it may have been taken, and only the answer was lost
            raise
        if not taken:
            return None
        self._held[lease.id] = _Held(semaphore, limit, on_lost)
        return lease.id

    def give_back(self, lease_id: str) -> None:
        """The place is not needed any more; never blocks, never fails."""
        if self._held.pop(lease_id, None) is not None:
            self._return_later(lease_id)

    def _return_later(self, lease_id: str) -> None:
        self._returned.append(lease_id)
        self._some_returned.set()

    async def run(self) -> None:
        """Keep leases alive and give them back, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="leases.keep")
            tasks.create_task(self._return(), name="leases.return")

    async def settle(self) -> None:
        """Give back what is due, once, if the store takes it: for a daemon that stops."""
        try:
            await self._give_back()
        except InterlockError as error:
            _log.warning("leases.left_to_expire", reason=error.reason)

    async def _keep(self) -> None:
        while True:
            await self._sleep(RENEWAL_S)
            if self._held:
                try:
                    await self._renew()
                except InterlockError as error:
                    _log.warning("leases.not_renewed", reason=error.reason, leases=len(self._held))

    async def _renew(self) -> None:
        wanted = list(self._held)
        kept = await self._store.renew_leases(self._daemon_id, wanted, self._clock.now() + LEASE_TTL)
        for lease_id in wanted:
            held = None if lease_id in kept else self._held.get(lease_id)
            if held is not None and not await self._taken_again(lease_id, held):
                _log.warning("leases.lost", lease=lease_id)
                if self._held.pop(lease_id, None) is not None:
                    held.on_lost()

    async def _taken_again(self, lease_id: str, held: _Held) -> bool:
        """Whether there is still room for a place that auth has forgotten."""
        lease = Lease(lease_id, held.semaphore, self._daemon_id, self._clock.now() + LEASE_TTL)
        try:
            return await self._store.acquire(lease, held.limit)
        finally:
            if lease_id not in self._held:  # it was given back meanwhile
                self._return_later(lease_id)

    async def _return(self) -> None:
        while True:
            try:
                await self._give_back()
            except InterlockError as error:
                _log.warning("leases.not_returned", reason=error.reason)
                await self._sleep(RETRY_S)
            else:
                await self._some_returned.wait()

    async def _give_back(self) -> None:
        async with self._giving_back:
            if not self._fresh:
                await self._store.release_all(self._daemon_id)
                self._fresh = True
            self._some_returned.clear()
            due = list(self._returned)
            if due:
                await self._store.release(self._daemon_id, due)
                del self._returned[: len(due)]
