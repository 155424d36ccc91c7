"""The judge of the demo and of the acceptance tests must see every departure from the contract."""

from dataclasses import replace
from typing import Any, cast

import pytest

from interlock.testing.evidence import ONCE, Event, Evidence, Witness
from interlock.testing.gateway import Cluster, Mode

SID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"


def evidence(mode: Mode = "proxy") -> Evidence:
    """A session without fault."""
    common: Event = {"sid": SID, "server_hostname": "web1", "recorded_by": "p"}
    if mode == "proxy":
        common |= {"forwarded_by": "p", "session_recording": "proxy"}
    events = tuple({**common, "event": name, "ei": i, "uid": f"u{i}"} for i, name in enumerate(ONCE))
    return Evidence(
        sid=SID,
        mode=mode,
        hostname="web1",
        seen=SID,
        live=(SID,),
        events=events,
        event_sids=frozenset({SID}),
        recordings=(SID,),
        recorded_sid=SID,
    )


def changed(base: Evidence, index: int, **fields: Any) -> Evidence:
    """The same with other fields in one event; a field that is None is absent."""
    event = {name: value for name, value in (base.events[index] | fields).items() if value is not None}
    return replace(base, events=(*base.events[:index], event, *base.events[index + 1 :]))


@pytest.mark.parametrize("mode", ["proxy", "node"])
def test_a_session_without_fault(mode: Mode) -> None:
    """Nothing is found where nothing is wrong, also when the target cannot know the ID."""
    assert evidence(mode).problems() == []
    assert replace(evidence(mode), seen=None).problems() == []


GOOD = evidence()
FAULTY = {
    "no start": replace(GOOD, events=GOOD.events[1:]),
    "two ends": replace(GOOD, events=(*GOOD.events, {**GOOD.events[1], "ei": 5, "uid": "u5"})),
    "another ID in the shell": replace(GOOD, seen=OTHER),
    "two live sessions": replace(GOOD, live=(SID, OTHER)),
    "no live session": replace(GOOD, live=()),
    "events of a second session": replace(GOOD, event_sids=frozenset({SID, OTHER})),
    "two recordings": replace(GOOD, recordings=(SID, OTHER)),
    "no recording": replace(GOOD, recordings=()),
    "another ID in the recording": replace(GOOD, recorded_sid=OTHER),
    "a gap": changed(GOOD, 4, ei=9),
    "the same index twice": changed(GOOD, 4, ei=3),
    "the same event twice": changed(GOOD, 4, uid="u3"),
    "the proxy as target": changed(GOOD, 0, server_hostname="gateway"),
    "nobody recorded": changed(GOOD, 1, recorded_by=None),
    "proxy mode without the proxy": changed(GOOD, 2, forwarded_by=None),
    "proxy mode without the mode": changed(GOOD, 3, session_recording=None),
    "node mode with the proxy": changed(evidence("node"), 0, forwarded_by="p"),
    "node mode with the mode": changed(evidence("node"), 1, session_recording="proxy"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_every_fault_is_seen(fault: str) -> None:
    """Each single departure is at least one problem."""
    assert FAULTY[fault].problems()


class Told:
    """A cluster whose audit log is one of these, and then the last."""

    def __init__(self, *logs: list[Event]) -> None:
        self._logs = list(logs)

    def json(self, *_arguments: str) -> list[Event]:
        """The next one."""
        return self._logs.pop(0) if len(self._logs) > 1 else self._logs[0]


def test_sessions_of_before_are_not_among_those_that_ended() -> None:
    """A recording may be stored long after nobody lists its session as live any more."""

    def events(sid: str, *names: str) -> list[Event]:
        return [{"event": f"session.{name}", "sid": sid, "time": "9999-01-01T00:00:00+00:00"} for name in names]

    late, own = events(OTHER, "end", "upload"), events(SID, "start", "upload")
    whole = [*late, *own, *events(SID, "end"), {"event": "user.login", "time": "9999-01-01T00:00:00+00:00"}]
    witness = Witness(cast("Cluster", Told(late, [*late, *own], whole)))
    assert [e["event"] for e in witness.wait_ended(1)] == [
        "session.start",
        "session.upload",
        "session.end",
        "user.login",
    ]
