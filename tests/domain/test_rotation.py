"""The table of phases: every way through it keeps what is shown and what is trusted together."""

from datetime import timedelta
from itertools import pairwise

import pytest

from interlock.core.errors import Denied
from interlock.domain.rotation import AUTH_SHOWS_NEW, NEXT, SIGNS_WITH_NEW, Phase, RotatedKind, Rotation, begin
from interlock.testing.clock import START

ALL = list(RotatedKind)
ON = (Phase.INIT, Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS, Phase.STANDBY)


def _trusted(phase: Phase) -> set[str]:
    return {"old"} if phase is Phase.STANDBY else {"old", "new"}


def _signer(kind: RotatedKind, phase: Phase) -> str:
    return "new" if phase in SIGNS_WITH_NEW[kind] else "old"


@pytest.mark.parametrize("kind", ALL)
def test_what_signs_was_trusted_one_phase_before(kind: RotatedKind) -> None:
    """So that who verifies has had a phase to learn of it; also on every way back."""
    for phase, following in ((each, after) for each in NEXT for after in NEXT[each]):
        if following is Phase.STANDBY:
            continue
        assert _signer(kind, following) in _trusted(phase)


def test_daemons_have_certificates_by_what_auth_shows_a_phase_before() -> None:
    """And so know it. After a rollback auth shows the old one at once, which everybody knows still."""
    for phase in AUTH_SHOWS_NEW:
        before = [each for each in NEXT if phase in NEXT[each]]
        assert all(each in SIGNS_WITH_NEW[RotatedKind.DAEMON] for each in before)
    assert AUTH_SHOWS_NEW.issubset(SIGNS_WITH_NEW[RotatedKind.DAEMON])


@pytest.mark.parametrize("kind", ALL)
def test_what_is_dropped_has_not_signed_for_a_phase(kind: RotatedKind) -> None:
    """At the end the old key, after a rollback the new one."""
    assert _signer(kind, Phase.UPDATE_SERVERS) == "new"
    assert _signer(kind, Phase.ROLLBACK) == "old"
    signers = [_signer(kind, each) for each in ON[:-1]]
    assert all(not (before == "new" and after == "old") for before, after in pairwise(signers))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("phase", [each for each in Phase if each is not Phase.STANDBY])
def test_nothing_but_the_table_leads_anywhere(kind: RotatedKind, phase: Phase) -> None:
    """And from each phase there is a way home."""
    rotation = _at(kind, phase)
    for following in Phase:
        if following in NEXT[phase]:
            moved = rotation.to(following, START + timedelta(hours=1))
            assert (moved.phase, moved.since) == (following, START + timedelta(hours=1))
        else:
            with pytest.raises(Denied):
                rotation.to(following, START)
    assert Phase.STANDBY in NEXT[phase] or Phase.ROLLBACK in NEXT[phase]


def test_going_on_too_early_says_what_breaks() -> None:
    """As long as certificates of people live, or until they have learnt the hosts' new key; and until when."""
    user = _at(RotatedKind.USER, Phase.UPDATE_SERVERS)
    assert "sign in again" in user.early(Phase.STANDBY, START + timedelta(hours=29))
    assert user.early(Phase.STANDBY, START).endswith(f"(until {START + timedelta(hours=30):%Y-%m-%d %H:%M} UTC)")
    assert user.early(Phase.STANDBY, START + timedelta(hours=31)) == ""
    host = _at(RotatedKind.HOST, Phase.UPDATE_CLIENTS)
    assert "refuse the gateway" in host.early(Phase.UPDATE_SERVERS, START + timedelta(hours=29))
    assert host.early(Phase.UPDATE_SERVERS, START + timedelta(hours=31)) == ""
    plain = _at(RotatedKind.OPENSSH, Phase.INIT)
    assert "TrustedUserCAKeys" in plain.early(Phase.UPDATE_CLIENTS, START)
    assert user.early(Phase.ROLLBACK, START) == ""
    for phase in (Phase.UPDATE_SERVERS, Phase.ROLLBACK):
        daemon = _at(RotatedKind.DAEMON, phase)
        assert "connect again" in daemon.early(Phase.STANDBY, START + timedelta(minutes=9))
        assert daemon.early(Phase.STANDBY, START + timedelta(minutes=11)) == ""


def test_by_time_each_phase_has_a_third() -> None:
    """A rollback ends by hand only."""
    rotation = begin(RotatedKind.USER, START, grace=timedelta(hours=48), compromised=False)
    assert rotation.due == START + timedelta(hours=16)
    assert rotation.to(Phase.ROLLBACK, START).due is None
    assert begin(RotatedKind.USER, START, grace=timedelta(0), compromised=False).due is None


def _at(kind: RotatedKind, phase: Phase) -> Rotation:
    rotation = begin(kind, START, grace=timedelta(0), compromised=False)
    way = (Phase.ROLLBACK,) if phase is Phase.ROLLBACK else ON[1 : ON.index(phase) + 1]
    for each in way:
        rotation = rotation.to(each, START)
    return rotation
