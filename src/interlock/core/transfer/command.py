"""Which commands and subsystems move files in a way that can be observed, by their words alone.

Only the plain forms are known, which clients send: ``scp`` and ``sftp-server`` with their options. What else a
shell may be told (``cat``, ``rsync``, a script around scp) cannot be told apart from any other command.
"""

import shlex
from dataclasses import dataclass

from interlock.core.transfer.operations import Direction

SFTP = "sftp"
_SFTP_SERVER = "sftp-server"  # run as a command by `sftp -s` and by clients whose host has no subsystem
_LONGEST_QUOTED = 8 * 1024  # two paths; reading quotes takes a microsecond and more per character
_UNQUOTE = str.maketrans("", "", "'\"\\")
_VALUED = "DFJMPSciloX"  # options of scp that have a value, which may be the next word


@dataclass(frozen=True, slots=True)
class SftpCommand:
    """SFTP, as subsystem or command."""


@dataclass(frozen=True, slots=True)
class ScpCommand:
    """The half of scp on the target."""

    direction: Direction
    path: str  # as the command has it
    directory: bool = False  # whether it certainly is one, so that files get names of their own in it

    def path_of(self, name: str) -> str:
        """The path of a file that its sender calls ``name``, as far as the command shows it."""
        if not self.directory:
            return self.path
        return f"{self.path.rstrip('/')}/{name}" if self.path else name


def transfer_command(kind: str, command: str) -> SftpCommand | ScpCommand | None:
    """``kind``: shell, exec or subsystem; ``command``: the command, or the subsystem's name."""
    if kind == "subsystem":
        return SftpCommand() if command == SFTP else None
    if kind != "exec":
        return None
    program = command.split(maxsplit=1)[:1]
    name = program[0].translate(_UNQUOTE).rpartition("/")[2] if program else ""
    if name == _SFTP_SERVER:
        return SftpCommand()
    return _scp(_words(command)[1:]) if name == "scp" else None


def _words(command: str) -> list[str]:
    """As a shell cuts them. What is too long for that, or has a quote without an end, is cut at spaces."""
    if len(command) > _LONGEST_QUOTED:
        return command.split()
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _scp(words: list[str]) -> ScpCommand | None:
    """Read options as getopt does, also behind paths, as some do; None if this is a client of a third host."""
    options = ""
    paths: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            paths += rest
        elif len(word) > 1 and word.startswith("-"):
            at = next((at for at, letter in enumerate(word) if letter in _VALUED), None)
            options += word[:at]
            if at == len(word) - 1:
                next(rest, "")
        else:
            paths.append(word)
    path = " ".join(paths)
    if "f" in options:  # scp looks for it first
        return ScpCommand(Direction.DOWNLOAD, path)
    if "t" in options:
        certain = "d" in options or path in {"", ".", "..", "~"} or path.endswith("/")
        return ScpCommand(Direction.UPLOAD, path, certain)
    return None
