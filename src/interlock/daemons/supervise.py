"""Running a daemon as a process: one per data directory, signals become an orderly stop."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import sleep

from interlock.core.errors import ConfigError
from interlock.daemons.local import prepare_data_dir

ORPHANS_S = 30.0
"""Seconds that the workers of a gateway which was killed may need to end their sessions."""

_LOCK = "lock"
_PAUSE_S = 0.1
_held: dict[Path, int] = {}  # the locks of this process, by directory


@contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Hold the directory for this process, making it; ConfigError if another daemon has it or it is not private.

    The kernel frees it when this process and its workers, which inherit it, have ended, whatever ends them. The
    workers of a process that is gone end by themselves, soon: they are waited for, `ORPHANS_S` at most.
    """
    prepare_data_dir(data_dir)
    path = data_dir / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    try:
        _lock(descriptor, data_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _held[data_dir] = descriptor
        yield
    finally:
        _held.pop(data_dir, None)
        os.close(descriptor)


def lock_descriptor(data_dir: Path) -> int:
    """What a worker has to inherit of the lock that this process holds; KeyError if it holds none."""
    return _held[data_dir]


def holder_of_directory(data_dir: Path) -> int | None:
    """The process whose daemon has the directory; None if none has, 0 if it has not said which."""
    try:
        descriptor = os.open(data_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(holder) if holder.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, data_dir: Path) -> None:
    for tries in count():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            if _lives(holder) or tries * _PAUSE_S >= ORPHANS_S:
                public = f"another interlock runs on {data_dir} (process {holder or '?'}): stop it first"
                raise ConfigError(public) from None
            sleep(_PAUSE_S)
        else:
            return


def _lives(process: str) -> bool:
    """Whether there may be such a process."""
    return not process.isdigit() or Path(f"/proc/{process}").exists()


async def finished(*tasks: asyncio.Task[None], within: float) -> None:
    """Return when the tasks have ended; those that have not after so many seconds are cancelled."""
    _done, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        task.cancel()


@contextmanager
def reload_on_hangup(ask: Callable[[], None]) -> Iterator[None]:
    """SIGHUP asks for a reload."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, ask)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def drain_on_signal(draining: asyncio.Event) -> Iterator[None]:
    """SIGUSR1 asks a proxy to accept nobody any more, and to end with its last session."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, draining.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


@contextmanager
def stop_on_signals(stopping: asyncio.Event, *, on_stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """SIGTERM and SIGINT ask for an orderly stop; a second one ends the process at once.

    ``on_stop`` is called with the first.
    """
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stopping.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stopping.set()
        on_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
