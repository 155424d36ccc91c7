"""Running a daemon as a process: one per data directory, signals become an orderly stop."""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interlock.core.errors import ConfigError
from interlock.daemons.local import prepare_data_dir

_LOCK = "lock"


@contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Hold the directory for this process, making it; ConfigError if another daemon has it or it is not private.

    The kernel frees it whatever ends the process.
    """
    prepare_data_dir(data_dir)
    path = data_dir / _LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            public = f"another interlock runs on {data_dir} already (process {holder})"
            raise ConfigError(public) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


async def finished(*tasks: asyncio.Task[None], within: float) -> None:
    """Return when the tasks have ended; those that have not after so many seconds are cancelled."""
    _done, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        task.cancel()


@contextmanager
def stop_on_signals(stopping: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask for an orderly stop; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stopping.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
