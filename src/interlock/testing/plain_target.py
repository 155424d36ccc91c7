"""A plain SSH server for a `Gateway` in memory to reach, which does a few things on command."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.domain.target import Target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import Footprint, Gateway


class Chatter(asyncssh.SSHServer):
    """Admits everybody."""

    def begin_auth(self, username: str) -> bool:
        """No authentication: the gateway's certificate is another test's subject."""
        del username
        return False


@contextlib.asynccontextmanager
async def plain_target(world: Gateway, name: str = "plain1", **options: Any) -> AsyncIterator[Target]:
    """An asyncssh server that runs `do` for every command, listed under ``name``. ``options``: asyncssh's."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    defaults = {"server_factory": Chatter, "encryption_algs": [*algorithms.ALL_CIPHERS], "config": None}
    acceptor = await asyncssh.listen(
        LOOPBACK,
        0,
        server_host_keys=[key],
        process_factory=do,
        encoding=None,
        line_editor=False,
        **defaults | options,
    )
    idle, world.idle = world.idle, Footprint.take()
    try:
        yield world.add_target(name, acceptor.get_port(), host_keys=[key.export_public_key().decode()])
    finally:
        world.idle = idle
        acceptor.close()
        await acceptor.wait_closed()


async def do(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """What a `PlainTarget` does for a command: a small language, so that tests start no processes.

    ``exit N`` · ``signal NAME`` · ``cat`` · ``send N`` · ``take`` (says the hash) · ``both N`` · ``stderr``
    """
    verb, _, argument = (process.command or "shell").partition(" ")
    try:
        match verb:
            case "exit":
                process.exit(int(argument))
                return
            case "signal":
                process.exit_with_signal(argument)
                return
            case "send":
                await _send(process, int(argument))
            case "take":
                process.stdout.write((await _take(process)).encode())
            case "both":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_send(process, int(argument)))
                    taken = tasks.create_task(_take(process))
                process.stderr.write(taken.result().encode())
            case "stderr":
                process.stderr.write(b"to stderr")
            case _:
                await _echo(process)
        process.exit(0)
    except (asyncssh.BreakReceived, BrokenPipeError, ConnectionError):
        process.close()


def bulk(size: int) -> bytes:
    """Bytes that do not repeat within a packet, the same each time."""
    return (hashlib.sha256(b"bulk").digest() * 1021)[: 32 * 1021] * (size // 32672) + bytes(size % 32672)


async def _send(process: asyncssh.SSHServerProcess[bytes], size: int) -> None:
    data = bulk(size)
    for at in range(0, size, 65536):
        process.stdout.write(data[at : at + 65536])
        await process.stdout.drain()


async def _take(process: asyncssh.SSHServerProcess[bytes]) -> str:
    digest = hashlib.sha256()
    while data := await process.stdin.read(65536):
        digest.update(data)
    return digest.hexdigest()


async def _echo(process: asyncssh.SSHServerProcess[bytes]) -> None:
    ended = False
    while not ended:
        with contextlib.suppress(asyncssh.TerminalSizeChanged):
            data = await process.stdin.read(65536)
            ended = not data
            process.stdout.write(data)
            await process.stdout.drain()
