"""A rotation as administrators see it, over a real data directory: who signs, who is trusted, who is not ready."""

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.daemons.rotating import rotations_of
from interlock.domain.audit import JsonValue
from interlock.domain.lock import LockKind
from interlock.domain.rotation import Phase, RotatedKind
from interlock.domain.target import SubKind, Target
from interlock.ports import EventFilter
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.rotation import HeardOf, Rotations
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy

WHO: dict[str, JsonValue] = {"user": "root", "method": "ilctl"}
NODE = Target(DaemonId("n1"), "web1", "10.0.0.1", 3022, SubKind.NODE)
KEY = PublicKey("ssh-ed25519", (bytes(32),)).line()
USER, HOST = RotatedKind.USER, RotatedKind.HOST


@pytest.fixture
def clock() -> FakeClock:
    """Stands until it is advanced."""
    return FakeClock()


@pytest.fixture
async def local(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Local]:
    """A new cluster."""
    data = tmp_path / "data"
    data.mkdir(0o700)
    put_database(data / DATABASE)
    async with open_local(data, clock=clock, entropy=FakeEntropy()) as opened:
        yield opened


async def _certificate(authority: Authority) -> bytes:
    await authority.refresh()
    line = await authority.issue_user("alice", ["dev"], ["root"], KEY, timedelta(hours=30))
    return b64decode(line.split()[1])


def _admitted(authority: Authority, certificate: bytes, clock: FakeClock) -> bool:
    try:
        CertificateReader(authority.trusted("user")).read(certificate, now=clock.now())
    except Denied:
        return False
    return True


async def _on(rotations: Rotations, kind: RotatedKind, to: Phase | None = None) -> Phase:
    return (await rotations.go(kind, to, force=True, who=WHO)).phase


async def test_old_and_new_certificates_count_in_every_phase_but_the_last(local: Local, clock: FakeClock) -> None:
    """Afterwards the old ones do not; each step is told."""
    rotations, authority = rotations_of(local), local.authority
    old = await _certificate(authority)
    [before] = authority.trusted("user")
    await rotations.begin(USER, grace=timedelta(0), compromised=False, who=WHO)
    await authority.refresh()
    assert authority.trusted("user")[0] == before
    new = old
    for phase in (Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS):
        assert await _on(rotations, USER) is phase
        new = await _certificate(authority)
        assert authority.trusted("user")[1] == before
        assert _admitted(authority, old, clock)
        assert _admitted(authority, new, clock)
    assert await _on(rotations, USER) is Phase.STANDBY
    await authority.refresh()
    assert not _admitted(authority, old, clock)
    assert _admitted(authority, new, clock)
    assert before not in authority.trusted("user")
    told = await local.audit.events(EventFilter(limit=100))
    steps = [
        str(each["phase"]) for each in told if str(each["event"]).startswith("certificate_authority.rotation")
    ]
    assert sorted(steps) == sorted(["init", "update_clients", "update_servers", "standby"])


async def test_a_rollback_takes_back_everything(local: Local, clock: FakeClock) -> None:
    """What the new key has signed counts until its end, what the old one has signed for good."""
    rotations, authority = rotations_of(local), local.authority
    old, before = await _certificate(authority), authority.trusted("user")
    await rotations.begin(USER, grace=timedelta(0), compromised=False, who=WHO)
    await _on(rotations, USER)
    new = await _certificate(authority)
    assert await _on(rotations, USER, Phase.ROLLBACK) is Phase.ROLLBACK
    again = await _certificate(authority)
    assert all(_admitted(authority, each, clock) for each in (old, new, again))
    await _on(rotations, USER)
    await authority.refresh()
    assert authority.trusted("user") == before
    assert [_admitted(authority, each, clock) for each in (old, new, again)] == [True, False, True]


async def test_who_has_not_heard_holds_it_up(local: Local, clock: FakeClock) -> None:
    """By name; one that is not heard of any more holds up nobody."""
    rotations, heard = rotations_of(local), HeardOf(local.rotations, clock)
    later = clock.now() + timedelta(days=9)
    await local.inventory.heartbeat(replace(NODE, expires=later))
    await heard.told(NODE.id, await local.authority.trust(), certified=True)
    await rotations.begin(USER, grace=timedelta(0), compromised=False, who=WHO)
    with pytest.raises(Denied, match=r"do not trust the new key yet.*web1.*--force"):
        await rotations.go(USER, None, force=False, who=WHO)
    await heard.told(NODE.id, await local.authority.trust())
    await rotations.go(USER, None, force=False, who=WHO)
    await rotations.go(USER, None, force=False, who=WHO)
    with pytest.raises(Denied, match="no certificate by the new key"):
        await rotations.go(USER, None, force=False, who=WHO)
    await heard.told(NODE.id, await local.authority.trust(), certified=True)
    with pytest.raises(Denied, match="sign in again"):
        await rotations.go(USER, None, force=False, who=WHO)
    clock.advance(timedelta(hours=31))
    await rotations.go(USER, None, force=False, who=WHO)
    assert [each.phase for each in await rotations.status()] == [Phase.STANDBY] * len(RotatedKind)


async def test_by_time_it_goes_on_when_nothing_breaks(local: Local, clock: FakeClock) -> None:
    """A third of the grace in each phase, and longer for people's certificates."""
    rotations = rotations_of(local)
    await rotations.begin(USER, grace=timedelta(hours=24), compromised=False, who=WHO)

    async def after(hours: int) -> Phase:
        clock.advance(timedelta(hours=hours))
        await rotations.tick()
        return (await rotations.status())[0].phase

    phases = [await after(hours) for hours in (7, 2, 8, 8, 8, 8)]
    names = ["init", "update_clients", "update_servers", "update_servers", "update_servers", "standby"]
    assert [each.value for each in phases] == names


async def test_hosts_are_certified_by_the_new_key_one_phase_later(local: Local) -> None:
    """Since those who verify them are people."""
    rotations, authority = rotations_of(local), local.authority
    [before] = authority.trusted("host")
    await rotations.begin(HOST, grace=timedelta(0), compromised=False, who=WHO)
    signers = []
    for _ in range(3):
        await authority.refresh()
        signers.append(authority.trusted("host")[0] == before)
        await _on(rotations, HOST)
    assert signers == [True, True, False]


async def test_what_is_not_under_way_cannot_go_on(local: Local) -> None:
    """Nor begin twice."""
    rotations = rotations_of(local)
    with pytest.raises(Denied, match="not being changed"):
        await rotations.go(USER, None, force=True, who=WHO)
    await rotations.begin(USER, grace=timedelta(0), compromised=False, who=WHO)
    with pytest.raises(Denied, match="already"):
        await rotations.begin(USER, grace=timedelta(0), compromised=False, who=WHO)


async def test_a_compromised_key_is_revoked_at_the_end(local: Local) -> None:
    """For plain sshd, whose file may still have it; a key that was changed in good order is not."""
    rotations = rotations_of(local)
    old = PublicKey.parse(local.authority.export("openssh")).fingerprint
    for kind, compromised in ((RotatedKind.OPENSSH, True), (USER, False)):
        await rotations.begin(kind, grace=timedelta(0), compromised=compromised, who=WHO)
        for _ in range(3):
            assert await local.locks.locks() == [] or kind is USER
            await _on(rotations, kind)
    [lock] = await local.locks.locks()
    assert (lock.kind, lock.name, lock.expires) == (LockKind.KEY, old, None)
