"""What a session's process is: what the client asks for, or what its certificate or key has in the place of that.

As sshd does it (session.c): a forced command runs by the login's shell, with a terminal if one was asked for, and
finds what was asked for in SSH_ORIGINAL_COMMAND. `internal-sftp` serves SFTP, and says so to everybody else.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock.adapters.ssh.node.sftp import subsystem_command
from interlock.adapters.ssh.node.spawn import LOGIN_SHELL, Program, command_line
from interlock.domain.bounds import INTERNAL_SFTP, is_internal_sftp
from interlock.domain.session import SFTP

ORIGINAL = "SSH_ORIGINAL_COMMAND"

_SFTP_ONLY = b"echo 'This service allows sftp connections only.'; exit 1"


@dataclass(frozen=True, slots=True)
class Plan:
    """A program, and the variables that it has beside the session's."""

    program: Program
    variables: Mapping[str, str] = field(default_factory=dict)


def planned(kind: str, argument: bytes, forced: str | None) -> Plan | None:
    """What a ``shell``, ``exec`` or ``subsystem`` starts; None for a subsystem that is not served here."""
    asked = subsystem_command(argument) if kind == "subsystem" else argument
    if asked is None:
        return None
    if forced is None:
        return Plan(LOGIN_SHELL if kind == "shell" else command_line(asked))
    variables = {} if kind == "shell" else {ORIGINAL: asked.decode("utf-8", "surrogateescape")}
    if not is_internal_sftp(forced):
        return Plan(command_line(forced.encode("utf-8", "surrogateescape")), variables)
    if kind != "subsystem" or argument != SFTP.encode():
        return Plan(command_line(_SFTP_ONLY))
    return Plan(command_line(asked + _options(forced)), variables)


def _options(forced: str) -> bytes:
    """Those of internal-sftp, which sftp-server has as well; no shell is to read anything into them."""
    said = forced[len(INTERNAL_SFTP) :]
    try:
        words = shlex.split(said)
    except ValueError:
        words = said.split()
    return "".join(f" {shlex.quote(each)}" for each in words).encode("utf-8", "surrogateescape")
