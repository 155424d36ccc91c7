"""Upload calls, whose refusal may come while they are still sending.

gRPC's client loses such refusals: a write that comes too late turns the call's status into an error of gRPC's own,
before or after it has read what the server said. So the status is looked at when it is first there, and again
a few times, and what the server said counts.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import grpc

from interlock.adapters.rpc.faults import is_local

CHECKS, PAUSE_S = 50, 0.02
"""How often, and seconds apart, it is looked for what ended a call: if the connection is there, so is that."""

T = TypeVar("T")

Upload = grpc.aio.StreamStreamCall[bytes, bytes]


async def send(channel: grpc.aio.Channel, path: str, messages: AsyncIterator[bytes]) -> bytes:
    """The one reply to all of the messages, empty without any; AioRpcError as the server has it."""
    # On the wire this is a stream and one reply; calls that gRPC has for that do not look for a status again.
    running: Upload = channel.stream_stream(path, None, None)(messages)
    first: list[grpc.aio.AioRpcError] = []
    running.add_done_callback(lambda _: first.extend(_status(running)))
    try:
        reply = await running.read()
        await running.read()  # the end, or the error that is in its place
    except grpc.aio.AioRpcError as error:
        if is_local(error):
            await _look(running, first)
        raise
    return reply if isinstance(reply, bytes) else b""


async def _look(running: Upload, first: list[grpc.aio.AioRpcError]) -> None:
    """Raise what the server has said, if it has."""
    for _ in range(CHECKS):
        for error in (*first, *_status(running)):
            if not is_local(error):
                raise error
        await asyncio.sleep(PAUSE_S)


def _status(running: Upload) -> list[grpc.aio.AioRpcError]:
    """How a call that is over ended, as of now, if not well."""
    code, details = _now(running.code()), _now(running.details())
    if code is grpc.StatusCode.OK:
        return []
    trailing = _now(running.trailing_metadata())
    return [grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details, "")]


def _now(known: Coroutine[Any, Any, T]) -> T:
    """The result of what has nothing to wait for."""
    try:
        known.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    known.close()
    raise RuntimeError("gRPC has no status of a call that is over")
