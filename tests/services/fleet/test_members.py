"""Which proxies there are, and what they say of themselves."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.core.presence import BEACON
from interlock.services.fleet.members import MAX_TUNNELS_TOLD
from interlock.testing.fleet import WEB, AuthSide, line_of

TTL = timedelta(seconds=10)


async def test_a_proxys_host_key_is_learnt_once(auth: AuthSide) -> None:
    """With its first question for a beacon; each proxy has beacons of its own."""
    members, gate, other = auth.proxies.members, auth.gate, auth.other
    assert (await members.check(gate.identity)).host_key == ""
    beacon = await members.beacon(gate.identity, f"{gate.line} gate.example.com")
    assert len(beacon) == BEACON
    assert (await members.check(gate.identity)).host_key == gate.line
    assert await members.beacon(other.identity, other.line) != beacon
    for line in (line_of(Ed25519PrivateKey.generate()), other.line, "", "ssh-ed25519 AAAA"):
        with pytest.raises(Denied, match="may only act"):
            await members.beacon(gate.identity, line)


async def test_proxies_are_told_of_the_others_that_live(auth: AuthSide) -> None:
    """Where they are, and which tunnels end there."""
    members, gate, other = auth.proxies.members, auth.gate.identity, auth.other.identity
    await members.report(other, peer="10.0.0.2:3024", tunnels=[WEB.id], ttl=TTL)
    assert await members.peers(other) == []
    [found] = await members.peers(gate)
    assert (found.id, found.peer, found.tunnels) == (other.id, "10.0.0.2:3024", (WEB.id,))
    auth.clock.advance(TTL)
    assert await members.peers(gate) == []


async def test_what_cannot_be_said_of_oneself(auth: AuthSide) -> None:
    """Others would dial it."""
    members, gate = auth.proxies.members, auth.gate.identity
    for peer, tunnels in (
        ("nowhere", []),
        ("10.0.0.2:0x1", []),
        ("10.0.0.2:3024", [DaemonId("not an ID")]),
        ("10.0.0.2:3024", [WEB.id] * (MAX_TUNNELS_TOLD + 1)),
    ):
        with pytest.raises(Denied, match="may only act"):
            await members.report(gate, peer=peer, tunnels=tunnels, ttl=TTL)
    assert await members.peers(auth.other.identity) == []


async def test_a_removed_proxy_is_found_out_within_seconds(auth: AuthSide) -> None:
    """In the meantime what was read counts."""
    members, gate = auth.proxies.members, auth.gate
    await members.check(gate.identity)
    await auth.local.proxies.remove_proxy(gate.identity.id)
    await members.check(gate.identity)
    auth.clock.advance(2)
    for question in (
        members.check(gate.identity),
        members.beacon(gate.identity, gate.line),
        members.report(gate.identity, peer="", tunnels=(), ttl=TTL),
        members.peers(gate.identity),
    ):
        with pytest.raises(Denied, match="was removed from the cluster"):
            await question
