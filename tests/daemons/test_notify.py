"""What systemd hears, on a real socket of its kind."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock.daemons.notify import keep_watchdog, notify, reloading, watchdog_pause


@contextmanager
def manager(where: str) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + where[1:] if where.startswith("@") else where)
        end.settimeout(5)
        yield end


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_is_one_datagram(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a path or to an abstract name."""
    where = f"@interlock-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with manager(where) as end:
        monkeypatch.setenv("NOTIFY_SOCKET", where)
        assert notify(reloading(1.5))
        assert end.recv(100) == b"RELOADING=1\nMONOTONIC_USEC=1500000"


def test_without_a_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its socket is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("wanted", "whose", "pause"),
    [("", "", None), ("0", "", None), ("x", "", None), ("30000000", "", 15.0), ("30000000", "1", None)],
)
def test_who_wants_signs_of_life(
    wanted: str, whose: str, pause: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice within the time after which it gives up, and only of the process that it means."""
    monkeypatch.setenv("WATCHDOG_USEC", wanted)
    monkeypatch.setenv("WATCHDOG_PID", whose)
    assert watchdog_pause() == pause


async def test_signs_of_life_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the loop runs."""
    where = str(tmp_path / "notify")
    with manager(where) as end:
        monkeypatch.setenv("NOTIFY_SOCKET", where)
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        keeping = asyncio.create_task(keep_watchdog())
        heard = [await asyncio.to_thread(end.recv, 100) for _ in range(3)]
        keeping.cancel()
        assert heard == [b"WATCHDOG=1"] * 3
    monkeypatch.delenv("WATCHDOG_USEC")
    await keep_watchdog()  # returns when nobody wants to know
