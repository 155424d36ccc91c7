"""What a gateway's processes share on the disk: private, short enough, and gone afterwards."""

from pathlib import Path

import pytest

from interlock.adapters.ssh.tunnel.neighbours import listen_at, socket_path
from interlock.core.errors import ConfigError
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.shelf import Shelf, worker_board
from interlock.testing.entropy import FakeEntropy

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
PROXY = DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52")


def deep(directory: Path) -> Path:
    """A data directory whose path is too long for a socket below it."""
    found = directory / ("d" * 60) / ("e" * 60)
    found.mkdir(parents=True)
    return found


def test_a_new_one_is_empty(tmp_path: Path) -> None:
    """Nobody holds a claim before the gateway has begun, whatever a killed one has left."""
    first = Shelf.make(tmp_path, FakeEntropy())
    assert first.board.post(SID, PROXY)
    second = Shelf.make(tmp_path, FakeEntropy())
    assert second.board.posted(SID) is None
    assert worker_board(tmp_path, "w1").post(SID, PROXY)
    assert second.board.posted(SID) is not None
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("long", [False, True])
def test_a_socket_can_be_made_and_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool) -> None:
    """However long the data directory's path is; one that was left is no obstacle."""
    runtime = Path("/tmp") / f"il-{tmp_path.name[-20:]}"
    runtime.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = deep(tmp_path) if long else tmp_path
    shelf = Shelf.make(data, FakeEntropy())
    for _ in range(2):
        path = socket_path(shelf.sockets, SID)
        with listen_at(path):
            assert path.stat().st_mode & 0o777 == 0o600
            assert shelf.sockets.stat().st_mode & 0o777 == 0o700
        shelf = Shelf.make(data, FakeEntropy())
    shelf.clear()
    assert not shelf.sockets.exists()
    assert not (data / "run").exists()
    runtime.rmdir()


def test_a_directory_that_somebody_else_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp anybody could."""
    runtime = Path("/tmp") / f"il-{tmp_path.name[-20:]}"
    runtime.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = deep(tmp_path)
    sockets = Shelf.make(data, FakeEntropy()).sockets
    sockets.chmod(0o777)
    with pytest.raises(ConfigError, match="somebody else"):
        Shelf.make(data, FakeEntropy())
    sockets.rmdir()
    sockets.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="somebody else"):
        Shelf.make(data, FakeEntropy())
    sockets.unlink()
    runtime.rmdir()
