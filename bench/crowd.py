"""Many idle sessions, held open by one small process of their own: ``python -m bench.crowd HOST PORT USER KEY``.

Not the real ``ssh``: two thousand of those would be most of what the machine does. It reads numbers, opens as many
sessions in all, each with a terminal and a connection of its own, and answers with the number when they are there.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncssh

from interlock.testing.openssh import Key, clean_env
from interlock.testing.procs import KitError

OPENERS = 20
"""Sessions that are being opened at once."""

COMMAND = "exec sleep 100000"


class Crowd:
    """The process, seen from the bench."""

    def __init__(self, host: str, port: int, user: str, key: Key) -> None:
        self.size = 0
        argv = [sys.executable, "-m", "bench.crowd", host, str(port), user, str(key.path)]
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
            env=clean_env(),
        )

    def grow(self, size: int) -> None:
        """Return when that many sessions are open; KitError if they cannot be."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{size}\n")
        self._child.stdin.flush()
        if self._child.stdout.readline().strip() != str(size):
            raise KitError(f"the crowd did not grow to {size} sessions")
        self.size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()


async def hold(host: str, port: int, user: str, key: str) -> None:
    """Do as the lines of standard input say, until it ends."""
    options = asyncssh.SSHClientConnectionOptions(
        username=user,
        client_keys=[key],
        known_hosts=None,
        agent_path=None,
        config=None,
        kex_algs=["curve25519-sha256"],
        encryption_algs=["aes128-gcm@openssh.com"],
        compression_algs=["none"],
        login_timeout=120,
    )
    opening = asyncio.Semaphore(OPENERS)
    held: list[object] = []  # a connection that nobody holds is closed

    async def one() -> None:
        async with opening:
            connection = await asyncssh.connect(host, port, options=options)
            process = await connection.create_process(COMMAND, term_type="xterm", term_size=(80, 24))
            held.append((connection, process))

    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    size = 0
    while line := await reader.readline():
        async with asyncio.TaskGroup() as tasks:
            for number in range(size, int(line)):
                tasks.create_task(one(), name=f"session-{number}")
        size = int(line)
        print(size, flush=True)


if __name__ == "__main__":
    host, port, user, key = sys.argv[1:]
    asyncio.run(hold(host, int(port), user, key))
    os._exit(0)
