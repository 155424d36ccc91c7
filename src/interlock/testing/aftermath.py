"""What must be true when a fault is over, whatever it was: each session that anybody saw is there once, and whole.

People count aloud in their terminals, so that afterwards it is known of each what he had seen, and whether the
recording has it.
"""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from interlock.domain.coverage import Level
from interlock.domain.recording import RecordingState
from interlock.testing.evidence import ONCE, TICK
from interlock.testing.gateway import Cluster
from interlock.testing.procs import KitError, poll_until
from interlock.testing.residue import DATABASE, leases
from interlock.testing.terminal import Terminal

LOST_S = 0.1
"""Seconds of output that a crash may cost: what `recorder.FLUSH_AFTER_S` holds back."""

EXACTLY_ONCE = ("session.start", "session.end", "session.upload")
"""Of every session, whatever became of its daemon; how many bytes passed is known to nobody when it was killed."""

RECOVERED_S = 30.0
"""Seconds after a restart within which all must be in order."""

COUNTING = "unset HISTFILE; n=0; while read x; do n=$((n+1)); echo said-$n-; done"
"""Says the next number for every line."""

_SAID = re.compile(r"said-(\d+)-")

Event = dict[str, Any]


@dataclass
class Counting:
    """A terminal in which somebody counts."""

    terminal: Terminal
    seen: list[float] = field(default_factory=list)  # when each number reached the person, by the clock
    clock: Callable[[], float] = time.monotonic

    def say(self, number: int = 1) -> bool:
        """Ask for numbers and wait for each; False if the connection is gone."""
        for _ in range(number):
            try:
                self.terminal.send("\r")
                self.terminal.expect(f"said-{len(self.seen) + 1}-")
            except (KitError, OSError):
                return False
            self.seen.append(self.clock())
        return True

    @property
    def saw(self) -> "Saw":
        """What of it the recording must have."""
        return Saw(sum(at <= self.seen[-1] - LOST_S for at in self.seen) if self.seen else 0, len(self.seen))


@dataclass(frozen=True, slots=True)
class Saw:
    """The numbers that somebody had seen."""

    certain: int  # so many of them so long before the end that what happened then cannot have cost them
    all: int


class Aftermath:
    """Of everything that began since it was made."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._began = datetime.now(UTC)
        self._before: set[str] = set()

    def by_any_clock(self) -> Self:
        """What began may say that it was at any time; all that is told already is of before."""
        self._began = datetime.min.replace(tzinfo=UTC) + TICK
        self._before = {event["uid"] for event in self.events()}
        return self

    def check(self, *counted: Counting) -> list[Event]:
        """Wait until all is in order; KitError says what is not. ``counted``: who had seen what."""
        return self.check_heard([each.saw for each in counted if each.seen])

    def check_heard(self, saw: Sequence[Saw]) -> list[Event]:
        """The same, where it is only known what people had seen, one of them each."""
        wrong = ["nothing was looked at"]

        def settled() -> bool | None:
            wrong[:] = self.problems(saw)
            return not wrong or None

        try:
            poll_until(settled, "an orderly end", RECOVERED_S)
        except KitError as error:
            raise KitError(f"{error}: " + "; ".join(wrong)) from None
        return self.events()

    def begun(self, count: int) -> list[str]:
        """The sessions that have begun, when they are so many."""

        def found() -> list[str] | None:
            sids = list(dict.fromkeys(e["sid"] for e in self.events() if e["event"] == "session.start"))
            return sids if len(sids) >= count else None

        return poll_until(found, f"{count} session(s)")

    def wait_either(self, struck: Callable[[], bool]) -> bool:
        """Wait until the fault has come about, which is True, or all is in order without it, and tidied up."""

        def over() -> bool:
            # What a session writes goes last of all, when everything has been told of it already.
            return struck() or not (self.problems() or any(self._cluster.directory.rglob("*.part")))

        with contextlib.suppress(KitError):
            poll_until(over, "anything", RECOVERED_S)
        return struck()

    def problems(self, saw: Sequence[Saw] = ()) -> list[str]:
        """All that is not in order now."""
        events = self.events()
        began = list(dict.fromkeys(e["sid"] for e in events if e["event"] == "session.start"))
        wrong = [f"{row['sid']} is listed as live" for row in self._cluster.json("sessions", "ls")]
        for sid in began:
            counts = Counter(e["event"] for e in events if e.get("sid") == sid)
            wrong += [f"{sid}: {name} {counts[name]} times" for name in EXACTLY_ONCE if counts[name] != 1]
            wrong += [f"{sid}: {name} {counts[name]} times" for name in ONCE if counts[name] > 1]
        uids = Counter(e["uid"] for e in events)
        wrong += [f"event {uid} is there {n} times" for uid, n in uids.items() if n > 1]
        about = {e["sid"] for e in events if e.get("sid") and e["event"] in ONCE}
        wrong += [f"{sid} has events and no start" for sid in about - set(began)]
        if (self._cluster.data / DATABASE).exists():
            wrong += [f"a lease under {semaphore} is left" for semaphore in leases(self._cluster.data)]
        listed: list[Event] = self._cluster.json("recordings", "ls")
        rows = Counter(row["sid"] for row in listed)
        wrong += [f"{sid}: {rows[sid]} recordings" for sid in began if rows[sid] != 1]
        if len(saw) > len(began):
            wrong.append(f"{len(saw)} people had sessions, {len(began)} are known")
        if not wrong:
            marked = {row["sid"] for row in listed if row["state"] == RecordingState.CUT_OFF.value}
            marked |= {e["sid"] for e in events if e["event"] == "session.end" and _tells_of_a_gap(e)}
            wrong += self._unheard(began, saw, marked) + self._unsigned(began)
        return wrong

    def _unheard(self, began: Sequence[str], saw: Sequence[Saw], marked: set[str]) -> list[str]:
        """Whoever saw a number must find it in one recording, or that there is a gap; longest with longest."""
        heard = {sid: self._heard(sid) for sid in began} if saw else {}
        certain = sorted((each.certain for each in saw), reverse=True)
        pairs = zip(certain, sorted(heard.values(), reverse=True), strict=False)
        wrong = [f"somebody saw {one}, and the recording ends at {has}" for one, has in pairs if has < one]
        for people, one in enumerate(sorted((each.all for each in saw), reverse=True), 1):
            if sum(has >= one or sid in marked for sid, has in heard.items()) < people:
                wrong.append(f"somebody saw {one}, and no recording has that or marks a gap: {heard}")
        return wrong

    def _unsigned(self, sids: Sequence[str]) -> list[str]:
        """Each recording is what its recorder wrote, byte for byte."""
        verdicts = [row for sid in sids for row in self._cluster.json("recordings", "verify", sid)]
        return [f"{row['recording']}: {row}" for row in verdicts if not row["ok"]]

    def _heard(self, sid: str) -> int:
        numbers = [int(found) for found in _SAID.findall(self._cluster.recording_text(sid))]
        if numbers != list(range(1, len(numbers) + 1)):
            raise KitError(f"the recording {sid} has gaps in the middle: {numbers}")
        return len(numbers)

    def events(self) -> list[Event]:
        """All that is told of what began since."""
        rows: list[Event] = self._cluster.json("events", "ls", "--limit", "100000")
        since = self._began - TICK
        return [e for e in rows if datetime.fromisoformat(e["time"]) >= since and e["uid"] not in self._before]


def _tells_of_a_gap(end: Event) -> bool:
    """Whether a session's end says that its output is not there in full."""
    rows = [row for row in end.get("coverage", ()) if row["what"] == "session"]
    return any(row["level"] != Level.FULL.value for row in rows)
