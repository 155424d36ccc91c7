"""What an observer of file transfers tells: values about files, never their contents."""

from dataclasses import dataclass
from enum import Enum


class Direction(Enum):
    """Which way a file's contents went, seen from the client."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    BOTH = "both"
    COPY = "copy"  # within the target, by the extension copy-data


class Action(Enum):
    """What was done to files other than moving contents; the values are the field's numbers (PROTOCOL.md §6)."""

    OPEN = 1
    SETSTAT = 7
    REMOVE = 11
    MKDIR = 12
    RMDIR = 13
    RENAME = 16
    SYMLINK = 18
    LINK = 19
    EXTENSION = 0  # a request by name that we do not know; only ever refused, for then it may be any of these


@dataclass(frozen=True, slots=True)
class Moved:
    """One file, from its open to its close. ``sha256`` is of all that was transferred, in hexadecimal.

    It is empty unless the contents passed once, in order, from the file's beginning on, and arrived.
    """

    path: str
    direction: Direction
    read: int = 0  # bytes from the target
    written: int = 0  # bytes to the target
    sha256: str = ""
    error: str = ""  # why it failed; empty if it did not
    name: str = ""  # scp: what the sender calls the file, with the directories of -r
    target_path: str = ""  # the file that it was copied to within the target

    @property
    def octets(self) -> int:
        """Bytes both ways."""
        return self.read + self.written


@dataclass(frozen=True, slots=True)
class Changed:
    """Something was done to a file or directory. ``path`` exists before, ``target_path`` is what is made of it."""

    action: Action
    path: str
    target_path: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The role does not allow a request, which the target never saw."""

    action: Action
    path: str
    target_path: str = ""
    direction: Direction | None = None  # of an open


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing more will be told of this channel. ``cut``: the role demands that it is judged, so it must end."""

    reason: str
    cut: bool = False


Operation = Moved | Changed | Forbidden | Stopped


class NotFollowed(Exception):
    """What the observer sees goes beyond a bound or is not the protocol; never leaves this package."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The directions that a role allows."""

    upload: bool = True
    download: bool = True

    @property
    def all(self) -> bool:
        """Whether nothing has to be judged."""
        return self.upload and self.download


def shown(name: bytes) -> str:
    """A file's name as events have it: bytes that are not UTF-8 become visible escapes."""
    return name.decode("utf-8", "backslashreplace")
