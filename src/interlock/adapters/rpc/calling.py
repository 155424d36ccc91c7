"""One call: a request out, a reply back, and every way to fail as an error of ours."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc

from interlock.adapters.rpc.codec import decode, encode
from interlock.adapters.rpc.faults import from_status, is_broken
from interlock.adapters.rpc.messages import Method, ReplyT, RequestT
from interlock.adapters.rpc.uploading import send
from interlock.core.errors import Away

CALL_TIMEOUT_S = 10.0
"""Seconds until a call without a stream counts as lost, with its repetitions."""

REPETITIONS = 2

PAUSE_S = 0.1
"""Seconds before each: gRPC may not have noticed yet that the connection on which the call failed is no more."""

T = TypeVar("T")

Stream = grpc.aio.UnaryStreamCall[bytes, bytes]
"""A call in progress with one request and many replies."""


async def call(channel: grpc.aio.Channel, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
    """Ask for something; an `InterlockError` as the server raised it, Away if there was no answer.

    If the connection breaks meanwhile, another auth may know the answer: it is asked for again.
    """
    raw, loop = encode(request), asyncio.get_running_loop()
    until = loop.time() + CALL_TIMEOUT_S

    async def ask() -> bytes:
        answer: bytes = await channel.unary_unary(method.path, None, None)(raw, timeout=until - loop.time())
        return answer

    async def insist() -> bytes:
        for _ in range(0 if method.once else REPETITIONS):
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if not is_broken(error):
                    raise
            await asyncio.sleep(PAUSE_S)
        return await ask()

    return decode(await _ours(insist), method.reply)


async def upload(
    channel: grpc.aio.Channel, method: Method[RequestT, ReplyT], request: RequestT, chunks: AsyncIterator[bytes]
) -> ReplyT:
    """The same with a stream of bytes after the request; back-pressure is gRPC's."""

    async def stream() -> AsyncIterator[bytes]:
        yield encode(request)
        async for chunk in chunks:
            yield chunk

    return decode(await _ours(lambda: send(channel, method.path, stream())), method.reply)


async def subscribe(
    channel: grpc.aio.Channel, method: Method[RequestT, ReplyT], request: RequestT, running_ones: set[Stream]
) -> AsyncGenerator[ReplyT, None]:
    """The replies as they come, until the caller has enough or cancels the stream in ``running_ones``.

    An `InterlockError` as the server raised it ends them, Away if auth is gone.
    """
    running = channel.unary_stream(method.path, None, None)(encode(request))
    running_ones.add(running)
    replies = aiter(running)
    try:
        while raw := await _ours(lambda: anext(replies, b"")):
            yield decode(raw, method.reply)
    finally:
        running_ones.discard(running)
        running.cancel()


async def _ours(start: Callable[[], Awaitable[bytes]]) -> bytes:
    try:
        return await start()
    except grpc.aio.AioRpcError as error:
        raise from_status(error) from None
    except grpc.aio.UsageError as error:  # the channel was closed for a new one before the call began
        raise Away("auth cannot be reached", reason=f"call on a closed channel: {error}") from None
    except asyncio.CancelledError:
        # gRPC cancels the waiting task's call, not the task, when the channel is closed under it.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Away("auth cannot be reached", reason="the channel was closed during a call") from None
