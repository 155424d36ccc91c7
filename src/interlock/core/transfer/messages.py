"""SFTP's numbers, and how to read the requests that name files, in versions 3 to 6 (drafts 02, 04, 05 and 13)."""

from dataclasses import dataclass

from interlock.core.transfer.operations import Action, shown
from interlock.core.wire import Reader

INIT = 1
VERSION = 2
OPEN = 3
CLOSE = 4
READ = 5
WRITE = 6
LSTAT = 7
FSTAT = 8
SETSTAT = 9
FSETSTAT = 10
OPENDIR = 11
READDIR = 12
REMOVE = 13
MKDIR = 14
RMDIR = 15
REALPATH = 16
STAT = 17
RENAME = 18
READLINK = 19
SYMLINK = 20
LINK = 21
BLOCK = 22
UNBLOCK = 23
STATUS = 101
HANDLE = 102
DATA = 103
EXTENDED = 200

READ_WHOLE = frozenset(
    (
        OPEN,
        CLOSE,
        READ,
        SETSTAT,
        FSETSTAT,
        REMOVE,
        MKDIR,
        RMDIR,
        RENAME,
        SYMLINK,
        LINK,
        EXTENDED,
    )
)
"""Requests of which we read more than the ID."""

LOOKS_ONLY = frozenset(
    (LSTAT, FSTAT, OPENDIR, READDIR, REALPATH, STAT, READLINK, BLOCK, UNBLOCK, CLOSE, READ, WRITE)
)
"""Requests that change nothing and move no contents that an OPEN has not been allowed for."""

LOWEST, HIGHEST = 3, 6
"""The versions that we follow."""

OK = 0
EOF = 1
PERMISSION_DENIED = 3

_STATUS_WORDS = {
    2: "no such file",
    3: "permission denied",
    4: "failure",
    5: "bad message",
    6: "no connection",
    7: "connection lost",
    8: "operation not supported",
    9: "invalid handle",
    10: "no such path",
    11: "file already exists",
    12: "write protected",
    13: "no media",
    14: "no space on the file system",
    15: "quota exceeded",
    16: "unknown principal",
    17: "lock conflict",
    18: "directory not empty",
    19: "not a directory",
    20: "invalid filename",
    21: "too many symbolic links",
    22: "cannot delete",
    23: "invalid parameter",
    24: "is a directory",
}


def status_words(code: int) -> str:
    """Why a request failed; empty if it did not, or only met the end of the file."""
    return "" if code in {OK, EOF} else _STATUS_WORDS.get(code, f"status {code}")


_V3_READ, _V3_WRITE, _V3_APPEND, _V3_CREAT, _V3_TRUNC = 1, 2, 4, 8, 16
_ACCESS_WRITE, _ACCESS_APPEND = 2, 4
_ACCESS_HARMLESS = 0x001200A9  # what only reads: data, attributes, ACL, and to execute and synchronize
_OPEN_EXISTING = 2  # the disposition that neither makes nor empties a file
_V6_DISPOSITION, _V6_APPENDS, _V6_DELETES = 0x7, 0x18, 0x800
_ACCESS_BESIDE = 0x001F0190  # to attributes, ACL, owner, deletion and synchronizing: none of it moves contents


@dataclass(frozen=True, slots=True)
class Opening:
    """An OPEN. What is not plainly for one direction counts as the other one too."""

    path: str
    reads: bool
    writes: bool
    appends: bool


