"""How long a connection may stay, and under which conditions: its place, its deadlines, the locks it may meet.

One `Tenure` per connection, made when its person is known and left when it ends. It has one timer for all its
deadlines, and none if there are none, so a connection without them costs nothing while it is idle. Whoever the
person is connected to counts and times the connection: the forwarder, or the node of somebody who came without.
Locks are watched wherever they can be met.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from interlock.core.errors import Denied, LimitReached
from interlock.domain.access import Access
from interlock.domain.audit import rfc3339
from interlock.domain.granted import Granted
from interlock.domain.identity import Identity
from interlock.domain.lease import connections_of
from interlock.domain.lock import Subject
from interlock.domain.target import Target
from interlock.ports import Clock, Remaining
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks, LockWatch
from interlock.services.access.rejudging import Rejudging
from interlock.services.timers import CallLater, Timer, call_later

LOOKS = 8
"""How often within an idle timeout it is looked whether anything moved: the end comes at most an eighth late."""

LONGEST_WAIT_S = 3600.0
"""Seconds after which a certificate's expiry is compared with the wall clock anew, since that may be set."""

PLACE_LOST = "your connection's place among those you may have was lost"


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose connection it is, and what policy says of it now."""

    identity: Identity
    login: str
    target: Target
    access: Access
    expires: datetime  # of the person's certificate
    here: bool = True  # whether the person is connected to us, so that counting and timing is ours
    granted: Granted | None = None  # what may be taken away; None: whoever the person is connected to looks


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a tenure needs of the connection once it is served."""

    end: Callable[[Denied], None]  # end it: the public text for the person, the reason for the audit log
    activity: Callable[[], int]  # a number that changes whenever the person does something


