"""Which subsystems are served, and by what."""

from pathlib import Path

import pytest

from interlock.adapters.ssh.node import sftp
from interlock.adapters.ssh.node.sftp import subsystem_command


def test_sftp_is_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first server that exists."""
    server = tmp_path / "sftp-server"
    server.touch()
    monkeypatch.setattr(sftp, "SERVERS", (str(tmp_path / "missing"), str(server)))
    assert subsystem_command(b"sftp") == str(server).encode()


def test_host_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, rather than run something else."""
    monkeypatch.setattr(sftp, "SERVERS", ())
    assert subsystem_command(b"sftp") is None


@pytest.mark.parametrize("name", [b"", b"sftp ", b"netconf", b"sftp;id"])
def test_others(name: bytes) -> None:
    """Nothing else has a command."""
    assert subsystem_command(name) is None
