"""Which words move files, in the forms that clients send."""

import pytest

from interlock.core.transfer.command import ScpCommand, SftpCommand, transfer_command
from interlock.core.transfer.operations import Direction

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD

SCP: list[tuple[str, ScpCommand | None]] = [
    ("scp -t /tmp/x", ScpCommand(UP, "/tmp/x")),
    ("scp -f /tmp/x", ScpCommand(DOWN, "/tmp/x")),
    ("scp -v -r -p -d -t -- /tmp/x", ScpCommand(UP, "/tmp/x", directory=True)),
    ("scp -rt /tmp/x/", ScpCommand(UP, "/tmp/x/", directory=True)),
    ("scp -pf 'a b' c", ScpCommand(DOWN, "a b c")),
    ("scp -t .", ScpCommand(UP, ".", directory=True)),
    ("scp -t", ScpCommand(UP, "", directory=True)),
    ("/usr/bin/scp -f x", ScpCommand(DOWN, "x")),
    ("scp -t -f x", ScpCommand(DOWN, "x")),  # scp looks for -f first
    ("scp x -f", ScpCommand(DOWN, "x")),  # some getopts look behind paths
    ("scp -- -f -t", None),
    ("scp -o -t -f x", ScpCommand(DOWN, "x")),  # -t is the value of -o
    ("scp -oft x", None),
    ("scp -l 100 -t x", ScpCommand(UP, "x")),
    ("scp -o", None),
    ("scp a b:c", None),
    ("scpx -t a", None),
    ("cat scp -t", None),
    ("scp -t 'unfinished", ScpCommand(UP, "'unfinished")),
    ("", None),
    ("'s'c\\p -t x", ScpCommand(UP, "x")),
    (f"echo {'x' * 1_000_000}", None),
    (f"scp -t {'x' * 1_000_000}", ScpCommand(UP, "x" * 1_000_000)),  # too long for a shell's rules
]


@pytest.mark.parametrize(("command", "expected"), SCP)
def test_scp(command: str, expected: ScpCommand | None) -> None:
    """Direction and path are in the options, as getopt reads them."""
    assert transfer_command("exec", command) == expected


def test_sftp() -> None:
    """As a subsystem, or as the server's own name in a command."""
    assert transfer_command("subsystem", "sftp") == SftpCommand()
    assert transfer_command("exec", "/usr/lib/openssh/sftp-server -l INFO") == SftpCommand()
    for kind, command in (
        ("subsystem", "netconf"),
        ("exec", "sftp host"),
        ("shell", "scp -t x"),
        ("exec", "sftp"),
    ):
        assert transfer_command(kind, command) is None


def test_paths_of_files() -> None:
    """A file's own name counts only where the command's path certainly is a directory."""
    assert ScpCommand(UP, "/tmp/x").path_of("a") == "/tmp/x"
    assert ScpCommand(UP, "/tmp/x/", directory=True).path_of("d/a") == "/tmp/x/d/a"
    assert ScpCommand(UP, "/", directory=True).path_of("a") == "/a"
    assert ScpCommand(UP, "", directory=True).path_of("a") == "a"
