"""The X display of a session: a port on the loopback, and the file where the session's programs find its cookie.

As sshd does it: the client chose the cookie that is stored here, and replaces it by its own display's (RFC 4254
§6.3), so the node never learns what opens the person's display.
"""

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from interlock.adapters.ssh.node.accounts import Account
from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import Reader

FIRST_DISPLAY = 10
LAST_DISPLAY = 1000
"""Displays that are tried, as sshd's X11DisplayOffset and its own bound."""

_FIRST_PORT = 6000
_FAMILY_LOCAL = 256
_MAX_COOKIE = 256


@dataclass(frozen=True, slots=True)
class DisplayRequest:
    """What ``x11-req`` says (RFC 4254 §6.3)."""

    single: bool  # one connection and no more
    protocol: bytes
    cookie: bytes
    screen: int

    @classmethod
    def decode(cls, data: bytes) -> "DisplayRequest | None":
        """Read it; None if it makes no sense."""
        reader = Reader(data)
        try:
            single, protocol, cookie, screen = reader.boolean(), reader.string(), reader.string(), reader.uint32()
            reader.end()
            plain = bytes.fromhex(cookie.decode("ascii"))
        except (RemoteProtocolError, ValueError):
            return None
        fits = 0 < len(plain) <= _MAX_COOKIE and 0 < len(protocol) <= _MAX_COOKIE
        return cls(single, protocol, plain, screen) if fits else None


@dataclass(frozen=True, slots=True)
class Display:
    """One display of ours, listening but not accepting yet."""

    listener: socket.socket
    number: int
    screen: int
    directory: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a session's programs need to find it."""
        name = f"localhost:{self.number}.{self.screen}"
        return {"DISPLAY": name, "XAUTHORITY": str(self.directory / "authority")}

    def close(self) -> None:
        """Leave nothing behind."""
        self.listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def open_display(request: DisplayRequest, account: Account) -> Display:
    """Take the first free display; OSError if there is none, or no place for its cookie."""
    listener, number = _free_display()
    try:
        directory = private_directory()
    except OSError:
        listener.close()
        raise
    made = Display(listener, number, request.screen, directory)
    try:
        _write(directory / "authority", _entry(request, number), account)
        hand_over(directory, account)
    except OSError:
        made.close()
        raise
    return made


def private_directory() -> Path:
    """A new directory that only this process may enter; `hand_over` it last, when all is in it. OSError."""
    return Path(tempfile.mkdtemp(prefix="interlock-"))


def hand_over(path: Path, account: Account) -> None:
    """Make the login the owner of what nobody but this process can reach yet; OSError."""
    if os.geteuid() == 0 and account.uid != 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _free_display() -> tuple[socket.socket, int]:
    for number in range(FIRST_DISPLAY, LAST_DISPLAY):
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", _FIRST_PORT + number))
            listener.listen()
            listener.setblocking(False)
        except OSError:
            listener.close()
        else:
            return listener, number
    raise OSError(0, "no display is free")


def _entry(request: DisplayRequest, number: int) -> bytes:
    """One record of an .Xauthority file (Xau's format): family, address, display, protocol, data."""
    fields = (socket.gethostname().encode(), str(number).encode(), request.protocol, request.cookie)
    family = _FAMILY_LOCAL.to_bytes(2, "big")
    return family + b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def _write(path: Path, data: bytes, account: Account) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    hand_over(path, account)
