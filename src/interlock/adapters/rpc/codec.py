"""Values to bytes and back: msgpack by msgspec, checked against the types of `messages`."""

from datetime import datetime
from typing import TypeVar

import msgspec

from interlock.adapters.rpc.messages import WireEvent, WireValue
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.domain.audit import AuditEvent, JsonValue, Kind

T = TypeVar("T")


def encode(value: object) -> bytes:
    """The value as msgpack. Bytes that were not UTF-8 (surrogates in a command, say) become visible escapes."""
    try:
        return msgspec.msgpack.encode(value)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, datetime))
        return msgspec.msgpack.encode(_visible(plain))


def decode(raw: bytes, wanted: type[T]) -> T:
    """The value that the bytes say; RemoteProtocolError if they are no msgpack or of another shape."""
    try:
        return msgspec.msgpack.decode(raw, type=wanted)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"not a {wanted.__name__}: {error}") from None


def to_wire(event: AuditEvent) -> WireEvent:
    """An event as it travels."""
    fields = {name: _loosen(value) for name, value in event.fields.items()}
    return WireEvent(event.kind.name, event.time, event.uid, event.cluster, event.sid, event.index, fields)


def from_wire(event: WireEvent) -> AuditEvent:
    """An event that arrived; RemoteProtocolError if this version does not know its kind."""
    try:
        kind = Kind[event.kind]
    except KeyError:
        detail = f"an audit event of unknown kind {event.kind[:64]!r}"
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, detail) from None
    fields = {name: _tighten(value) for name, value in event.fields.items()}
    return AuditEvent(kind, event.time, event.uid, event.cluster, event.sid, event.index, fields)


def _visible(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_visible(key): _visible(each) for key, each in value.items()}
        case list() | tuple():
            return [_visible(each) for each in value]
        case _:
            return value


def _loosen(value: JsonValue) -> WireValue:
    if isinstance(value, list):
        return list[str | dict[str, str | int]](value)
    return value


def _tighten(value: WireValue) -> JsonValue:
    if not isinstance(value, list):
        return value
    texts = [item for item in value if isinstance(item, str)]
    if len(texts) == len(value):
        return texts
    tables = [item for item in value if isinstance(item, dict)]
    if len(tables) != len(value):
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "an audit event mixes texts and tables in one list")
    return tables
