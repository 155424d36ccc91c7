"""Everywhere a session left a trace, and what is wrong with it: the acceptance list as code.

A `Witness` looks at the cluster before the session, while it is live, and after it has ended. The demo and the
acceptance tests judge by the same `Evidence.problems`. It assumes that nobody else uses the cluster meanwhile.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from interlock.testing.gateway import Cluster, Mode
from interlock.testing.procs import poll_until

Event = dict[str, Any]

ONCE = ("session.start", "session.end", "session.leave", "session.data", "session.upload")
"""Every recorded session has exactly one of each."""
NAMES_TARGET = ("session.start", "session.end", "session.leave", "session.data", "exec")
"""The events that name the target, and in proxy mode the proxy too."""
SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All traces of one session."""

    sid: str
    mode: Mode
    hostname: str
    seen: str | None  # what the session itself printed; None where the target cannot know it
    live: tuple[str, ...]  # new in `sessions ls` while it was live
    events: tuple[Event, ...]  # all events with this sid
    event_sids: frozenset[str]  # the sids of all events that are new since the witness looked first
    recordings: tuple[str, ...]  # new in `recordings ls`
    recorded_sid: str  # what the recording says of itself

    def count(self, event: str) -> int:
        """How often an event of this name was stored."""
        return sum(1 for e in self.events if e["event"] == event)

    @property
    def forwarded_by(self) -> bool:
        """Whether its events say that a forwarder recorded."""
        return any("forwarded_by" in e for e in self.events)

    @property
    def ids_equal(self) -> bool:
        """Whether every place that shows an ID shows this one and no other."""
        everywhere = {self.sid, *self.live, *self.event_sids, *self.recordings, self.recorded_sid}
        return len(everywhere) == 1 and self.seen in (None, self.sid) and bool(self.live) and bool(self.events)

    def problems(self) -> list[str]:
        """Every departure from the contract, in words; empty when all is well."""
        wrong = [f"{name}: {self.count(name)} times" for name in ONCE if self.count(name) != 1]
        if not self.ids_equal:
            wrong.append(f"IDs differ: {self}")
        if len(self.recordings) != 1:
            wrong.append(f"recordings: {self.recordings}")
        indexes = [e["ei"] for e in self.events]
        if sorted(indexes) != list(range(len(indexes))):
            wrong.append(f"event indexes have gaps: {indexes}")
        wrong += [f"{uid}: stored {n} times" for uid, n in Counter(e["uid"] for e in self.events).items() if n > 1]
        return wrong + [
            problem for e in self.events if e["event"] in NAMES_TARGET for problem in self._misnamed(e)
        ]

    def _misnamed(self, event: Event) -> Iterable[str]:
        """What an event says wrongly of the place where it was recorded."""
        name = event["event"]
        if event.get("server_hostname") != self.hostname:
            yield f"{name}: server_hostname is {event.get('server_hostname')}"
        if not event.get("recorded_by"):
            yield f"{name}: no recorded_by"
        if self.mode == "proxy":
            if event.get("session_recording") != "proxy" or not event.get("forwarded_by"):
                yield f"{name}: does not name the proxy: {event}"
        elif "forwarded_by" in event or "session_recording" in event:
            yield f"{name}: names a proxy in node mode: {event}"


class Witness:
    """Made before the session starts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._live = set(self.live_sids())
        self._uids = {e["uid"] for e in self._events()}
        self._recordings = set(self._recorded_sids())

    def live_sids(self) -> list[str]:
        """The IDs of `sessions ls` now."""
        return [row["sid"] for row in self._cluster.json("sessions", "ls")]

    def wait_live(self, count: int = 1) -> list[str]:
        """Wait for this many new live sessions and return their IDs, oldest first."""

        def new() -> list[str] | None:
            sids = [sid for sid in self.live_sids() if sid not in self._live]
            return sids if len(sids) >= count else None

        return poll_until(new, f"{count} live session(s)")

    def wait_settled(self, sid: str) -> None:
        """Wait until the session is no longer live and its recording is stored."""

        def settled() -> bool:
            return sid not in self.live_sids() and any(
                e["event"] == "session.upload" for e in self._cluster.events(sid)
            )

        poll_until(settled, f"end and upload of session {sid}", SETTLE_S)

    def new_events(self) -> list[Event]:
        """What was stored since the witness was made."""
        return [e for e in self._events() if e["uid"] not in self._uids]

    def wait_event(self, event: str, **fields: str) -> Event:
        """Wait for a new event of this name with these fields."""

        def found() -> Event | None:
            return next(
                (e for e in self.new_events() if e["event"] == event and fields.items() <= e.items()),
                None,
            )

        return poll_until(found, f"event {event} with {fields}", SETTLE_S)

    def evidence(self, sid: str, hostname: str, *, seen: str | None, live: Iterable[str]) -> Evidence:
        """Everything about one ended session."""
        self.wait_settled(sid)
        recordings = tuple(s for s in self._recorded_sids() if s not in self._recordings)
        return Evidence(
            sid=sid,
            mode=self._cluster.mode,
            hostname=hostname,
            seen=seen,
            live=tuple(live),
            events=tuple(self._cluster.events(sid)),
            event_sids=frozenset(e["sid"] for e in self.new_events() if "sid" in e),
            recordings=recordings,
            recorded_sid=self._cluster.recording_header(sid)["sid"],
        )

    def _events(self) -> list[Event]:
        found: list[Event] = self._cluster.json("events", "ls")
        return found

    def _recorded_sids(self) -> list[str]:
        return [row["sid"] for row in self._cluster.json("recordings", "ls")]
