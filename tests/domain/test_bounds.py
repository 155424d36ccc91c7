"""What a certificate or key keeps its holder from."""

import pytest

from interlock.domain.bounds import MAX_COMMAND, NO_BOUNDS, Bounds, Permission, check_command, is_internal_sftp
from interlock.domain.session import SessionKind, Start


def test_bounds_are_in_order_and_told_in_openssh_words() -> None:
    """Whatever they were named after one another."""
    bounds = Bounds.of("ls", [Permission.PTY, Permission.X11, Permission.PTY])
    assert bounds == Bounds("ls", (Permission.X11, Permission.PTY))
    assert bounds.facts == ["command=ls", "no-X11-forwarding", "no-pty"]
    assert (Bounds.of(None, []), NO_BOUNDS.facts) == (NO_BOUNDS, [])
    assert Permission.X11.extension == "permit-X11-forwarding"


@pytest.mark.parametrize("text", ["", " \t", "a\0b", "x" * (MAX_COMMAND + 1)])
def test_what_nothing_can_run_is_no_command(text: str) -> None:
    """Refused where it is read."""
    with pytest.raises(ValueError, match="a forced command has"):
        check_command(text)


@pytest.mark.parametrize(
    ("command", "internal"),
    [
        ("internal-sftp", True),
        ("internal-sftp -R -d /srv", True),
        ("internal-sftp\t-R", True),
        ("internal-sftpx", False),
        ("/usr/lib/internal-sftp", False),
    ],
)
def test_the_servers_own_sftp(command: str, internal: bool) -> None:
    """As sshd tells it."""
    assert is_internal_sftp(command) is internal


SHELL, EXEC = Start(SessionKind.SHELL), Start(SessionKind.EXEC, "rm -rf /")
SFTP, OTHER = Start(SessionKind.SUBSYSTEM, "sftp"), Start(SessionKind.SUBSYSTEM, "netconf")


@pytest.mark.parametrize(
    ("asked", "command", "runs"),
    [
        (EXEC, None, EXEC),
        (EXEC, "ls", Start(SessionKind.EXEC, "ls", original="rm -rf /")),
        (SHELL, "ls", Start(SessionKind.EXEC, "ls", original="")),
        (SFTP, "ls", Start(SessionKind.EXEC, "ls", original="sftp")),
        (SFTP, "internal-sftp -R", SFTP),
        (OTHER, "internal-sftp", Start(SessionKind.SUBSYSTEM, "sftp", original="netconf")),
        (OTHER, "ls", Start(SessionKind.EXEC, "ls", original="netconf")),
        (EXEC, "internal-sftp", Start(SessionKind.EXEC, "internal-sftp", original="rm -rf /")),
    ],
)
def test_what_runs_in_place_of_what_is_asked_for(asked: Start, command: str | None, runs: Start) -> None:
    """It is what roles judge, and what events and recordings say, with the other beside it."""
    assert asked.forced(command) == runs


def test_events_have_both() -> None:
    """Of a shell there is nothing to say."""
    assert EXEC.forced("ls").fields() == {"initial_command": ["ls"], "original_command": ["rm -rf /"]}
    assert SHELL.forced("ls").fields() == {"initial_command": ["ls"], "original_command": []}
    assert EXEC.fields() == {"initial_command": ["rm -rf /"]}
