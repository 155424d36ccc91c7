"""A proxy has auth's latest beacon, as well as it can."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from interlock.core.errors import StoreError
from interlock.services.keys import beacons
from interlock.services.keys.beacons import AGAIN_S, ASKED_EVERY_S, WITHOUT_S, LatestBeacon


class Auth:
    """Answers with one beacon after the other; None: it is away."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)

    async def ask(self) -> bytes:
        """The next."""
        answer = self._answers.pop(0)
        if answer is None:
            raise StoreError("auth cannot be reached")
        return answer


class Naps:
    """Notes how long is slept, and stops after so many times."""

    def __init__(self, times: int, each: Callable[[], None] = lambda: None) -> None:
        self.slept: list[float] = []
        self._times = times
        self._each = each

    async def __call__(self, delay: float) -> None:
        """At once."""
        self._each()
        if len(self.slept) == self._times:
            raise asyncio.CancelledError
        self.slept.append(delay)


async def test_a_proxy_has_one_before_anybody_comes() -> None:
    """And none before that."""
    latest = LatestBeacon(Auth(b"first").ask)
    assert latest() == b""
    await latest.first()
    assert latest() == b"first"


async def test_it_keeps_up_and_keeps_what_it_has_while_auth_is_away() -> None:
    """Asking ever less often, with one line in the log, and as often as before once it is back."""
    seen: list[bytes] = []
    naps = Naps(9, lambda: seen.append(latest()))
    latest = LatestBeacon(Auth(b"1", b"2", None, None, None, None, None, b"3", b"4", b"5").ask, sleep=naps)
    with capture_logs() as logs:
        await latest.first()
        with pytest.raises(asyncio.CancelledError):
            await latest.run()
    assert seen == [b"1", b"2", b"2", b"2", b"2", b"2", b"2", b"3", b"4", b"5"]
    assert naps.slept == [ASKED_EVERY_S] * 2 + [AGAIN_S, 2, 4, 8, ASKED_EVERY_S, ASKED_EVERY_S, ASKED_EVERY_S]
    assert [each["event"] for each in logs] == ["presence.no_beacon"]


async def test_without_any_it_asks_more_often() -> None:
    """Somebody may be waiting."""
    naps = Naps(5)
    latest = LatestBeacon(Auth(*[None] * 6).ask, sleep=naps)
    await latest.first()
    with pytest.raises(asyncio.CancelledError):
        await latest.run()
    assert naps.slept == [AGAIN_S, 2, WITHOUT_S, WITHOUT_S, WITHOUT_S]


async def test_an_auth_that_hangs_keeps_no_proxy_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It listens all the same: sessions that need nothing signed go on."""
    monkeypatch.setattr(beacons, "FIRST_S", 0.01)

    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    latest = LatestBeacon(never)
    await latest.first()
    assert latest() == b""
