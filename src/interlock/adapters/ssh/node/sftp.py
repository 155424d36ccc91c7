"""Subsystems: sftp by the system's own server, run as the login; nothing else.

The system's server is what sshd runs, so behaviour and speed are those that people know. A host without one, as
small containers are, has no sftp; `scp -O` and rsync work there all the same, for they are commands.
"""

from pathlib import Path

SERVERS = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/libexec/openssh/sftp-server",  # Fedora, RHEL
    "/usr/lib/ssh/sftp-server",  # Arch, Alpine, SUSE
    "/usr/libexec/sftp-server",  # BSD
)


def subsystem_command(name: bytes) -> bytes | None:
    """The command line that serves a subsystem, for the login's shell; None if it cannot be served here."""
    if name != b"sftp":
        return None
    return next((path.encode() for path in SERVERS if Path(path).is_file()), None)
