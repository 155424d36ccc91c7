"""The daemons' authority while another one takes its place: whose certificates count, and what auth shows."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.daemons.auth_rpc import daemon_cas
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.daemons.rotating import rotations_of
from interlock.domain.audit import JsonValue
from interlock.domain.rotation import Phase, RotatedKind
from interlock.domain.target import SubKind, Target
from interlock.ports import NO_ROOTS
from interlock.services.fleet.tickets import PURPOSE, Tickets
from interlock.services.keys.daemonca import HostIdentity, create_key, create_request
from interlock.services.keys.daemonroots import DaemonCas, issuer_pin, root_pins, said_roots, split_roots, vouches
from interlock.services.keys.presence import Beacons
from interlock.services.keys.rotation import HeardOf, Rotations
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy

WHO: dict[str, JsonValue] = {"user": "root", "method": "ilctl"}
DAEMON = RotatedKind.DAEMON
NODE = Target(DaemonId("11111111-1111-4111-8111-111111111111"), "web1", "10.0.0.1", 3022, SubKind.NODE)
ME = HostIdentity("main", NODE.id, ("web1",))
ON = (Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS, Phase.STANDBY)


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


@pytest.fixture
async def cas(local: Local) -> DaemonCas:
    """Those of its daemons."""
    return await daemon_cas(local)


@pytest.fixture
async def rotations(local: Local, cas: DaemonCas) -> Rotations:
    """As administrators change them."""
    assert cas.shown.pin
    return rotations_of(local)


async def _begin(rotations: Rotations, cas: DaemonCas) -> None:
    await rotations.begin(DAEMON, grace=timedelta(0), compromised=False, who=WHO)
    await cas.refresh()


async def _to(rotations: Rotations, cas: DaemonCas, phase: Phase) -> None:
    await rotations.go(DAEMON, phase, force=True, who=WHO)
    await cas.refresh()


def _issued(cas: DaemonCas, clock: FakeClock) -> str:
    return cas.issue_daemon(create_request(create_key()), ME, now=clock.now())


def _counts(cas: DaemonCas, certificate: str) -> bool:
    try:
        return bool(cas.certified(certificate, ME).issuer)
    except Denied:
        return False


async def test_what_certifies_and_what_auth_shows_in_each_phase(
    cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """Daemons go first, auth one phase later; both count until the end."""
    old, before = cas.shown, _issued(cas, clock)
    await _begin(rotations, cas)
    [[new]] = [[pin for pin in root_pins("".join(cas.roots)) if pin != old.pin]]
    found = []
    for phase in ON:
        found.append((_by(cas, clock), cas.shown.pin, _counts(cas, before), len(cas.roots)))
        await _to(rotations, cas, phase)
    found.append((_by(cas, clock), cas.shown.pin, _counts(cas, before), len(cas.roots)))
    assert found == [
        (old.pin, old.pin, True, 2),
        (new, old.pin, True, 2),
        (new, new, True, 2),
        (new, new, False, 1),
    ]


def _by(cas: DaemonCas, clock: FakeClock) -> str:
    """Which one certifies; it is the first of the roots that daemons are told."""
    pin = issuer_pin(_issued(cas, clock), "".join(cas.roots))
    assert root_pins(cas.roots[0]) == (pin,)
    return pin


async def test_a_rollback_certifies_by_the_old_one_and_drops_the_new(
    cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """What the new one has signed counts until its end."""
    before = cas.roots
    await _begin(rotations, cas)
    await _to(rotations, cas, Phase.UPDATE_CLIENTS)
    new = _issued(cas, clock)
    await _to(rotations, cas, Phase.ROLLBACK)
    again = _issued(cas, clock)
    assert [_counts(cas, each) for each in (new, again)] == [True, True]
    await _to(rotations, cas, Phase.STANDBY)
    assert [_counts(cas, each) for each in (new, again)] == [False, True]
    assert cas.roots == before


async def test_a_daemon_of_before_is_told_to_join_again(
    cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """Also on a connection on which its certificate was verified before."""
    old = _issued(cas, clock)
    cas.certified(old, ME)
    await _begin(rotations, cas)
    for phase in ON:
        await _to(rotations, cas, phase)
    with pytest.raises(Denied, match="join again"):
        cas.certified(old, ME)


async def test_what_was_given_by_another_auth_s_authority_counts_until_the_end(
    cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """Tickets and beacons: auths hear of a phase one after the other, and their proxies do not notice."""
    tickets, beacons, proxy = Tickets(cas.secrets(PURPOSE)), Beacons(cas.secrets("beacons")), DaemonId("p")
    before = tickets.give("alice", proxy, clock.now()), beacons.give(proxy, clock.now())
    await _begin(rotations, cas)
    for phase in ON[:-1]:
        await _to(rotations, cas, phase)
        assert tickets.read(before[0], proxy, clock.now())[0] == "alice"
        assert beacons.age(before[1], proxy, clock.now()) is not None
    after = tickets.give("alice", proxy, clock.now()), beacons.give(proxy, clock.now())
    await _to(rotations, cas, Phase.STANDBY)
    assert tickets.read(after[0], proxy, clock.now())[0] == "alice"
    assert beacons.age(after[1], proxy, clock.now()) is not None
    with pytest.raises(Denied):
        tickets.read(before[0], proxy, clock.now())
    assert beacons.age(before[1], proxy, clock.now()) is None


async def test_the_old_one_vouches_for_the_new_while_auth_shows_that(cas: DaemonCas, rotations: Rotations) -> None:
    """And the new one never for the old, which may be in the wrong hands."""
    old = cas.shown
    await _begin(rotations, cas)
    said = [cas.vouched]
    for phase in ON:
        await _to(rotations, cas, phase)
        said.append(cas.vouched)
    assert [bool(each) for each in said] == [False, False, True, False]
    [(before, word)] = [each for each in said if each]
    assert before == old.certificate
    assert vouches(before, word, cas.shown.certificate)
    assert not vouches(before, word, before)
    assert not vouches(cas.shown.certificate, word, cas.shown.certificate)
    assert not vouches("garbage", word, before)


async def test_daemons_that_have_not_said_that_they_trust_it_hold_it_up(
    local: Local, cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """By name, also such of an older version, which say nothing; and those without a new certificate the end."""
    heard = HeardOf(local.rotations, clock)
    bundle = await local.authority.trust()
    await local.inventory.heartbeat(replace(NODE, expires=clock.now() + timedelta(days=9)))
    inside = replace(NODE, id=DaemonId("22222222-2222-4222-8222-222222222222"), hostname="inside")
    await local.inventory.heartbeat(replace(inside, expires=clock.now() + timedelta(days=9)))
    await heard.told(inside.id, bundle, roots=NO_ROOTS)
    old = cas.shown.pin
    await heard.told(NODE.id, bundle, roots=old, issuer=old)
    await _begin(rotations, cas)
    for said in (old, ""):
        await heard.told(NODE.id, bundle, roots=said)
        with pytest.raises(Denied, match=r"do not trust the new key yet.*: web1\.") as refusal:
            await rotations.go(DAEMON, None, force=False, who=WHO)
        assert "inside" not in refusal.value.public
    both = said_roots(root_pins("".join(cas.roots)))
    await heard.told(NODE.id, bundle, roots=both, issuer=old)
    for _ in ON[:-1]:
        await rotations.go(DAEMON, None, force=False, who=WHO)
    await cas.refresh()
    with pytest.raises(Denied, match=r"would have to join again: web1\."):
        await rotations.go(DAEMON, None, force=False, who=WHO)
    [standing] = [each for each in await rotations.status() if each.kind is DAEMON]
    assert [(each.name, each.trusts, each.shows) for each in standing.members] == [
        ("web1", tuple(both.split()), old)
    ]
    assert standing.keys == (cas.shown.pin, old)
    await heard.told(NODE.id, bundle, roots=both, issuer=cas.shown.pin)
    with pytest.raises(Denied, match="would have to connect again"):
        await rotations.go(DAEMON, None, force=False, who=WHO)
    clock.advance(timedelta(minutes=11))
    assert (await rotations.go(DAEMON, None, force=False, who=WHO)).phase is Phase.STANDBY


async def test_after_a_rollback_those_with_a_new_certificate_hold_it_up(
    local: Local, cas: DaemonCas, rotations: Rotations, clock: FakeClock
) -> None:
    """They would be shut out with the key that is dropped."""
    heard, bundle, old = HeardOf(local.rotations, clock), await local.authority.trust(), cas.shown.pin
    await local.inventory.heartbeat(replace(NODE, expires=clock.now() + timedelta(days=9)))
    await _begin(rotations, cas)
    await _to(rotations, cas, Phase.UPDATE_CLIENTS)
    both = said_roots(root_pins("".join(cas.roots)))
    await heard.told(NODE.id, bundle, roots=both, issuer=root_pins(cas.roots[0])[0])
    await rotations.go(DAEMON, Phase.ROLLBACK, force=False, who=WHO)
    with pytest.raises(Denied, match=r"would have to join again: web1\."):
        await rotations.go(DAEMON, None, force=False, who=WHO)
    await heard.told(NODE.id, bundle, roots=both, issuer=old)
    with pytest.raises(Denied, match="would have to connect again"):
        await rotations.go(DAEMON, None, force=False, who=WHO)
    clock.advance(timedelta(minutes=11))
    assert (await rotations.go(DAEMON, None, force=False, who=WHO)).phase is Phase.STANDBY


async def test_nothing_is_changed_that_is_not_there(local: Local) -> None:
    """Before the first start there is no authority of daemons."""
    rotations = rotations_of(local)
    assert [each.keys for each in await rotations.status() if each.kind is DAEMON] == [()]
    with pytest.raises(Denied, match="interlock start"):
        await rotations.begin(DAEMON, grace=timedelta(0), compromised=False, who=WHO)


def test_what_a_daemon_says_is_bounded(cas: DaemonCas) -> None:
    """It is stored as it is said."""
    [pin] = root_pins("".join(cas.roots))
    assert said_roots([pin]) == pin
    assert said_roots([pin] * 9) == said_roots(["x" * 44]) == said_roots(["é" * 43]) == ""
    assert split_roots("garbage") == ()
    assert issuer_pin("garbage", "".join(cas.roots)) == issuer_pin(cas.roots[0], "garbage") == ""
