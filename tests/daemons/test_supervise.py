"""One daemon per data directory; signals become an orderly stop."""

import asyncio
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.supervise import finished, lock_descriptor, sole_user, stop_on_signals


def test_a_second_daemon_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """The sentence names the directory and the process."""
    directory = tmp_path / "data"
    with sole_user(directory), pytest.raises(ConfigError) as caught, sole_user(directory):
        pass
    assert str(directory) in caught.value.public
    assert str(os.getpid()) in caught.value.public


def test_the_directory_is_free_after_an_error(tmp_path: Path) -> None:
    """Whatever ended the first one."""
    with pytest.raises(RuntimeError), sole_user(tmp_path / "data"):
        raise RuntimeError
    with sole_user(tmp_path / "data"):
        pass


def test_the_directory_is_private(tmp_path: Path) -> None:
    """It is made with mode 0700, and one that others may enter is refused."""
    directory = tmp_path / "data"
    with sole_user(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"), sole_user(directory):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_for_a_stop(number: signal.Signals) -> None:
    """Both the service manager's signal and Ctrl-C."""
    stopping = asyncio.Event()
    with stop_on_signals(stopping):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stopping.wait(), 5)


async def test_tasks_are_waited_for_and_then_cancelled() -> None:
    """One that ends in time ends by itself."""
    quick = asyncio.create_task(asyncio.sleep(0))
    stuck = asyncio.create_task(asyncio.sleep(3600))
    await finished(quick, within=5)
    assert quick.done()
    await finished(stuck, within=0.01)
    with pytest.raises(asyncio.CancelledError):
        await stuck


def test_the_workers_of_a_dead_supervisor_are_waited_for(tmp_path: Path) -> None:
    """They have inherited the lock, and hold it until their sessions have ended."""
    directory = tmp_path / "data"
    with sole_user(directory):
        inherited = os.dup(lock_descriptor(directory))
    process = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, check=True)
    (directory / "lock").write_bytes(process.stdout)  # a process that is gone
    timer = threading.Timer(0.3, os.close, [inherited])
    timer.start()
    with sole_user(directory):
        assert timer.finished.is_set()


def test_the_workers_of_a_living_supervisor_are_not(tmp_path: Path) -> None:
    """Another start is refused at once."""
    directory = tmp_path / "data"
    with sole_user(directory):
        inherited = os.dup(lock_descriptor(directory))
    with pytest.raises(ConfigError, match="another interlock runs"), sole_user(directory):
        pass
    os.close(inherited)
