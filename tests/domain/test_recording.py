"""Frames: payloads are what their kind promises, or damage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.coverage import Covered, Level
from interlock.domain.recording import (
    Coverage,
    FrameKind,
    Header,
    Marker,
    Output,
    Stream,
    from_payload,
    resize_payload,
    to_payload,
)
from interlock.domain.session import Exit, Window

HEADER = Header("s", "jeff", "root", "web1", "t", "interlock", "n", "node", "shell", "", "2026", "demo")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FrameKind.HEADER, HEADER),
        (FrameKind.MARKER, Marker("gap", "why", lost=3)),
        (FrameKind.EXIT, Exit(status=0)),
        (FrameKind.EXIT, Exit(signal="KILL")),
        (FrameKind.EXIT, Exit(error="gone")),
        (FrameKind.COVERAGE, Coverage((Covered("session", Level.PARTIAL, "full disk", count=2),), final=True)),
    ],
)
def test_json_payloads_survive_the_round_trip(kind: FrameKind, body: Header | Marker | Coverage | Exit) -> None:
    """Header, marker and exit are JSON."""
    assert from_payload(kind, to_payload(body)) == body


def test_output_is_the_bytes_themselves() -> None:
    """No encoding is assumed."""
    assert from_payload(FrameKind.STDERR, b"\xff") == Output(Stream.STDERR, b"\xff")


@pytest.mark.parametrize("size", [Window(80, 24), Window(0, 0), Window(0xFFFFFFFF, 1)])
def test_any_size_that_the_protocol_allows_is_kept(size: Window) -> None:
    """SSH carries 32-bit sizes."""
    assert from_payload(FrameKind.RESIZE, resize_payload(size)) == size


def test_a_header_of_a_later_version_is_read() -> None:
    """Fields that we do not know are no damage."""
    later = to_payload(HEADER)[:-1] + b',"colour":"blue"}'
    assert from_payload(FrameKind.HEADER, later) == HEADER


@given(st.sampled_from([0, 1, 4, 5, 6, 7, 255]), st.binary(max_size=20))
def test_what_is_not_a_frame_is_damage(kind: int, payload: bytes) -> None:
    """Unknown kinds and wrong payloads are refused in one way."""
    try:
        from_payload(kind, payload)
    except RecordingError:
        return
    assert kind in set(FrameKind) - {FrameKind.STDOUT, FrameKind.STDERR}


@pytest.mark.parametrize("kind", [FrameKind.HEADER, FrameKind.MARKER, FrameKind.EXIT, FrameKind.COVERAGE])
def test_what_is_nested_without_end_is_damage(kind: FrameKind) -> None:
    """A node may have written it, and whoever lists or completes recordings reads it."""
    with pytest.raises(RecordingError):
        from_payload(kind, b'{"event":{"x":' + b"[" * 100_000)
