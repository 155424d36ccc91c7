"""What a recording file contains, learned without playing it: for recovery after a crash, and for listings."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from interlock.core.errors import RecordingError
from interlock.core.limits import MAX_COVERED
from interlock.domain.audit import JsonValue
from interlock.domain.casting import marker_text
from interlock.domain.container import CLOSING, SYNC, Chain, Decoder, Point, SealState, read_all
from interlock.domain.container.blocks import FORMAT_1, VERSION, Continued, Loose
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
    resizes: int  # that can be read: none of what is encrypted
    exit: Exit | None  # None: the writer did not get to finish
    coverage: tuple[Covered, ...] = ()  # rows of the manifest; all of them if the writer got to finish
    gaps: tuple[Marker, ...] = ()  # what the writer says that it did not keep, the first ones
    version: int = VERSION
    points: tuple[Point, ...] = ()  # for the seek index
    closed: bool = False  # nothing is to be added
    chain: Chain | None = field(default=None, compare=False)  # where a file of format 2 goes on

    def continued(self) -> Continued:
        """For the blocks of an end, behind the last whole block."""
        return Loose(self.salt) if self.chain is None else self.chain


def survey(chunks: Iterable[bytes]) -> Survey:
    """Read a whole file for what is in it; never raises for its contents."""
    decoder = Decoder(blind=True)
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
    seal, old = decoder.seal, decoder.version == FORMAT_1
    return Survey(
        decoder.header,
        decoder.salt,
        decoder.good,
        decoder.lost,
        last if old else max(last, decoder.last),
        resizes,
        ended,
        manifest.rows,
        tuple(gaps),
        decoder.version,
        () if old else decoder.points.found,
        closed=ended is not None if old else seal is not None and seal.state in CLOSING,
        chain=None if old else Chain.after(decoder.salt, decoder.block),
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
    decoder = Decoder(blind=True)
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
    if (ended := _end(tail, decoder)) is not None:
        meta["duration_ms"] = ended[0] // 1000
        if ended[1]:
            meta["cut_off"] = True
    return meta


def _end(tail: bytes, whole: Decoder) -> tuple[int, bool] | None:
    """A recording's length, and whether its recorder died, from the file's last block; None if it goes on.

    ``whole`` has read the file's beginning; ``tail`` are its last bytes.
    """
    start = tail.rfind(SYNC)
    while start >= 0:
        decoder = Decoder.inside(whole.version, whole.salt, blind=True)
        frames = list(decoder.feed(tail[start:]))
        if decoder.block is not None:
            return _ended(decoder, frames)
        start = tail.rfind(SYNC, 0, start)
    return None


def _ended(last: Decoder, frames: list[Frame]) -> tuple[int, bool] | None:
    if frames and isinstance(frames[-1].body, Exit):  # format 1, or its seal is still due
        return frames[-1].at, frames[-1].body.error == DIED
    if last.block is None or last.seal is None or last.seal.state not in CLOSING:
        return None
    return last.block.head.last, last.seal.state is SealState.COMPLETED
