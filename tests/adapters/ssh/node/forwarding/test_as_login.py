"""Sockets with the rights of the login: what the daemon could reach as root, the login cannot (R5)."""

import os
import pwd
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.forwarding import as_login

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def nobody() -> Account:
    """A login without rights."""
    entry = pwd.getpwnam("nobody")
    return Account("nobody", entry.pw_uid, entry.pw_gid, (entry.pw_gid,), "/", "/bin/sh")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may use, as pytest's are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o1777)
        yield path


def test_a_socket_of_root_is_out_of_reach(nobody: Account, place: Path) -> None:
    """Such as a container engine's, which would make the login root."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "root"))
        (place / "root").chmod(0o600)
        server.listen()
        with pytest.raises(PermissionError):
            as_login.connect(nobody, str(place / "root"))
        with as_login.connect(Account("root", 0, 0, (0,), "/", "/bin/sh"), str(place / "root")) as client:
            assert client.fileno() >= 0


def test_a_socket_that_nobody_accepts_from_is_an_error(nobody: Account, place: Path) -> None:
    """To wait for it would hold up one of the few threads that every session of the node needs."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "full"))
        (place / "full").chmod(0o666)
        server.listen(0)
        with as_login.connect(nobody, str(place / "full")), pytest.raises(BlockingIOError):
            as_login.connect(nobody, str(place / "full"))


def test_the_other_end_sees_the_login(nobody: Account, place: Path) -> None:
    """Services that trust SO_PEERCRED must not take a login for the daemon."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "open"))
        (place / "open").chmod(0o666)
        server.listen()
        with as_login.connect(nobody, str(place / "open")):
            accepted, _ = server.accept()
            with accepted:
                credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, gid = struct.unpack("3i", credentials)
    assert (uid, gid) == (nobody.uid, nobody.gid)


def test_what_a_login_listens_on_is_its_own(nobody: Account, place: Path) -> None:
    """Owner and mode; not where the login may not write; and it is removed with the login's rights."""
    path = place / "mine"
    with as_login.listen(nobody, str(path)):
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o177) == (nobody.uid, 0)
        with pytest.raises(OSError, match="in use"):
            as_login.listen(nobody, str(path))
    as_login.remove(nobody, str(path))
    assert not path.exists()
    with pytest.raises(PermissionError):
        as_login.listen(nobody, "/root/socket")


def test_the_daemon_stays_what_it_is(nobody: Account, place: Path) -> None:
    """Only the thread changed."""
    with pytest.raises(FileNotFoundError):
        as_login.connect(nobody, str(place / "nothing"))
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_only_sockets_are_removed(nobody: Account, place: Path) -> None:
    """The path is the client's text."""
    victim = place / "file"
    victim.write_text("keep")
    as_login.remove(nobody, str(victim))
    assert victim.exists()
