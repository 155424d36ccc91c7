"""Errors keep their class and both texts across the wire, if they are ours; others lose their text."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from interlock.adapters.rpc.faults import MAX_TEXT, TRAILER, from_status, to_status
from interlock.core.errors import (
    Away,
    ConfigError,
    Denied,
    Differs,
    InterlockError,
    NotFound,
    RecordingError,
    RemoteProtocolError,
    Rule,
    SignInFailed,
    StoreError,
    TargetError,
)


def crossed(error: Exception) -> InterlockError:
    """The error on the other side."""
    code, trailer = to_status(error)
    return from_status(AioRpcError(code, Metadata(), Metadata((TRAILER, trailer)), "details", None))


@pytest.mark.parametrize("cls", [Denied, Differs, NotFound, RecordingError, StoreError, TargetError, ConfigError])
def test_our_errors_keep_class_and_texts(cls: type[InterlockError]) -> None:
    """The person reads one text, the audit log the other."""
    arrived = crossed(cls("public", reason="private"))
    assert (type(arrived), arrived.public, arrived.reason) == (cls, "public", "private")


def test_a_failed_sign_in_keeps_its_reason_to_itself() -> None:
    """Whoever tries a token has not said who they are."""
    arrived = crossed(SignInFailed("not valid", reason="expired yesterday"))
    assert (type(arrived), arrived.reason) == (SignInFailed, "not valid")


def test_a_protocol_error_is_the_peers_offence() -> None:
    """It is not tried again."""
    arrived = crossed(RemoteProtocolError(Rule.MALFORMED_MESSAGE, "what"))
    assert isinstance(arrived, RemoteProtocolError)
    assert "what" in arrived.reason


def test_what_is_not_ours_loses_its_text() -> None:
    """And is tried again."""
    arrived = crossed(RuntimeError("secret"))
    assert isinstance(arrived, StoreError)
    assert "secret" not in arrived.public + arrived.reason


def test_texts_fit_into_metadata() -> None:
    """However long they are."""
    assert len(crossed(Denied("x" * 9000)).public) == MAX_TEXT


@pytest.mark.parametrize("trailer", [None, b"garbage", b""])
def test_an_answer_without_our_trailer_is_tried_again(trailer: bytes | None) -> None:
    """A proxy's or the library's own error, or another version's."""
    metadata = Metadata() if trailer is None else Metadata((TRAILER, trailer))
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED):
        arrived = from_status(AioRpcError(code, Metadata(), metadata, "details", None))
        assert isinstance(arrived, StoreError)
        assert isinstance(arrived, Away) == (trailer is None and code is grpc.StatusCode.UNAVAILABLE)


def test_auth_is_away_only_when_nobody_answers() -> None:
    """What it says of itself is an answer, and nothing older counts beside it (ADR-0023)."""
    late = from_status(AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata(), "", None))
    assert isinstance(late, Away)
    assert type(crossed(StoreError("the database is away"))) is StoreError
