"""Our errors across the wire: the class, the public text and the private reason travel as trailing metadata.

What is not an `InterlockError` becomes INTERNAL without a word of its text; the server logs it. On the client side
whatever is not one of our errors is a `StoreError`: try again later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc

from interlock.adapters.rpc.codec import decode, encode
from interlock.core.errors import (
    Away,
    ConfigError,
    Denied,
    Differs,
    InterlockError,
    Locked,
    NoAnswer,
    NotFound,
    RecordingError,
    RemoteProtocolError,
    Rule,
    SignInFailed,
    StoreError,
    TargetError,
)

TRAILER = "interlock-error-bin"

MAX_TEXT = 512
"""Characters of a text in metadata, which HTTP/2 keeps below 8 KiB in all."""

_MALFORMED = "malformed"
_UNANSWERED = {grpc.StatusCode.UNAVAILABLE: Away, grpc.StatusCode.DEADLINE_EXCEEDED: NoAnswer}
_CLASSES: dict[str, tuple[type[InterlockError], grpc.StatusCode]] = {
    "locked": (Locked, grpc.StatusCode.PERMISSION_DENIED),  # before the class that it belongs to
    "denied": (Denied, grpc.StatusCode.PERMISSION_DENIED),
    "sign-in": (SignInFailed, grpc.StatusCode.UNAUTHENTICATED),
    "not-found": (NotFound, grpc.StatusCode.NOT_FOUND),
    "target": (TargetError, grpc.StatusCode.FAILED_PRECONDITION),
    "recording": (RecordingError, grpc.StatusCode.FAILED_PRECONDITION),
    "config": (ConfigError, grpc.StatusCode.FAILED_PRECONDITION),
    "differs": (Differs, grpc.StatusCode.DATA_LOSS),  # likewise
    "store": (StoreError, grpc.StatusCode.UNAVAILABLE),
}


@dataclass(frozen=True, slots=True)
class WireError:
    """An error as it travels."""

    kind: str
    public: str
    reason: str


def to_status(error: Exception) -> tuple[grpc.StatusCode, bytes]:
    """Status code and trailer for an error; one that is not ours loses its text.

    The reason of a failed sign-in stays here: whoever asks has not said who they are yet.
    """
    if isinstance(error, RemoteProtocolError):
        return grpc.StatusCode.INVALID_ARGUMENT, encode(WireError(_MALFORMED, "", error.reason[:MAX_TEXT]))
    for kind, (cls, code) in _CLASSES.items():
        if isinstance(error, cls):
            reason = "" if cls is SignInFailed else error.reason[:MAX_TEXT]
            return code, encode(WireError(kind, error.public[:MAX_TEXT], reason))
    return grpc.StatusCode.INTERNAL, encode(WireError("store", "auth failed", ""))


def from_status(error: grpc.aio.AioRpcError) -> InterlockError:
    """The error to raise on the client's side for a failed call."""
    trailer = _trailer(error)
    if trailer is not None:
        return _rebuild(trailer)
    if error.code() is grpc.StatusCode.INTERNAL:
        return StoreError("auth failed", reason=f"auth reported an internal error: {error.details()}")
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return StoreError("auth is of an older version", reason=f"auth does not know this yet: {error.details()}")
    public = "auth cannot be reached"
    return _UNANSWERED.get(error.code(), StoreError)(
        public, reason=f"{public}: {error.code().name} {error.details()}"
    )


def is_broken(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call failed because the connection to auth did, and not because auth said so."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _trailer(error) is None


def is_local(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC itself failed here: a server of ours says with every INTERNAL that it was it (`to_status`)."""
    return error.code() is grpc.StatusCode.INTERNAL and _trailer(error) is None


def _trailer(error: grpc.aio.AioRpcError) -> bytes | None:
    # The stubs describe the synchronous API here; the asyncio one has plain pairs.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    return next((value for name, value in pairs if name == TRAILER and isinstance(value, bytes)), None)


def _rebuild(trailer: bytes) -> InterlockError:
    try:
        carried = decode(trailer, WireError)
        if carried.kind == _MALFORMED:
            return RemoteProtocolError(Rule.MALFORMED_MESSAGE, carried.reason)
        return _CLASSES[carried.kind][0](carried.public, reason=carried.reason)
    except (RemoteProtocolError, KeyError):
        return StoreError("auth failed", reason="auth reported an error of an unknown kind")
