"""sshfs: a directory of the target in the file system here, used by programs that know nothing of ssh.

Where the machine gives no /dev/fuse, OpenSSH's sftp does the same operations in its place.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import STOP_S, Daemon, poll_until, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]
SIZE = 2_000_017


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("sshfs", person)


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def place(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Each target by each road."""
    target, road = request.param
    return cluster.place(target, road)


def fuse_is_here() -> bool:
    """Whether this machine lets us mount."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return True


@contextmanager
def mounted(client: SshClient, place: str, remote: Path, at: Path) -> Iterator[Path]:
    """The remote directory below ``at``, by an sshfs that has ended afterwards.

    Unmounting alone does not end it: whoever makes a mount namespace meanwhile, as every daemon does that a test
    beside this one starts, keeps a copy of the mount.
    """
    at.mkdir()
    with subprocess.Popen(["sshfs", "-f", "-F", client.config, f"{place}:{remote}", at], env=clean_env()) as sshfs:
        try:
            poll_until(lambda: at.is_mount() or sshfs.poll() is not None, "mount")
            assert sshfs.poll() is None
            yield at
            run(["fusermount3", "-u", at]).check()
        finally:
            sshfs.terminate()
            sshfs.wait(STOP_S)


def by_sshfs(client: SshClient, place: str, remote: Path, here: Path) -> None:
    """Through the kernel, while a daemon of another test keeps a copy of the mount in its own namespace."""
    with ExitStack() as beside, mounted(client, place, remote, here / "mount") as at:
        beside.enter_context(Daemon(["sleep", "1d"], log=here / "beside.log"))
        (at / "directory").mkdir()
        shutil.copyfile(here / "original", at / "copied")
        (at / "copied").rename(at / "directory" / "moved")
        (at / "directory" / "moved").chmod(0o640)
        (at / "link").symlink_to("directory/moved")
        shutil.copyfile(at / "link", here / "back")
        (at / "gone").write_text("soon removed")
        (at / "gone").unlink()
        assert sorted(each.name for each in at.iterdir()) == ["directory", "link"]
        with pytest.raises(FileNotFoundError):
            (at / "nosuch").read_bytes()


def by_sftp(client: SshClient, place: str, remote: Path, here: Path) -> None:
    """By hand."""
    batch = f"""\
cd {remote}
mkdir directory
put {here}/original copied
rename copied directory/moved
chmod 640 directory/moved
ln -s directory/moved link
get link {here}/back
put {here}/original gone
rm gone
-get nosuch
"""
    done = client.run("-b", "-", place, stdin=batch.encode(), program="sftp").check()
    assert "not found" in done.stderr


def test_directory_of_the_target(client: SshClient, place: str, tmp_path: Path) -> None:
    """Directories, files, links, modes and errors are the target's own."""
    remote = tmp_path / "remote"
    remote.mkdir()
    data = os.urandom(SIZE)
    (tmp_path / "original").write_bytes(data)
    (by_sshfs if fuse_is_here() else by_sftp)(client, place, remote, tmp_path)
    moved = remote / "directory" / "moved"
    assert moved.read_bytes() == (tmp_path / "back").read_bytes() == data
    assert moved.stat().st_mode & 0o777 == 0o640
    assert (remote / "link").readlink() == Path("directory/moved")
    assert sorted(each.name for each in remote.iterdir()) == ["directory", "link"]
