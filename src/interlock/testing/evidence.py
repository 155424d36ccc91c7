"""Everywhere a session left a trace, and what is wrong with it: the acceptance list as code.

A `Witness` looks at the cluster while a session is live and after it has ended. The demo and the acceptance tests
judge by the same `Evidence.problems`. It assumes that nobody else uses the cluster meanwhile.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from interlock.testing.gateway import Cluster, Mode
from interlock.testing.procs import poll_until

Event = dict[str, Any]

ONCE = ("session.start", "session.end", "session.leave", "session.data", "session.upload")
"""Every recorded session has exactly one of each."""
NAMES_TARGET = ("session.start", "session.end", "session.leave", "session.data", "exec")
"""The events that name the target, and in proxy mode the proxy too."""
_ABOUT = "session.recording.access"
"""Names a session, and is none of its events: it may come at any time later, and `ei` does not count it."""
SETTLE_S = 40.0
TICK = timedelta(milliseconds=1)
"""Events carry milliseconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All traces of one session."""

    sid: str
    mode: Mode
    hostname: str
    seen: str | None  # what the session itself printed; None where the target cannot know it
    live: tuple[str, ...]  # new in `sessions ls` while it was live
    events: tuple[Event, ...]  # all events with this sid, but for who read the recording
    event_sids: frozenset[str]  # of all events about its host while it ran: a second record would be among them
    recordings: tuple[str, ...]  # of the same
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
            wrong.append(
                f"IDs differ: in the session {self.seen}, live {self.live}, events {sorted(self.event_sids)}, "
                f"recordings {self.recordings}, in the recording {self.recorded_sid}"
            )
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


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of a session while it was live."""

    sid: str
    mode: Mode
    hostname: str
    seen: str | None
    live: tuple[str, ...]


_WHOLE = ("start", "end", "upload")


class Witness:
    """Made before the sessions start; everything later than that is theirs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._began = datetime.now(UTC)
        self._known: set[str] = set()  # live ones that were returned already
        self._sightings: list[Sighting] = []

    def wait_live(self, count: int = 1) -> list[str]:
        """Wait for this many new live sessions and return their IDs, oldest first."""

        def new() -> list[str] | None:
            rows = [row for row in self._cluster.json("sessions", "ls") if self._is_new(row["created"])]
            sids = [row["sid"] for row in rows if row["sid"] not in self._known]
            return sids if len(sids) >= count else None

        sids = poll_until(new, f"{count} live session(s)")
        self._known.update(sids)
        return sids

    def saw(self, hostname: str, *, seen: str | None, live: Sequence[str]) -> None:
        """Note one session that is live now; ``live`` is the result of `wait_live`."""
        self._sightings.append(Sighting(live[0], self._cluster.mode, hostname, seen, tuple(live)))

    def evidence(self, hostname: str, *, seen: str | None, live: Sequence[str]) -> Evidence:
        """Everything about the one session since the witness was made."""
        self.saw(hostname, seen=seen, live=live)
        return self.gather()[-1]

    def gather(self) -> list[Evidence]:
        """Wait until all sessions that were seen have ended and are stored, and collect their traces."""
        sids = [sighting.sid for sighting in self._sightings]
        events = self.wait_settled(sids)
        recorded = [row["sid"] for row in self._cluster.json("recordings", "ls")]
        found: list[Evidence] = []
        for one in self._sightings:
            own = tuple(e for e in events if e.get("sid") == one.sid and e["event"] != _ABOUT)
            doubles = _doubles(events, own, one.hostname) - set(sids)
            found.append(
                Evidence(
                    sid=one.sid,
                    mode=one.mode,
                    hostname=one.hostname,
                    seen=one.seen,
                    live=one.live,
                    events=own,
                    event_sids=frozenset({one.sid, *doubles}),
                    recordings=tuple(sid for sid in recorded if sid == one.sid or sid in doubles),
                    recorded_sid=self._cluster.recording_header(one.sid)["sid"],
                )
            )
        return found

    def wait_settled(self, sids: Sequence[str]) -> list[Event]:
        """Wait until these sessions are no longer live and their recordings are stored; returns all events."""

        def settled() -> list[Event] | None:
            events: list[Event] = self._cluster.json("events", "ls")
            stored = {e["sid"] for e in events if e["event"] == "session.upload"}
            if not stored.issuperset(sids):
                return None
            live = {row["sid"] for row in self._cluster.json("sessions", "ls")}
            return events if live.isdisjoint(sids) else None

        return poll_until(settled, f"end and upload of sessions {', '.join(sids)}", SETTLE_S)

    def wait_ended(self, count: int = 1) -> list[Event]:
        """Wait until this many sessions since have ended and are stored; returns all events since.

        Without what is still told of sessions before: they leave the list of live ones before they are stored.
        """

        def ended() -> list[Event] | None:
            events = self.new_events()
            begun, *over = ({e.get("sid") for e in events if e["event"] == f"session.{each}"} for each in _WHOLE)
            older = set().union(*over) - begun
            if len(begun.intersection(*over)) < count:
                return None
            return [e for e in events if e.get("sid") not in older]

        return poll_until(ended, f"the end of {count} session(s)", SETTLE_S)

    def new_events(self) -> list[Event]:
        """What was stored since the witness was made."""
        return [e for e in self._cluster.json("events", "ls") if self._is_new(e["time"])]

    def wait_event(self, event: str, *, within: float = SETTLE_S, **fields: str) -> Event:
        """Wait for a new event of this name with these fields."""

        def found() -> Event | None:
            return next(
                (e for e in self.new_events() if e["event"] == event and fields.items() <= e.items()),
                None,
            )

        return poll_until(found, f"event {event} with {fields}", within)

    def _is_new(self, time: str) -> bool:
        return datetime.fromisoformat(time) >= self._began - TICK


def _doubles(events: Sequence[Event], own: Sequence[Event], hostname: str) -> set[str]:
    """The sids of other sessions that were recorded of the same host in the same seconds."""
    times = [datetime.fromisoformat(e["time"]) for e in own]
    return {
        e["sid"]
        for e in events
        if e.get("server_hostname") == hostname
        and "sid" in e
        and min(times) <= datetime.fromisoformat(e["time"]) <= max(times)
    }
