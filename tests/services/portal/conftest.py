"""The portal over the real authority and stores in memory."""

import pytest

from interlock.ports import RecordingInfo
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.portal import OTHER_SID, SID, Elsewhere, Events, World, portal_of, recording


@pytest.fixture
def world() -> World:
    """Two users, three nodes, two live sessions, two recordings."""
    infos = [
        RecordingInfo(sid, 1, START, {"user": user, "hostname": "web1"})
        for sid, user in ((SID, "alice"), (OTHER_SID, "bob"))
    ]
    return World(infos=infos, files={SID: recording("alice"), OTHER_SID: recording("bob")})


@pytest.fixture
def clock() -> FakeClock:
    """Time stands still."""
    return FakeClock()


@pytest.fixture
def events() -> Events:
    """What was emitted."""
    return Events()


@pytest.fixture
def elsewhere() -> Elsewhere:
    """The other clusters."""
    return Elsewhere()


@pytest.fixture
async def portal(world: World, clock: FakeClock, events: Events, elsewhere: Elsewhere) -> Portal:
    """The service over the real authority and stores in memory."""
    return await portal_of(world, clock=clock, events=events, elsewhere=elsewhere)
