"""What systemd hears, on a real socket of its kind."""

import os
import socket
from pathlib import Path

import pytest

from interlock.daemons.notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_is_one_datagram(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a path or to an abstract name."""
    where = f"@interlock-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + where[1:] if abstract else where)
        monkeypatch.setenv("NOTIFY_SOCKET", where)
        assert notify("READY=1")
        manager.settimeout(5)
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its socket is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
