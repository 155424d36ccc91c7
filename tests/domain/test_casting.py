"""Exports: the formats as others read them, and text that does not depend on packets."""

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.casting import FORMATS, asciicast_v2, asciicast_v3, json_lines, text
from interlock.domain.recording import Frame, Header, Marker, Output, Stream
from interlock.domain.session import Exit, Window

SHELL = Header(
    sid="d46d710b-24b9-4f86-af68-d7755636b94b",
    user="jeff",
    login="root",
    hostname="web1",
    target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="shell",
    command="",
    start="2026-01-10T22:23:57.642Z",
    cluster="demo",
    interactive=True,
    cols=80,
    rows=24,
    term="xterm-256color",
)
EXEC = replace(SHELL, kind="exec", command="ls /", interactive=False, cols=0, rows=0, term="")
CRAB = "🦀".encode()

SESSION = [
    Frame(0, SHELL),
    Frame(1_000, Output(Stream.STDOUT, b"a\r\n" + CRAB[:2])),
    Frame(1_500_400, Output(Stream.STDOUT, CRAB[2:])),
    Frame(2_000_600, Window(132, 43)),
    Frame(2_000_900, Marker("truncated", "limit", stdout=7)),
    Frame(3_000_000, Exit(status=3)),
]


def lines(cast: Iterable[str]) -> list[object]:
    """Every line parsed, after a look at its form."""
    rows = list(cast)
    assert all(row.endswith("\n") and row.count("\n") == 1 and row.isascii() for row in rows)
    return [json.loads(row) for row in rows]


def test_asciicast_v2() -> None:
    """Version 2 has absolute seconds, a header with width and height, and resizes as COLSxROWS."""
    assert lines(asciicast_v2(SESSION)) == [
        {
            "version": 2,
            "width": 80,
            "height": 24,
            "timestamp": 1768083837,
            "title": "jeff as root on web1 (d46d710b-24b9-4f86-af68-d7755636b94b)",
            "env": {"TERM": "xterm-256color"},
        },
        [0.001, "o", "a\r\n"],
        [1.5004, "o", "🦀"],
        [2.0006, "r", "132x43"],
        [2.0009, "m", "truncated: 7 bytes of stdout not kept: limit"],
    ]


def test_asciicast_v3() -> None:
    """Version 3 has intervals that add up, the terminal in an object, and the exit status."""
    assert lines(asciicast_v3(SESSION)) == [
        {
            "version": 3,
            "term": {"cols": 80, "rows": 24, "type": "xterm-256color"},
            "timestamp": 1768083837,
            "title": "jeff as root on web1 (d46d710b-24b9-4f86-af68-d7755636b94b)",
        },
        [0.001, "o", "a\r\n"],
        [1.499, "o", "🦀"],
        [0.5, "r", "132x43"],
        [0.0, "m", "truncated: 7 bytes of stdout not kept: limit"],
        [1.0, "x", "3"],
    ]


def test_json_lines() -> None:
    """JSON has every frame with milliseconds since the start, and the header without event fields."""
    rows = lines(json_lines(SESSION))
    assert isinstance(rows[0], dict)
    assert rows[0] | {"type": "header", "sid": SHELL.sid, "user": "jeff"} == rows[0]
    assert "event" not in rows[0]
    assert rows[1:] == [
        {"type": "output", "ms": 1, "stream": "stdout", "text": "a\r\n"},
        {"type": "output", "ms": 1500, "stream": "stdout", "text": "🦀"},
        {"type": "resize", "ms": 2000, "cols": 132, "rows": 43},
        {
            "type": "marker",
            "ms": 2000,
            "what": "truncated",
            "why": "limit",
            "stdout": 7,
            "stderr": 0,
            "stdin": 0,
            "lost": 0,
        },
        {"type": "exit", "ms": 3000, "status": 3, "signal": None, "error": ""},
    ]


def test_text() -> None:
    """Text has the words, and says where something is missing."""
    assert "".join(text(SESSION)) == "a\n🦀\n[truncated: 7 bytes of stdout not kept: limit]\n"


def test_output_without_a_terminal_is_not_drawn_as_a_staircase() -> None:
    """Line feeds become new lines in casts of commands; those that are new lines already do not double."""
    frames = [
        Frame(0, EXEC),
        Frame(1, Output(Stream.STDOUT, b"a\nb\r")),
        Frame(2, Output(Stream.STDERR, b"\ne")),
        Frame(3, Output(Stream.STDOUT, b"\nc")),
    ]
    events = lines(asciicast_v2(frames))
    assert [event[2] for event in events[1:] if isinstance(event, list)] == ["a\r\nb\r", "\r\ne", "\nc"]
    assert events[0] == {
        "version": 2, "width": 80, "height": 24, "timestamp": 1768083837, "command": "ls /",
        "title": "jeff as root on web1 (d46d710b-24b9-4f86-af68-d7755636b94b)",
    }  # fmt: skip


def test_a_character_cut_off_by_the_end_is_shown_as_missing() -> None:
    """The last, incomplete character becomes a replacement character at the last time."""
    events = lines(asciicast_v2([Frame(0, SHELL), Frame(5_000, Output(Stream.STDOUT, b"\xc3"))]))
    assert events[1:] == [[0.005, "o", "\N{REPLACEMENT CHARACTER}"]]


def shown(form: str, header: Header, packets: list[bytes]) -> str:
    """All output of an export, joined."""
    frames = [Frame(0, header), *(Frame(1, Output(Stream.STDOUT, packet)) for packet in packets)]
    rows = FORMATS[form](frames)
    match form:
        case "text":
            return "".join(rows)
        case "json":
            return "".join(event["text"] for event in map(json.loads, rows) if event["type"] == "output")
        case _:
            return "".join(event[2] for event in map(json.loads, list(rows)[1:]))


BYTES = st.one_of(st.binary(max_size=40), st.text("é🦀\r\n\x1b[mA", max_size=40).map(str.encode))


@given(BYTES, st.lists(st.integers(0, 40), max_size=6), st.sampled_from([SHELL, EXEC]))
@pytest.mark.parametrize("form", FORMATS)
def test_a_recording_does_not_depend_on_packet_boundaries(
    form: str, data: bytes, cuts: list[int], header: Header
) -> None:
    """However the output was split into packets, every export shows the same."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    packets = [data[a:b] for a, b in pairwise(edges)]
    assert shown(form, header, packets) == shown(form, header, [data])


@pytest.mark.parametrize("form", FORMATS)
def test_exports_do_not_pass_controls_to_the_terminal_that_prints_them(form: str) -> None:
    """Raw control characters, C1 among them, occur in no export."""
    frames = [Frame(0, SHELL), Frame(1, Output(Stream.STDOUT, "\x1b]52;c;eA==\x07\u009b6n\x05".encode()))]
    joined = "".join(FORMATS[form](frames))
    assert not any(char in joined for char in "\x1b\x07\u009b\x05")


def test_a_recording_without_header_is_damaged() -> None:
    """An export needs to know whose session it is."""
    with pytest.raises(RecordingError):
        list(asciicast_v2([Frame(0, Exit(status=0))]))
