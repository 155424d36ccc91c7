"""How a request becomes a reply: who calls, what is asked, the answer; errors in our own words or not at all."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from typing import Generic, TypeVar
from urllib.parse import unquote

import grpc
import structlog

from interlock.adapters.rpc.codec import decode, encode
from interlock.adapters.rpc.faults import TRAILER, to_status
from interlock.adapters.rpc.messages import Method, ReplyT, RequestT
from interlock.core.errors import Denied, InterlockError, RemoteProtocolError, Rule, StoreError
from interlock.services.keys.daemonca import HostIdentity, read_identity
from interlock.services.keys.daemonroots import DaemonCas
from interlock.services.keys.joining import JoinSources

MAX_CALLS = 256
"""Calls with one request and one reply in progress on one listener, and as many uploads; more are refused, and the
daemons try again. Each may hold one message."""

Context = grpc.aio.ServicerContext[bytes, bytes]

CallerT = TypeVar("CallerT")

_log = structlog.get_logger()


class _Places:
    """How many calls of one sort are in progress."""

    def __init__(self) -> None:
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more; StoreError if there are too many."""
        if self._taken >= MAX_CALLS:
            raise StoreError("auth is busy: try again", reason=f"{self._taken} calls are in progress")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Service(Generic[CallerT]):
    """The handlers of one gRPC service. ``identify`` says who calls, ``check`` whether he may; both may refuse."""

    def __init__(
        self,
        name: str,
        identify: Callable[[Context], CallerT],
        check: Callable[[CallerT, str], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self._identify_caller = identify
        self._check = check
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        self._calls, self._uploads = _Places(), _Places()

    def unary(
        self, method: Method[RequestT, ReplyT], handle: Callable[[CallerT, RequestT], Awaitable[ReplyT]]
    ) -> None:
        """Serve a method of one request and one reply."""

        async def answer(raw: bytes, context: Context) -> bytes:
            async def reply() -> ReplyT:
                with self._calls.one():
                    caller = await self._identify(context, method.name)
                    return await handle(caller, decode(raw, method.request))

            return await _answer(method.path, context, reply)

        self._handlers[method.name] = grpc.unary_unary_rpc_method_handler(answer)

    def stream(
        self, method: Method[RequestT, ReplyT], handle: Callable[[CallerT, RequestT], AsyncGenerator[ReplyT, None]]
    ) -> None:
        """Serve a method of one request and a stream of replies; it ends when the caller has enough or fails."""

        async def answer(raw: bytes, context: Context) -> None:
            async def replies() -> None:
                caller = await self._identify(context, method.name)
                async with aclosing(handle(caller, decode(raw, method.request))) as told:
                    async for each in told:
                        await context.write(encode(each))

            await _failing(method.path, context, replies)

        self._handlers[method.name] = grpc.unary_stream_rpc_method_handler(answer)

    def upload(
        self,
        method: Method[RequestT, ReplyT],
        handle: Callable[[CallerT, RequestT, AsyncIterator[bytes]], Awaitable[ReplyT]],
    ) -> None:
        """Serve a method of one request, a stream of bytes after it, and one reply."""

        async def answer(stream: AsyncIterator[bytes], context: Context) -> bytes:
            async def reply() -> ReplyT:
                with self._uploads.one():
                    caller = await self._identify(context, method.name)
                    header = await anext(stream, None)
                    if header is None:
                        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "an upload without a header")
                    return await handle(caller, decode(header, method.request), stream)

            return await _answer(method.path, context, reply)

        self._handlers[method.name] = grpc.stream_unary_rpc_method_handler(answer)

    async def _identify(self, context: Context, method: str) -> CallerT:
        caller = self._identify_caller(context)
        if self._check is not None:
            await self._check(caller, method)
        return caller

    def forget(self, methods: Iterable[str]) -> None:
        """Do not serve these, like a service of before there were any."""
        for each in methods:
            self._handlers.pop(each, None)

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """All of it, for a gRPC server."""
        return grpc.method_handlers_generic_handler(self._name, self._handlers)


async def _answer(path: str, context: Context, reply: Callable[[], Awaitable[object]]) -> bytes:
    answered: list[bytes] = []

    async def once() -> None:
        answered.append(encode(await reply()))

    await _failing(path, context, once)
    return answered[0] if answered else b""


async def _failing(path: str, context: Context, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work``; what goes wrong becomes the status of the call."""
    try:
        await work()
    except InterlockError as error:
        _log.info("rpc.refused", method=path, peer=context.peer(), reason=error.reason)
        code, trailer = to_status(error)
    except Exception as error:  # noqa: BLE001 - a bug; its text stays here and the daemon tries again
        _log.error("rpc.failed", method=path, peer=context.peer(), exc_info=error)
        code, trailer = to_status(error)
    else:
        return
    context.set_code(code)
    context.set_trailing_metadata(((TRAILER, trailer),))


def identify_daemon(cluster: str, cas: DaemonCas) -> Callable[[Context], HostIdentity]:
    """Who calls, by the client certificate that TLS has verified; Denied without one of this cluster."""

    def identify(context: Context) -> HostIdentity:
        certificates = list(context.auth_context().get("x509_pem_cert", ()))
        if len(certificates) != 1:
            raise Denied("a daemon needs a client certificate", reason=f"{context.peer()} came without one")
        shown = certificates[0].decode()
        return cas.certified(shown, read_identity(shown, cluster=cluster))

    return identify


def identify_source(sources: JoinSources) -> Callable[[Context], str]:
    """The address of a caller that is nobody yet; gRPC says ``ipv4:127.0.0.1:4711`` and the like."""

    def identify(context: Context) -> str:
        return sources.of(unquote(context.peer()).partition(":")[2])

    return identify
