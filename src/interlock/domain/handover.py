"""What a leaf's proxy answers a root's forwarder before any channel is opened: who records, and what is there.

The root's word, whether it would record, stands in its signed certificate; this is the leaf's. Exactly one of the
two clusters records a session, and both know which before it can begin (ADR-0012).
"""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from interlock.core.address import parse_address
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import DaemonId, parse_name
from interlock.core.limits import MAX_HAND_OVER, MAX_REASON
from interlock.domain.access import Access
from interlock.domain.target import SubKind, Target


class Refused(msgspec.Struct, frozen=True):
    """The leaf lets nobody through on this connection."""

    message: str  # for the person
    by_policy: bool


class Told(msgspec.Struct, frozen=True):
    """The target, as the leaf's inventory has it."""

    id: str
    hostname: str
    addr: str
    sub_kind: str
    labels: Mapping[str, str]
    version: str = ""


class HandOver(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole answer; fields that are not known are ignored, but not those of ``access`` (R6)."""

    root_records: bool = False
    target: Told | None = None  # absent exactly if refused
    access: Access = Access()  # what the leaf's roles allow on the connection
    refused: Refused | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(HandOver, strict=True)


def accepted(target: Target, access: Access, *, root_records: bool) -> bytes:
    """The answer of a leaf that has reached the target."""
    told = Told(
        target.id, target.hostname, target.addr, target.sub_kind.value, dict(target.labels), target.version
    )
    return _ENCODER.encode(HandOver(root_records, told, access))


def refused(message: str, *, by_policy: bool) -> bytes:
    """The answer of a leaf that has not."""
    return _ENCODER.encode(HandOver(refused=Refused(message[:MAX_REASON], by_policy)))


def parse_hand_over(data: bytes) -> HandOver:
    """Read an answer; RemoteProtocolError if it is malformed or says less than it must."""
    if len(data) > MAX_HAND_OVER:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"a hand-over of {len(data)} bytes")
    try:
        found = _DECODER.decode(data)
        if found.target is not None:
            told_target(found.target)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"hand-over: {str(error)[:200]}") from None
    if (found.target is None) is (found.refused is None):
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "a hand-over must name a target or refuse")
    return found


def told_target(told: Told) -> Target:
    """The target for the root's events; ValueError if the leaf tells what cannot be."""
    host, port = parse_address(told.addr) if told.addr else ("", 0)
    return Target(
        id=DaemonId(str(UUID(told.id))),
        hostname=parse_name(told.hostname),
        host=host,
        port=port,
        sub_kind=SubKind(told.sub_kind),
        labels=dict(told.labels),
        version=told.version[:128],
        tunnel=not told.addr,
    )
