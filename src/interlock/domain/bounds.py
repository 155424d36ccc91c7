"""What a certificate or an enrolled key keeps its holder from, whatever roles allow: OpenSSH's own restrictions.

As critical options and extensions of certificates (PROTOCOL.certkeys) and options of ``authorized_keys`` (sshd(8))
say it. They only ever take away: what roles do not allow, no key does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

MAX_COMMAND = 8 * 1024
"""Bytes of a forced command."""

INTERNAL_SFTP = "internal-sftp"
"""The forced command that stands for the server's own SFTP (sshd_config(5), ForceCommand)."""


class Permission(Enum):
    """What can be withheld; the value is what follows ``permit-`` in certificates, and ``no-`` elsewhere."""

    X11 = "X11-forwarding"
    AGENT = "agent-forwarding"
    PORTS = "port-forwarding"
    PTY = "pty"
    USER_RC = "user-rc"

    @property
    def extension(self) -> str:
        """The extension of a certificate that gives it."""
        return f"permit-{self.value}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one certificate or key."""

    command: str | None = None  # what runs, whatever is asked for; None: what is asked for
    withheld: tuple[Permission, ...] = ()  # in the order of their class, each once

    @classmethod
    def of(cls, command: str | None, withheld: Iterable[Permission]) -> "Bounds":
        """In their order; ValueError for a command that cannot be one."""
        taken = set(withheld)
        checked = None if command is None else check_command(command)
        return cls(checked, tuple(each for each in Permission if each in taken))

    @property
    def facts(self) -> list[str]:
        """In the words of ``authorized_keys``, for events and people."""
        forced = [] if self.command is None else [f"command={self.command}"]
        return [*forced, *(f"no-{each.value}" for each in self.withheld)]


NO_BOUNDS = Bounds()
"""Of a key that may do whatever roles allow."""


def check_command(text: str) -> str:
    """The forced command; ValueError if nothing could run it."""
    if not text.strip() or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > MAX_COMMAND:
        msg = f"a forced command has 1 to {MAX_COMMAND} bytes, and no NUL"
        raise ValueError(msg)
    return text


def is_internal_sftp(command: str) -> bool:
    """Whether it is the server's own SFTP, with options or without, as sshd tells it."""
    return command.split(" ", 1)[0].split("\t", 1)[0] == INTERNAL_SFTP