def read_open(reader: Reader, version: int) -> Opening:
    """An OPEN behind its ID. Servers open for reading what is asked for neither, so that counts as reading."""
    path = shown(reader.string())
    if version < 5:
        flags = reader.uint32()
        writes = flags & (_V3_WRITE | _V3_APPEND | _V3_CREAT | _V3_TRUNC) != 0
        reads = flags & _V3_READ != 0 or not flags & _V3_WRITE
        return Opening(path, reads, writes, flags & _V3_APPEND != 0)
    access, flags = reader.uint32(), reader.uint32()
    makes = flags & _V6_DISPOSITION != _OPEN_EXISTING
    writes = access & ~_ACCESS_HARMLESS != 0 or makes or flags & _V6_DELETES != 0
    to_write = _ACCESS_WRITE | _ACCESS_APPEND
    reads = not access & to_write or access & ~(to_write | _ACCESS_BESIDE) != 0
    appends = flags & _V6_APPENDS != 0 or (access & _ACCESS_APPEND != 0 and not access & _ACCESS_WRITE)
    return Opening(path, reads, writes, appends)


@dataclass(frozen=True, slots=True)
class Change:
    """A request that changes something other than contents; of FSETSTAT the path is to be found by ``handle``."""

    action: Action
    path: str = ""
    target_path: str = ""
    handle: bytes | None = None


_ONE_PATH = {
    SETSTAT: Action.SETSTAT,
    REMOVE: Action.REMOVE,
    MKDIR: Action.MKDIR,
    RMDIR: Action.RMDIR,
}
_TWO_PATHS = {
    RENAME: Action.RENAME,  # old, new
    SYMLINK: Action.SYMLINK,  # what it points to, the link: as OpenSSH and so everybody has it, not as the draft
}


def read_change(kind: int, reader: Reader) -> Change | None:
    """A request behind its ID; None if it is of another kind."""
    if kind in _ONE_PATH:
        return Change(_ONE_PATH[kind], shown(reader.string()))
    if kind in _TWO_PATHS:
        return Change(_TWO_PATHS[kind], shown(reader.string()), shown(reader.string()))
    if kind == FSETSTAT:
        return Change(Action.SETSTAT, handle=reader.string())
    if kind == LINK:  # version 6: the link, what it points to, and whether it does so by name
        link, existing = shown(reader.string()), shown(reader.string())
        return Change(Action.SYMLINK if reader.boolean() else Action.LINK, existing, link)
    return None


COPY_DATA = b"copy-data"
VERSION_SELECT = b"version-select"

HARMLESS_EXTENSIONS = frozenset(
    (
        b"statvfs@openssh.com",
        b"fstatvfs@openssh.com",
        b"fsync@openssh.com",
        b"limits@openssh.com",
        b"expand-path@openssh.com",
        b"home-directory",
        b"users-groups-by-id@openssh.com",
        b"space-available",
        b"vendor-id",
        b"ranges@asyncssh.com",  # where a file that was opened has data
        COPY_DATA,  # between files that were opened, and so judged
        VERSION_SELECT,
    )
)
"""Extensions that neither change anything nor tell what a file contains. Sums of contents tell it."""


def read_extension(name: bytes, reader: Reader) -> Change | None:
    """An extended request behind its name; None if it is none that changes what we tell of."""
    if name == b"posix-rename@openssh.com":
        return Change(Action.RENAME, shown(reader.string()), shown(reader.string()))
    if name == b"hardlink@openssh.com":
        return Change(Action.LINK, shown(reader.string()), shown(reader.string()))
    if name == b"lsetstat@openssh.com":
        return Change(Action.SETSTAT, shown(reader.string()))
    return None


@dataclass(frozen=True, slots=True)
class VersionSelect:
    """The version that the client goes on with once it is granted (draft 13, §5.5)."""

    version: int


def read_version_select(reader: Reader) -> VersionSelect:
    """The extended request behind its name; version 0 if it is no number."""
    text = reader.string()
    return VersionSelect(int(text) if text.isdigit() and len(text) == 1 else 0)


@dataclass(frozen=True, slots=True)
class CopyData:
    """Both handles of the extension copy-data (draft-ietf-secsh-filexfer-extensions-00 §7)."""

    source: bytes
    target: bytes


def read_copy(reader: Reader) -> CopyData:
    """The extended request behind its name."""
    source = reader.string()
    reader.take(16)  # offset and length
    return CopyData(source, reader.string())