class Tenures:
    """The tenures of one daemon."""

    def __init__(
        self,
        *,
        locks: Locks,
        leases: Leases,
        clock: Clock,
        call_later: CallLater = call_later,
        remaining: Remaining | None = None,
    ) -> None:
        """``remaining``: who judges again when policy has changed; None: nobody is."""
        self.rejudging = None if remaining is None else Rejudging(locks, remaining)
        self.locks = locks
        self.leases = leases
        self.clock = clock
        self.call_later = call_later

    async def run(self) -> None:
        """Follow the locks, judge again, and keep the places, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self.rejudging is not None:
                tasks.create_task(self.rejudging.run(), name="tenures.rejudging")
            tasks.create_task(self.locks.run(), name="tenures.locks")
            tasks.create_task(self.leases.run(), name="tenures.leases")

    async def enter(self, terms: Terms) -> "Tenure":
        """Begin one; Locked, LimitReached, or StoreError if nobody can tell whether a place is left."""
        tenure = Tenure(self, terms)
        try:
            await tenure.take_place()
        except BaseException:
            tenure.leave()
            raise
        return tenure


class Tenure:
    """Of one connection. `serve` when it is served, `leave` when it has ended, whatever came before."""

    def __init__(self, shared: Tenures, terms: Terms) -> None:
        self._shared = shared
        self._terms = terms
        self._began = self._moved = shared.clock.monotonic()
        self._conduct: Conduct | None = None  # from `serve` on
        self._seen = 0  # the activity at the last look
        self._ending: Denied | None = None  # why it ends; the first reason counts
        self._lease: str | None = None
        self._timer: Timer | None = None
        self._left = False
        subject = Subject.of(terms.identity, terms.login, terms.target)
        shared.locks.check(subject)
        self._watch: LockWatch = shared.locks.watch(subject, self._end, terms.granted)

    async def take_place(self) -> None:
        """Take a place, if the number of places is limited."""
        limit = self._terms.access.max_connections
        if limit is None or not self._terms.here:
            return
        identity = self._terms.identity
        self._lease = await self._shared.leases.take(connections_of(identity), limit, self._place_lost)
        if self._lease is None:
            raise too_many("concurrent ssh connections", identity, limit, "max_connections")
        if self._ending is not None:
            raise self._ending

    @property
    def ends(self) -> bool:
        """Whether it has to end already: nothing may begin in it (R8, R28)."""
        return self._ending is not None

    def serve(self, conduct: Conduct) -> None:
        """The connection is served from now on, so it can be ended in words."""
        self._conduct = conduct
        self._seen = conduct.activity()
        self._moved = self._shared.clock.monotonic()
        if self._ending is not None:
            self._timer = self._shared.call_later(0, self._say_end)
        else:
            self._arm()

    def change(self, access: Access) -> None:
        """Policy was asked anew. The place is kept, whatever the number of places is now."""
        if access == self._terms.access:
            return
        self._terms = replace(self._terms, access=access)
        if self._conduct is not None and self._ending is None and not self._left:
            self._arm()

    def leave(self) -> None:
        """The connection has ended. Idempotent."""
        self._left = True
        self._watch.stop()
        self._stop_timer()
        if self._lease is not None:
            self._shared.leases.give_back(self._lease)

    # --- reasons to end ---------------------------------------------------------------------------

    def _place_lost(self) -> None:
        self._end(Denied(PLACE_LOST, reason="auth no longer knows the lease of its place (max_connections)"))

    def _look(self) -> None:
        self._timer = None
        if self._conduct is None:
            return
        now, activity = self._shared.clock.monotonic(), self._conduct.activity()
        if activity != self._seen:
            self._seen, self._moved = activity, now
        if (due := self._due(now)) is not None:
            self._end(due)
        else:
            self._arm()

    def _due(self, now: float) -> Denied | None:
        access, expires = self._terms.access, self._terms.expires
        if access.max_session_ttl is not None and now - self._began >= access.max_session_ttl:
            text = f"this connection has lasted {access.max_session_ttl} seconds, which is as long as it may"
            return Denied(text, reason=f"max_session_ttl: {text}")
        if self._ends_with_certificate and self._shared.clock.now() >= expires:
            reason = f"disconnect_expired_cert: the certificate was valid until {rfc3339(expires)}"
            return Denied("your certificate has expired: run ilsh login", reason=reason)
        if access.client_idle_timeout is not None and now - self._moved >= access.client_idle_timeout:
            text = f"nothing was sent for {access.client_idle_timeout} seconds"
            return Denied(text, reason=f"client_idle_timeout: {text}")
        return None

    @property
    def _ends_with_certificate(self) -> bool:
        """Roles that were given for a while end with it; a certificate with them is never valid for longer."""
        return self._terms.access.disconnect_expired_cert or bool(self._terms.identity.requests)

    def _arm(self) -> None:
        """One timer, for whatever is next."""
        self._stop_timer()
        now, waits = self._shared.clock.monotonic(), []
        access = self._terms.access
        if not self._terms.here:
            return
        if access.max_session_ttl is not None:
            waits.append(self._began + access.max_session_ttl - now)
        if self._ends_with_certificate:
            left = (self._terms.expires - self._shared.clock.now()).total_seconds()
            waits.append(min(left, LONGEST_WAIT_S))
        if access.client_idle_timeout is not None:
            idle = access.client_idle_timeout
            waits.append(min(self._moved + idle - now, idle / LOOKS))
        if waits:
            self._timer = self._shared.call_later(max(0.0, min(waits)), self._look)

    def _end(self, why: Denied) -> None:
        if self._ending is None and not self._left:
            self._ending = why
            self._say_end()

    def _say_end(self) -> None:
        self._stop_timer()
        if self._conduct is not None and self._ending is not None and not self._left:
            self._conduct.end(self._ending)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def too_many(what: str, identity: Identity, limit: int, option: str) -> LimitReached:
    """The refusal of one more; the words and the reason are the field's (teleport-facts §2.5)."""
    public = f'too many {what} for user "{identity.user}" (max={limit})'
    return LimitReached(public, maximum=limit, reason=f"{option} limit reached")


def too_many_sessions(identity: Identity, limit: int) -> LimitReached:
    """The refusal of one more session channel."""
    return too_many("session channels", identity, limit, "max_sessions")
