"""A certificate is renewed in time, whatever is in the way, as long as there is time."""

from datetime import timedelta

import pytest

from interlock.core.errors import SignInFailed, TargetError
from interlock.services.audit.outbox import Sleep
from interlock.services.bots.bot_renewal import FIRST_PAUSE_S, LONGEST_PAUSE_S, Validity, half_way, keep_renewed
from interlock.testing.clock import START, FakeClock

HOUR = timedelta(hours=1)


class _Done(Exception):
    """The test has seen enough."""


def _sleeper(clock: FakeClock, slept: list[float]) -> Sleep:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    return sleep


async def test_it_is_renewed_at_half_of_its_life() -> None:
    """And the next one at half of its own."""
    clock, at = FakeClock(), list[timedelta]()

    async def renew() -> Validity:
        at.append(clock.now() - START)
        if len(at) == 3:
            raise _Done
        return clock.now(), clock.now() + HOUR

    with pytest.raises(_Done):
        await keep_renewed(renew, (START, START + HOUR), clock=clock, sleep=_sleeper(clock, []))
    assert at == [HOUR / 2, HOUR, HOUR * 3 / 2]


async def test_a_gateway_that_is_away_is_asked_again_until_the_end() -> None:
    """After longer and longer pauses; the end is said in words."""
    clock, slept = FakeClock(), list[float]()

    async def renew() -> Validity:
        raise TargetError("the gateway does not answer")

    with pytest.raises(SignInFailed, match="another token"):
        await keep_renewed(renew, (START, START + HOUR), clock=clock, sleep=_sleeper(clock, slept))
    assert clock.now() >= START + HOUR
    pauses = slept[30:]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S


def test_half_way() -> None:
    """Between beginning and end."""
    assert half_way((START, START + HOUR)) == START + HOUR / 2
