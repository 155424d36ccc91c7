"""What travels between daemons arrives as it was, or not at all."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.rpc.codec import decode, encode, from_wire, to_wire
from interlock.adapters.rpc.messages import Admit, Events, Heartbeat, WireEvent
from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import DaemonId
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.target import SubKind, Target

NOW = datetime(2026, 1, 10, 22, 23, 57, 642001, tzinfo=UTC)
NODE = DaemonId("11111111-1111-4111-8111-111111111111")

texts = st.text(max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1)
values = (
    texts
    | numbers
    | st.booleans()
    | st.lists(texts, max_size=3)
    | st.dictionaries(texts, texts, max_size=3)
    | st.lists(st.dictionaries(texts, texts | numbers, max_size=3), max_size=3)
)


@given(kind=st.sampled_from(Kind), index=st.integers(0, 2**31), fields=st.dictionaries(texts, values, max_size=5))
def test_every_event_survives(kind: Kind, index: int, fields: dict[str, object]) -> None:
    """All kinds, all types of fields, times to the microsecond."""
    event = AuditEvent(kind, NOW, "uid", "example", None, index, fields)  # type: ignore[arg-type]  # from hypothesis
    arrived = decode(encode(Events((to_wire(event),))), Events)
    assert [from_wire(each) for each in arrived.events] == [event]


def test_claims_survive_with_every_field() -> None:
    """A restriction that got lost on the way would be a permission (R6)."""
    claims = Claims(
        identity=Identity("alice", ("dev", "ops"), "example"),
        logins=("root",),
        valid_after=NOW,
        valid_before=NOW,
        serial=2**64 - 1,
        forwarded=Forwarded(NODE, NODE, records=True),
        source_networks=("10.0.0.0/8",),
    )
    asked = Admit(claims, "root", NODE)
    assert decode(encode(asked), Admit) == asked


def test_targets_survive() -> None:
    """Enumerations travel by value, mappings as mappings."""
    target = Target(NODE, "db1", "::1", 22, SubKind.NODE, {"a": "b"}, ("key",), "1", NOW)
    report = Heartbeat(target, 30.0)
    assert decode(encode(report), Heartbeat) == report


def test_unknown_kinds_are_malformed() -> None:
    """A newer node's event is refused rather than stored as something else."""
    with pytest.raises(RemoteProtocolError):
        from_wire(WireEvent("NEWER", NOW, "uid", "example"))


def test_lists_of_one_type_only() -> None:
    """An event field is a list of texts or of tables."""
    event = to_wire(AuditEvent(Kind.EXEC, NOW, "uid", "example"))
    with pytest.raises(RemoteProtocolError):
        from_wire(replace(event, fields={"mixed": ["text", {"a": 1}]}))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(raw: bytes) -> None:
    """Nothing else can come out of a decoder."""
    for wanted in (Events, Heartbeat, Admit):
        try:
            decode(raw, wanted)
        except RemoteProtocolError:
            continue


def test_what_is_nested_without_end_is_malformed() -> None:
    """Three bytes of a map with a name that nobody knows, then lists in lists."""
    with pytest.raises(RemoteProtocolError):
        decode(b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", Events)
