"""What the node runs where a certificate or key has a command of its own: as sshd."""

import pytest

from interlock.adapters.ssh.node import sftp
from interlock.adapters.ssh.node.plan import ORIGINAL, planned
from interlock.adapters.ssh.node.spawn import LOGIN_SHELL, command_line


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with an SFTP server, whatever this one has."""
    monkeypatch.setattr(sftp, "SERVERS", ("/bin/true",))


@pytest.mark.parametrize(
    ("kind", "argument", "forced", "runs", "original"),
    [
        ("shell", b"", None, None, None),
        ("exec", b"ls", None, b"ls", None),
        ("subsystem", b"sftp", None, b"/bin/true", None),
        ("shell", b"", "backup", b"backup", None),
        ("exec", b"ls -l", "backup", b"backup", "ls -l"),
        ("exec", b"\xff", "backup", b"backup", "\udcff"),
        ("subsystem", b"sftp", "backup", b"backup", "/bin/true"),
        ("subsystem", b"sftp", "internal-sftp", b"/bin/true", "/bin/true"),
        ("subsystem", b"sftp", "internal-sftp -R -d '/a b;c'", b"/bin/true -R -d '/a b;c'", "/bin/true"),
        ("subsystem", b"sftp", "internal-sftp -d $(id)'", b"/bin/true -d '$(id)'\"'\"''", "/bin/true"),
    ],
)
def test_what_runs(
    kind: str, argument: bytes, forced: str | None, runs: bytes | None, original: str | None
) -> None:
    """By the login's shell; what was asked for is in the environment."""
    plan = planned(kind, argument, forced)
    assert plan is not None
    assert plan.program == (LOGIN_SHELL if runs is None else command_line(runs))
    assert plan.variables.get(ORIGINAL) == original


@pytest.mark.parametrize(("kind", "argument"), [("shell", b""), ("exec", b"ls"), ("exec", b"sftp")])
def test_forced_sftp_tells_everybody_else(kind: str, argument: bytes) -> None:
    """And runs nothing."""
    plan = planned(kind, argument, "internal-sftp")
    assert plan is not None
    assert "sftp connections only" in str(plan.program)


def test_what_is_not_served_is_not_forced_either() -> None:
    """As sshd has it: a subsystem that it does not know fails."""
    assert planned("subsystem", b"netconf", "backup") is None
