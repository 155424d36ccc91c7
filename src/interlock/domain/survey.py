"""What a recording file contains, learned without playing it: for recovery after a crash, and for listings."""

from collections.abc import Iterable
from dataclasses import dataclass

from interlock.core.errors import RecordingError
from interlock.core.limits import MAX_COVERED
from interlock.domain.audit import JsonValue
from interlock.domain.blocks import SYNC, Decoder, read_all
from interlock.domain.casting import marker_text
from interlock.domain.coverage import Covered, Manifest, coverage_field
from interlock.domain.recording import DIED, Coverage, Frame, Header, Marker
from interlock.domain.session import Exit, Window


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file that may have been cut off contains."""

    header: Header | None  # None: nothing of it can be used
    salt: bytes
    good: int  # bytes up to the end of the last whole block
    lost: int  # bytes that belong to no whole block
    last: int  # time of the last frame, microseconds after the start
    resizes: int
    exit: Exit | None  # None: the writer did not get to finish
    coverage: tuple[Covered, ...] = ()  # rows of the manifest; all of them if the writer got to finish
    gaps: tuple[Marker, ...] = ()  # what the writer says that it did not keep, the first ones


def survey(chunks: Iterable[bytes]) -> Survey:
    """Read a whole file for what is in it; never raises for its contents."""
    decoder = Decoder()
    last = resizes = 0
    ended: Exit | None = None
    manifest = Manifest()
    gaps: list[Marker] = []
    try:
        for frame in read_all(decoder, chunks):
            last = max(last, frame.at)
            match frame.body:
                case Window():
                    resizes += 1
                case Exit():
                    ended = frame.body
                case Coverage(rows, final):
                    manifest = Manifest() if final else manifest
                    for row in rows:
                        manifest.add(row)
                case Marker() if len(gaps) < MAX_COVERED:
                    gaps.append(frame.body)
                case _:
                    pass
    except RecordingError:
        return Survey(None, b"", 0, 0, 0, 0, None)
    return Survey(
        decoder.header,
        decoder.salt,
        decoder.good,
        decoder.lost,
        last,
        resizes,
        ended,
        manifest.rows,
        tuple(gaps),
    )


def summary(chunks: Iterable[bytes]) -> dict[str, JsonValue]:
    """What a recording covers, for a person: whose it is, whether it was closed, the manifest, the gaps in words.

    RecordingError if the file is no recording.
    """
    found = survey(chunks)
    if found.header is None:
        raise RecordingError("this is not a recording", reason="no header")
    return {
        "sid": found.header.sid,
        "mode": found.header.mode,
        "recorded_by": found.header.recorded_by,
        "closed": found.exit is not None,
        "unreadable_bytes": found.lost,
        **coverage_field(found.coverage),
        "gaps": [marker_text(each) for each in found.gaps],
    }


def describe(chunks: Iterable[bytes], tail: bytes) -> dict[str, JsonValue]:
    """A recording's header as listings show it, with its length, from the file's start and its last bytes.

    Empty if the header cannot be read; without ``duration_ms`` if the recording was not closed, with ``cut_off``
    if it was closed because its recorder had died.
    """
    decoder = Decoder()
    try:
        for chunk in chunks:
            for _ in decoder.feed(chunk):
                break
            if decoder.header is not None:
                break
    except RecordingError:
        return {}
    if decoder.header is None:
        return {}
    header = decoder.header
    meta: dict[str, JsonValue] = {
        "sid": header.sid,
        "user": header.user,
        "login": header.login,
        "hostname": header.hostname,
        "target_id": header.target_id,
        "sub_kind": header.sub_kind,
        "recorded_by": header.recorded_by,
        "mode": header.mode,
        "kind": header.kind,
        "command": header.command,
        "start": header.start,
        "cluster": header.cluster,
        "interactive": header.interactive,
    }
    if header.origin_cluster:
        meta["origin_cluster"] = header.origin_cluster
    last = _last_frames(tail, decoder.salt)
    if last and isinstance(last[-1].body, Exit):
        meta["duration_ms"] = last[-1].at // 1000
        if last[-1].body.error == DIED:
            meta["cut_off"] = True
    return meta


def _last_frames(tail: bytes, salt: bytes) -> list[Frame]:
    """The frames of the last whole block in the last bytes of a file, to learn its length without reading it."""
    decoder = Decoder.inside(salt)
    start = tail.rfind(SYNC)
    while start >= 0:
        frames = list(decoder.feed(tail[start:]))
        if frames:
            return frames
        decoder = Decoder.inside(salt)
        start = tail.rfind(SYNC, 0, start)
    return []
