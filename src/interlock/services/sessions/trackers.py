"""Trackers: kept alive by the daemon that has the session; `sweeper` ends what nobody keeps alive.

Changes are written in the background, in order and with retries, since no session waits for the tracker store.
What a session did in quick succession arrives as one write of its latest state.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.session import SessionContext, Start
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.ports import Clock, TrackerStore
from interlock.services.audit.outbox import Outbox, Sleep

HEARTBEAT_S = TRACKER_TTL.total_seconds() / 3
"""Seconds between two heartbeats, and between two sweeps: two may be lost before a session counts as dead."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A due heartbeat."""

    sids: tuple[SessionId, ...]


class TrackerWriter:
    """The one writer of a daemon's trackers."""

    def __init__(
        self,
        store: TrackerStore,
        *,
        daemon_id: DaemonId,
        clock: Clock,
        gather: float = 0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``gather``: seconds, see `Outbox`."""
        self._store = store
        self._daemon_id = daemon_id
        self._clock = clock
        self._outbox: Outbox[Tracker | Beat] = Outbox("trackers", self._write, gather=gather, sleep=sleep)

    def put(self, tracker: Tracker) -> None:
        """Write this state soon."""
        self._outbox.put(tracker)

    def beat(self, sids: Sequence[SessionId]) -> None:
        """Write a heartbeat soon."""
        self._outbox.put(Beat(tuple(sids)))

    async def flush(self) -> None:
        """Return when all that was put so far is stored."""
        await self._outbox.flush()

    def stop(self) -> None:
        """Make `run` return when everything is stored."""
        self._outbox.stop()

    async def run(self) -> None:
        """Write until stopped."""
        await self._outbox.run()

    async def _write(self, batch: Sequence[Tracker | Beat]) -> None:
        latest = {item.sid: item for item in batch if isinstance(item, Tracker)}
        beats = [item for item in batch if isinstance(item, Beat)]
        expires = self._clock.now() + TRACKER_TTL  # counted from the write, which may come late
        if latest:
            await self._store.put_all([replace(tracker, expires=expires) for tracker in latest.values()])
        if beats:
            await self._store.keep(self._daemon_id, beats[-1].sids, expires)


class SessionTracker(Protocol):
    """What a live session needs of its tracker."""

    def move(self, state: TrackerState, *, start: Start | None = None) -> None:
        """Show others the session's next state, and what it runs."""
        ...

    def people(self, users: tuple[str, ...]) -> None:
        """Show others who takes part."""
        ...


class LiveTracker:
    """The tracker of one session of this daemon; pending from the start."""

    def __init__(self, ctx: SessionContext, writer: TrackerWriter, *, cluster: str, clock: Clock) -> None:
        self._clock = clock
        self._writer = writer
        now = clock.now()
        self._tracker = Tracker(
            sid=ctx.sid,
            state=TrackerState.PENDING,
            created=now,
            expires=now + TRACKER_TTL,
            user=ctx.identity.user,
            login=ctx.login,
            hostname=ctx.target.hostname,
            target_id=ctx.target.id,
            daemon_id=ctx.daemon_id,
            cluster=cluster,
            sub_kind=ctx.target.sub_kind.value,
            recording_mode=ctx.mode.value,
            participants=(ctx.identity.user,),
            origin_cluster=ctx.identity.origin(cluster),
        )
        writer.put(self._tracker)

    def move(self, state: TrackerState, *, start: Start | None = None) -> None:
        """Show others the session's next state, and what it runs."""
        moved = self._tracker.moved(state, now=self._clock.now())
        if start is not None:
            moved = replace(
                moved,
                command=(start.title,) if start.command else (),
                reason=start.reason,
                invited=start.invited,
                terminal=start.interactive,
            )
        self._tracker = moved
        self._writer.put(self._tracker)

    def people(self, users: tuple[str, ...]) -> None:
        """Show others who takes part."""
        if self._tracker.state is not TrackerState.TERMINATED:
            self._tracker = replace(self._tracker, participants=users)
            self._writer.put(self._tracker)


class NoTracker:
    """Of a session that another daemon tracks."""

    def move(self, state: TrackerState, *, start: Start | None = None) -> None:
        """Nothing to show."""

    def people(self, users: tuple[str, ...]) -> None:
        """Nothing to show."""
