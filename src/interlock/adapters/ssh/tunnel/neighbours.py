"""The ways between the processes of one gateway: each has a UNIX socket by which the others come in.

A caller names a node, and gets a connection in the tunnel that this node has brought to the process; or it names
the process itself, and gets the SSH server at which people join the sessions that the process holds. After one
question and one answer the socket carries that connection's bytes and nothing else.

The sockets are in a directory that nobody else may enter, and a caller of another user is turned away all the
same. Whoever could get in could do no more than a process of the gateway's user: the connections are SSH's, and
ask for certificates.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from interlock.adapters.ssh.pipe import StreamEnd, link
from interlock.adapters.ssh.tunnel.accepting import Sleep, next_caller
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance, Way
from interlock.core.errors import InterlockError, TargetError
from interlock.core.ids import DaemonId, parse_session_id
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.services.fleet.tunnels import TunnelRegistry

SUFFIX = ".sock"

MAX_CALL = 4096
"""Bytes of a question: a node's ID and the payload of a tunnel's channel."""

MAX_ANSWER = 1024
_HEADER = 4
_PEER = struct.Struct("3i")  # of SO_PEERCRED: process, user, group

ChannelT = TypeVar("ChannelT")
StreamT = TypeVar("StreamT", bound=asyncio.BaseProtocol)
Accept = Callable[[], asyncio.BaseProtocol]

_log = structlog.get_logger()


class Call(msgspec.Struct, frozen=True):
    """The question."""

    to: str  # a node, or the process itself
    payload: bytes  # for the node's tunnel


def socket_path(directory: Path, process: str) -> Path:
    """Where a process is called."""
    return directory / f"{process}{SUFFIX}"


class FarTunnel:
    """A way to a node by another process, or to that process. A `Way`."""

    alive = True

    def __init__(self, path: Path, to: DaemonId) -> None:
        self._path = path
        self._to = to

    def close(self, reason: str) -> None:
        """The process where it ends closes it."""

    async def visit(
        self, payload: bytes, channel: Callable[[], ChannelT], stream: Callable[[], StreamT]
    ) -> ChannelT | StreamT:
        """See `Way.visit`."""
        del channel
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, str(self._path))
            await _send(sock, msgspec.json.encode(Call(self._to, payload)))
            _admitted(await _receive(sock, MAX_ANSWER))
            _, made = await loop.create_unix_connection(stream, sock=sock)
        except OSError as error:
            sock.close()
            raise TargetError("it is not connected to the gateway", reason=repr(error)) from error
        except BaseException:
            sock.close()
            raise
        return made


class NeighbourWays:
    """`entrance.Neighbours`. ``tell``: a node has brought a tunnel here, or it is gone."""

    def __init__(self, directory: Path, tell: Callable[[DaemonId, bool], None]) -> None:
        self._directory = directory
        self._tell = tell
        self._known: dict[tuple[str, DaemonId], list[FarTunnel]] = {}  # by process and node

    def named(self, name: DaemonId) -> FarTunnel | None:
        """See `entrance.Neighbours`."""
        try:
            path = socket_path(self._directory, parse_session_id(name))  # a process's name has the form of an ID
        except ValueError:
            return None
        return FarTunnel(path, name) if path.is_socket() else None

    def brought(self, node: DaemonId) -> None:
        """See `entrance.Neighbours`."""
        self._tell(node, True)

    def lost(self, node: DaemonId) -> None:
        """See `entrance.Neighbours`."""
        self._tell(node, False)

    def heard(self, registry: TunnelRegistry[Way], process: str, node: DaemonId, *, up: bool) -> None:
        """A tunnel of the node has come to another process, or is gone from there."""
        known = self._known.setdefault((process, node), [])
        if up:
            known.append(FarTunnel(socket_path(self._directory, process), node))
            registry.add(node, known[-1])
        elif known:
            registry.remove(node, known.pop(0))
        if not known:
            del self._known[process, node]


class Hatch:
    """Where the other processes come in. `run` belongs into a TaskGroup."""

    def __init__(
        self,
        own: str,
        tunnels: TunnelEntrance,
        joins: Callable[[], Awaitable[Accept]],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``own``: this process's name. ``joins``: makes what takes connections of people who join sessions."""
        self._sleep = sleep
        self._own = own
        self._tunnels = tunnels
        self._joins = joins

    async def run(self, listener: socket.socket) -> None:
        """Let callers in until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                caller = await next_caller(listener, self._sleep)
                tasks.create_task(self._serve(caller), name="hatch.caller")

    async def _serve(self, caller: socket.socket) -> None:
        """What goes wrong is the caller's to know, and ends nothing else."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await self._answer(caller)
        except InterlockError as error:
            with contextlib.suppress(OSError):
                await _send(caller, error.public.encode()[:MAX_ANSWER])
            caller.close()
        except (OSError, TimeoutError) as error:
            _log.warning("hatch.caller_failed", error=repr(error))
            caller.close()

    async def _answer(self, caller: socket.socket) -> None:
        _, user, _ = _PEER.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if user != os.geteuid():
            raise PermissionError(f"user {user} called")
        call = _parse_call(await _receive(caller, MAX_CALL))
        loop = asyncio.get_running_loop()
        if call.to == self._own:
            accept = await self._joins()
            await _send(caller, b"")
            await loop.create_unix_connection(accept, sock=caller)
            return
        end = await self._tunnels.visit_here(DaemonId(call.to), call.payload)
        try:
            await _send(caller, b"")
            _, stream = await loop.create_unix_connection(StreamEnd, sock=caller)
        except BaseException:
            end.close()
            raise
        link(stream, end)
        stream.resume()
        end.resume()


def listen_at(path: Path) -> socket.socket:
    """A listening socket that only this user may use; OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)  # the directory has kept others out until now
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _parse_call(message: bytes) -> Call:
    """The question; ConnectionError if it is none."""
    try:
        return msgspec.json.decode(message, type=Call)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise ConnectionError(f"a malformed question: {str(error)[:200]}") from None


def _admitted(answer: bytes) -> None:
    if answer:
        raise TargetError(answer.decode("utf-8", "replace"))


async def _send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, len(data).to_bytes(_HEADER) + data)


async def _receive(sock: socket.socket, limit: int) -> bytes:
    """One message; ConnectionError if it is cut short or too long. Not a byte beyond it is read."""
    size = int.from_bytes(await _exactly(sock, _HEADER))
    if size > limit:
        raise ConnectionError(f"a message of {size} bytes")
    return await _exactly(sock, size)


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not piece:
            raise ConnectionError("the other process has gone")
        data += piece
    return data
