"""Trackers only ever move forward, and the ones that nobody keeps expire."""

from datetime import UTC, datetime, timedelta

import pytest

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=10)


def tracker(state: TrackerState) -> Tracker:
    """A tracker in this state that was just made."""
    return Tracker(
        sid=SessionId("00000000-0000-4000-8000-000000000001"),
        state=state,
        created=NOW,
        expires=NOW + TRACKER_TTL,
        user="alice",
        login="root",
        hostname="web1",
        target_id=DaemonId("t"),
        daemon_id=DaemonId("d"),
        cluster="home",
        sub_kind="openssh",
        recording_mode="proxy",
    )


ORDER = [TrackerState.PENDING, TrackerState.RUNNING, TrackerState.TERMINATED]


@pytest.mark.parametrize("old", ORDER)
@pytest.mark.parametrize("new", ORDER)
def test_states_move_forward_only(old: TrackerState, new: TrackerState) -> None:
    """Late news of an earlier state changes nothing but the sign of life."""
    moved = tracker(old).moved(new, now=LATER)
    assert moved.state is max(old, new, key=ORDER.index)
    assert moved.expires == LATER + TRACKER_TTL
    assert moved.created == NOW


@pytest.mark.parametrize("state", ORDER)
def test_silence_makes_a_live_tracker_expire(state: TrackerState) -> None:
    """At its time, not before; a terminated one is over anyway."""
    kept = tracker(state)
    assert not kept.expired(now=kept.expires - timedelta(microseconds=1))
    assert kept.expired(now=kept.expires) is (state is not TrackerState.TERMINATED)
