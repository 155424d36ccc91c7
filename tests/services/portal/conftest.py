"""The portal over the real authority and stores in memory."""

import pytest

from interlock.core.ids import DaemonId
from interlock.ports import RecordingInfo
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import Authority
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.factors import MemoryFactors, no_factors, self_service
from interlock.testing.portal import OTHER_SID, SID, Elsewhere, Events, World, recording


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
    entropy = FakeEntropy()
    authority = await Authority.load(
        world, cluster="test", daemon_id=DaemonId("proxy"), clock=clock, entropy=entropy
    )
    return Portal(
        oneself=self_service(no_factors(clock), MemoryFactors(), events, clock),
        cluster="test",
        users=world,
        roles=world,
        targets=world,
        trackers=world,
        recordings=world,
        authority=authority,
        leaves=elsewhere,
        foreign=elsewhere,
        events=events,
        factory=EventFactory(cluster="test", clock=clock, entropy=entropy),
        clock=clock,
    )
