"""Recordings in other people's formats: asciicast v2 and v3, plain text, JSON lines.

All are generators over frames, in constant memory. Characters that were split across packets are joined here, so
the text does not depend on how it was packed. JSON is written in ASCII: what a recording holds cannot act on the
terminal that prints an export. An asciicast keeps the session's escape sequences, since players need them.
"""

import json
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from interlock.core.errors import RecordingError
from interlock.domain.recording import MICROSECONDS, Coverage, Frame, Header, Marker, Output, Stream
from interlock.domain.session import Exit, Window
from interlock.domain.terminal import plain_text

DEFAULT_WINDOW = Window(80, 24)
"""For sessions without a terminal, or whose client did not know its size."""


class _Joiner:
    """Text of one stream, from bytes in any pieces."""

    def __init__(self, *, interactive: bool) -> None:
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._interactive = interactive
        self._after_return = False

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The characters that are now complete."""
        text = self._decode(data, final)
        if self._interactive or not text:
            return text
        # No terminal turned line feeds into new lines; a player would draw a staircase.
        lines = text.replace("\r\n", "\n").replace("\n", "\r\n")
        if self._after_return and text[0] == "\n":
            lines = lines[1:]
        self._after_return = text[-1] == "\r"
        return lines


class _Session:
    """What the exports have in common: the header, and the streams' text."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = iter(frames)
        first = next(self._frames, None)
        if first is None or not isinstance(first.body, Header):
            raise RecordingError("the recording is damaged", reason="the first frame is no header")
        self.header = first.body
        self.last = 0
        self._joiners = {stream: _Joiner(interactive=self.header.interactive) for stream in Stream}

    def events(self) -> Iterator[tuple[int, str | Window | Marker | Exit, Stream]]:
        """Everything after the header, with its time; output as text."""
        ended: Exit | None = None
        for frame in self._frames:
            self.last = frame.at
            match frame.body:
                case Output(stream, data):
                    text = self._joiners[stream].feed(data)
                    if text:
                        yield frame.at, text, stream
                case Exit():
                    ended = frame.body
                case Window() | Marker():
                    yield frame.at, frame.body, Stream.STDOUT
                case Header() | Coverage():
                    pass
        for stream, joiner in self._joiners.items():
            if text := joiner.feed(b"", final=True):
                yield self.last, text, stream
        if ended is not None:
            yield self.last, ended, Stream.STDOUT


def asciicast_v2(frames: Iterable[Frame]) -> Iterator[str]:
    """Lines of an asciicast v2 file; times since the start."""
    session = _Session(frames)
    header = session.header
    window = _window(header)
    yield _line(
        {"version": 2, "width": window.cols, "height": window.rows, "timestamp": _timestamp(header)}
        | _described(header)
        | ({"env": {"TERM": header.term}} if header.term else {})
    )
    for at, body, stream in session.events():
        match body:
            case str():
                yield _line([_seconds(at), _code(stream), body])
            case Window():
                yield _line([_seconds(at), "r", f"{body.cols}x{body.rows}"])
            case Marker():
                yield _line([_seconds(at), "m", marker_text(body)])
            case Exit():
                pass  # v2 has no event for it


def asciicast_v3(frames: Iterable[Frame]) -> Iterator[str]:
    """Lines of an asciicast v3 file; times since the event before."""
    session = _Session(frames)
    header = session.header
    window = _window(header)
    term: dict[str, str | int] = {"cols": window.cols, "rows": window.rows}
    if header.term:
        term["type"] = header.term
    yield _line({"version": 3, "term": term, "timestamp": _timestamp(header)} | _described(header))
    before = 0
    for at, body, stream in session.events():
        # Rounded against the start, so that the errors of many small intervals do not add up.
        interval = (at // 1000 - before) / 1000
        before = at // 1000
        match body:
            case str():
                yield _line([interval, _code(stream), body])
            case Window():
                yield _line([interval, "r", f"{body.cols}x{body.rows}"])
            case Marker():
                yield _line([interval, "m", marker_text(body)])
            case Exit():
                yield _line([interval, "x", str(1 if body.status is None else body.status)])


def text(frames: Iterable[Frame]) -> Iterator[str]:
    """The words that a session showed, without any escape sequence."""
    streams = {stream: plain_text() for stream in Stream}
    for frame in frames:
        match frame.body:
            case Output(Stream.STDIN):
                pass
            case Output(stream, data):
                if shown := streams[stream].feed(data):
                    yield shown
            case Marker():
                held = "".join(stream_filter.close() for stream_filter in streams.values())
                yield f"{held}\n[{marker_text(frame.body)}]\n"
            case Header() | Window() | Coverage() | Exit():
                pass
    for stream_filter in streams.values():
        if shown := stream_filter.close():
            yield shown


def json_lines(frames: Iterable[Frame]) -> Iterator[str]:
    """One JSON object per line: header, output, input, resize, marker, exit; ``ms`` since the start."""
    session = _Session(frames)
    header = session.header
    yield _line({"type": "header", "ms": 0} | {name: getattr(header, name) for name in _HEADER_FIELDS})
    for at, body, stream in session.events():
        ms = at // 1000
        match body:
            case str():
                kind = "input" if stream is Stream.STDIN else "output"
                yield _line({"type": kind, "ms": ms, "stream": stream.name.lower(), "text": body})
            case Window():
                yield _line({"type": "resize", "ms": ms, "cols": body.cols, "rows": body.rows})
            case Marker():
                counts = {"stdout": body.stdout, "stderr": body.stderr, "stdin": body.stdin, "lost": body.lost}
                yield _line({"type": "marker", "ms": ms, "what": body.what, "why": body.why} | counts)
            case Exit():
                ended = {"status": body.status, "signal": body.signal, "error": body.error}
                yield _line({"type": "exit", "ms": ms} | ended)


FORMATS: dict[str, Callable[[Iterable[Frame]], Iterator[str]]] = {
    "asciicast-v2": asciicast_v2,
    "asciicast-v3": asciicast_v3,
    "text": text,
    "json": json_lines,
}
"""Every export, by the name that the command lines use."""

_HEADER_FIELDS = (
    "sid", "user", "login", "hostname", "target_id", "sub_kind", "recorded_by", "mode", "kind", "command",
    "start", "cluster", "interactive", "cols", "rows", "term",
)  # fmt: skip


def _window(header: Header) -> Window:
    return Window(header.cols, header.rows) if header.cols and header.rows else DEFAULT_WINDOW


def _described(header: Header) -> dict[str, object]:
    title = f"{header.user} as {header.login} on {header.hostname} ({header.sid})"
    described: dict[str, object] = {"title": title}
    return described | ({"command": header.command} if header.command else {})


def _timestamp(header: Header) -> int:
    try:
        return int(datetime.fromisoformat(header.start).timestamp())
    except ValueError:
        return 0


def marker_text(marker: Marker) -> str:
    """A marker in words, without controls: a file from elsewhere may hold anything."""
    counts = {
        "stdout": marker.stdout,
        "stderr": marker.stderr,
        "stdin": marker.stdin,
        "recording": marker.lost,
    }
    missing = ", ".join(f"{count} bytes of {name}" for name, count in counts.items() if count)
    words = f"{marker.what}: {missing} not kept: {marker.why}"
    return "".join(char for char in words if char.isprintable())


def _code(stream: Stream) -> str:
    return "i" if stream is Stream.STDIN else "o"


def _seconds(at: int) -> float:
    return round(at / MICROSECONDS, 6)


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
