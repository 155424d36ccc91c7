"""Connections from a listener that must not end because one of them could not be taken."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import structlog

PAUSE_S = 1.0
"""Seconds until the next attempt when this process or machine has no descriptor or no memory for another socket;
asyncio's own servers wait as long."""

_OURS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})  # accept(2): the listener is none

Sleep = Callable[[float], Awaitable[None]]

_log = structlog.get_logger()


async def next_caller(listener: socket.socket, sleep: Sleep) -> socket.socket:
    """The next connection, however long there is no room for it.

    OSError only if ``listener`` is not a listener any more.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            caller, _ = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in _OURS:
                raise
            _log.warning("listener.not_accepted", error=repr(error))
            await sleep(PAUSE_S)
        else:
            return caller
