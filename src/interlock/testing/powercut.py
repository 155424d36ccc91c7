"""A power cut, or a kill: what of a directory would be left if the end came at one of a process's system calls.

strace tells every call that changes the directory, with its bytes. `Disk` plays them, and keeps two states of each
file: what the kernel had, and what was on the disk for certain. Only what was synced is certain: a file's bytes by
its own fsync or fdatasync, its name by an fsync of its directory. Real file systems keep more than that, and
nobody may rely on it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "link", "rename", "unlink", "openat", "mkdir")
OPTIONS = ("-s", "4000000", "-xx", "-ttt")
"""For strace: whole strings, in hexadecimal, and the time of each call."""

SYNCS = ("fsync", "fdatasync")

_LINE = re.compile(r"^\d+ +(\d+\.\d+) (\w+)\((.*)\) += (\d+)(?:<.*>)?$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+) +\d+\.\d+ <\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True, slots=True)
class Step:
    """One call that succeeded."""

    at: float  # seconds since the epoch
    name: str
    path: Path  # of the file that it was about
    other: Path | None = None  # a second one
    data: bytes = b""
    number: int = 0  # an offset or a length


@dataclass(eq=False)
class _File:
    now: bytearray = field(default_factory=bytearray)
    certain: bytes = b""


class Disk:
    """A directory, in its two states."""

    def __init__(self, root: Path) -> None:
        """As it is now: all of that counts as certain."""
        self._root = root
        self._now: dict[Path, _File] = {}
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                self._now[path] = _File(bytearray(data), data)
        self._certain = dict(self._now)

    def play(self, step: Step) -> None:
        """The call happens."""
        now, path = self._now, step.path
        match step.name:
            case "openat":
                now.setdefault(path, _File())
            case "write" if path in now:
                now[path].now += step.data
            case "pwrite64" if path in now:
                content = now[path].now
                content.extend(bytes(max(0, step.number - len(content))))
                content[step.number : step.number + len(step.data)] = step.data
            case "ftruncate" if path in now:
                content = now[path].now
                content.extend(bytes(max(0, step.number - len(content))))
                del content[step.number :]
            case "link" if step.other is not None and path in now:
                now[step.other] = now[path]
            case "rename" if step.other is not None and path in now:
                now[step.other] = now.pop(path)
            case "unlink":
                now.pop(path, None)
            case "fsync" | "fdatasync" if path in now:
                now[path].certain = bytes(now[path].now)
            case "fsync":
                self._sync_names(path)
            case _:
                pass  # of a file that was there before, or is no part of this

    def _sync_names(self, directory: Path) -> None:
        for path in [each for each in self._certain if each.parent == directory and each not in self._now]:
            del self._certain[path]
        self._certain |= {path: file for path, file in self._now.items() if path.parent == directory}

    def leave(self, root: Path) -> None:
        """Write what is certain to another directory."""
        self._write(root, {path: file.certain for path, file in self._certain.items()})

    def leave_all(self, root: Path) -> None:
        """Write what the kernel had, which is what a process that is killed leaves."""
        self._write(root, {path: bytes(file.now) for path, file in self._now.items()})

    def _write(self, root: Path, contents: dict[Path, bytes]) -> None:
        """What SQLite makes anew from its log is not needed."""
        for path, content in contents.items():
            if not path.name.endswith("-shm"):
                copy = root / path.relative_to(self._root)
                copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                copy.write_bytes(content)
                copy.chmod(0o600)


def steps(log: Iterable[str], root: Path, cwd: Path) -> Iterator[Step]:
    """What strace has told about files below ``root``; relative names are of ``cwd``."""
    begun: dict[str, str] = {}
    for raw in log:
        line = raw.rstrip("\n")
        if found := _UNFINISHED.match(line):
            begun[found[1]] = f"{found[1]} {found[2]} {found[3]}({found[4]}"
            continue
        if found := _RESUMED.match(line):
            line = begun.pop(found[1], "") + found[3]
        call = _LINE.match(line)
        step = _step(float(call[1]), call[2], call[3], cwd) if call is not None else None
        if step is not None and step.path.is_relative_to(root):
            yield step


def _step(at: float, name: str, text: str, cwd: Path) -> Step | None:
    strings = [_plain(each) for each in _STRING.findall(text)]
    if name == "openat":
        made = "O_CREAT" in text and strings
        return Step(at, name, cwd / strings[0].decode()) if made else None
    if name in {"link", "rename"}:
        return Step(at, name, cwd / strings[0].decode(), cwd / strings[1].decode())
    if name in {"unlink", "mkdir"}:
        return Step(at, name, cwd / strings[0].decode())
    file = _FILE.match(text)
    if file is None:
        return None
    path = Path(_plain(file[1]).decode())
    last = text.rpartition(", ")[2]
    number = int(last) if last.isdigit() else 0
    return Step(at, name, path, data=strings[0] if strings else b"", number=number)


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
