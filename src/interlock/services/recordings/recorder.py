"""Turns what a session shows into blocks on disk, on the path of its packets: synchronous, no task, no await.

A block is written when it is full or 100 ms after its first byte, whichever comes first, so a crash costs at most
that much. Strict is the rule: when the disk fails, the owner is told once and ends the session. By best effort the
session goes on: the disk is tried again every second, and what was not kept is marked as a gap. Nothing that the
client sends changes what is kept; only the presence of a terminal and the byte limit of its roles do.
"""

from collections.abc import Callable, Sequence

from zstandard import ZstdCompressor

from interlock.core.errors import RecordingError
from interlock.core.ids import parse_session_id
from interlock.domain.container import (
    BLOCK_SIZE,
    BlockBuilder,
    Chain,
    ContentKey,
    FreshKey,
    Held,
    Points,
    SealState,
    Unsealed,
    keys_block,
    preamble,
    sealed,
)
from interlock.domain.coverage import Covered
from interlock.domain.recording import (
    Coverage,
    FrameKind,
    Header,
    Marker,
    Stream,
    resize_payload,
    to_payload,
)
from interlock.domain.session import Exit, Window
from interlock.domain.signing import KeySource, unsigned
from interlock.ports import Clock, RecordingPart
from interlock.services.recordings.account import Account
from interlock.services.timers import CallLater, Timer, call_later

FLUSH_AFTER_S = 0.1
"""Seconds that output may wait in memory. It bounds what a crash loses; shorter would compress worse."""

COMMAND_OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of output kept of a session without a terminal. What a person could have read of it is in there; beyond
it is bulk data (scp, rsync, tar, git), which would double the gateway's work and fill its disk. What is not kept
is counted in a marker, never left out silently."""

RETRY_AFTER_S = 1.0
"""Seconds until a recorder that may lose something tries the disk again."""

CHECKPOINT_S = 5.0
"""Seconds after which what was written is vouched for: with the next block that is written, or the next heartbeat
if none is. Each costs one signature, some 50 µs, and a recording to which nothing was added needs none."""

MAX_FRAME = 64 * 1024
"""Longest payload of one output frame, so that a block stays below the reader's bound."""


class Recorder:
    """Records one session into one part. Making one writes the header: RecordingError if the disk refuses."""

    def __init__(
        self,
        part: RecordingPart,
        header: Header,
        *,
        salt: bytes,
        compressor: ZstdCompressor,
        clock: Clock,
        on_failure: Callable[[RecordingError], None],
        on_lapse: Callable[[RecordingError], None] | None = None,
        call_later: CallLater = call_later,
        command_output_limit: int = COMMAND_OUTPUT_LIMIT,
        record_input: bool = False,
        travels: bool = False,
        signer: KeySource = unsigned,
        content: FreshKey | None = None,
    ) -> None:
        """``on_failure``: the session must end. ``on_lapse``: it goes on without; None if it must not.

        ``content``: with which the contents are encrypted; None: they are not.
        ``travels``: whether others know the session by the part alone: its daemon's notes stay on this disk.
        """
        self._part: RecordingPart | None = part  # None: finished or failed
        self._sid = parse_session_id(header.sid)
        self._key = None if content is None else ContentKey(content.key)
        self._chain = Chain.begin(salt, self._key)
        self._builder = BlockBuilder(salt, compressor, chain=self._chain)
        self._header = header
        self._points = Points()
        self._signer = signer
        self._sealed_at = 0  # when, in microseconds after the start, the file was vouched for
        self._unsealed = True  # something was added since
        self._clock = clock
        self._on_failure = on_failure
        self._on_lapse = on_lapse
        self._call_later = call_later
        self._began = clock.monotonic()
        self._timer: Timer | None = None  # pending while the block has frames, or until the disk is tried again
        self._limited = not header.interactive
        self._account = Account(
            command_output_limit if self._limited else None,
            keeps_input=record_input and self._limited,
            interactive=header.interactive,
        )
        self._finished = False
        self._lapsed_at: int | None = None  # microseconds after the start, while the disk refuses
        self._travels = travels
        self._beat_had_frames = True  # since the last call of `alive`
        self._builder.add(FrameKind.HEADER, 0, to_payload(header))
        try:
            keys = b"" if content is None else keys_block(salt, Held.AGE, content.wrapped)
            part.append(preamble(salt) + keys + self._builder.take())
        except OSError as error:
            part.remove()
            raise not_recordable(error) from error

    @property
    def failed(self) -> bool:
        """Whether the recording stopped before the session's end."""
        return self._part is None and not self._finished

    @property
    def kept(self) -> bool:
        """The header at least."""
        return True

    @property
    def closed(self) -> bool:
        """Whether `finish` got through, and no index is due."""
        return self._finished and not self._points.found

    @property
    def key(self) -> ContentKey | None:
        """Kept for as long as the session lasts."""
        return self._key

    @property
    def unsealed(self) -> Unsealed | None:
        """A long recording, whose index takes longer to make than an event loop can spare."""
        if not self._finished or self.closed:
            return None
        return Unsealed(self._chain, self._header, self._sealed_at, self._points.found)

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Keep a copy of the bytes, up to the limit for sessions without a terminal."""
        size = len(data)
        if self._limited or stream is Stream.STDIN:
            size = self._account.admit(stream, size)
        if not size or self._finished:
            return
        if self._part is None or self._account.lapse:
            self._account.lost(stream, size)
        elif size > MAX_FRAME:
            for start in range(0, size, MAX_FRAME):
                self._add(stream, data[start : min(start + MAX_FRAME, size)])
        else:
            self._add(stream, data if size == len(data) else data[:size])

    def resize(self, window: Window) -> None:
        """Note the terminal's new size."""
        self._add(FrameKind.RESIZE, resize_payload(window))

    @property
    def size(self) -> int:
        """See `SessionRecorder.size`."""
        return self._chain.offset

    @property
    def lag(self) -> float:
        """See `SessionRecorder.lag`; while the disk refuses, since it does."""
        first = self._lapsed_at if self._lapsed_at is not None else self._builder.first
        return 0.0 if first is None else max(0, self._lasted() - first) / 1_000_000

    def flush(self) -> None:
        """Write what is held back, for somebody who reads the part now."""
        if not self._account.lapse:  # else nothing is, and the timer is the one that tries the disk again
            self._disarm()
            self._write()

    def cover(self, row: Covered) -> None:
        """Write the row now, so that it is known if the end is never written."""
        self._write_apart()
        self._add(FrameKind.COVERAGE, to_payload(Coverage((row,))))
        self._write_apart()

    def covered(self) -> tuple[Covered, ...]:
        """The session's output and input; final after `finish`."""
        return self._account.covered()

    def gaps(self) -> tuple[Marker, ...]:
        """What was not kept since the last block that was written."""
        gap = self._account.gap()
        return () if gap is None else (gap,)

    def not_in_sync(self, error: RecordingError) -> None:
        """It is not on auth's storage as it happens. Whether the session ends or goes on, all is kept here."""
        if self._part is not None:
            self._account.unsynced(error.public)
            (self._on_lapse or self._on_failure)(error)

    def alive(self) -> int | None:
        """See `SessionRecorder.alive`. What a part notes itself is a frame of no output, which nothing shows."""
        if self._part is None or self._account.lapse:
            return None
        if self._unsealed and self._is_due():
            self._write(SealState.CHECKPOINT)
        if not self._travels:
            return self._lasted()
        if not self._beat_had_frames:
            self._put(Stream.STDOUT, b"")
            self._write()
        self._beat_had_frames = False
        return None

    def finish(self, ended: Exit, others: Sequence[Covered] = ()) -> None:
        """Write the rest, what is covered, how the session ended, and close. Only the first call counts."""
        self._disarm()
        if self._part is None:
            return
        if self._account.lapse:
            self._retry()
            self._disarm()
        self._write()
        if not self._account.lapse:
            if (marker := self._account.truncated()) is not None:
                self._put(FrameKind.MARKER, to_payload(marker))
            self._put(FrameKind.COVERAGE, to_payload(Coverage((*self.covered(), *others), final=True)))
            self._write()
            # A block of its own, so that a list finds it in the file's last bytes.
            self._put(FrameKind.EXIT, to_payload(ended))
            self._write(SealState.CHECKPOINT if self._points.found else SealState.CLOSED)
        self._disarm()
        part, self._part = self._part, None
        if part is not None:
            self._finished = not self._account.lapse
            part.close()

    def _put(self, kind: int, payload: bytes | memoryview) -> int:
        """Into the block; bytes of frames that it has then."""
        return self._builder.add(kind, self._lasted(), payload)

    def _lasted(self) -> int:
        """Microseconds since the start."""
        return int((self._clock.monotonic() - self._began) * 1_000_000)

    def _add(self, kind: int, payload: bytes | memoryview) -> None:
        if self._part is None or self._account.lapse:
            return
        self._beat_had_frames = self._unsealed = True
        if self._put(kind, payload) >= BLOCK_SIZE:
            self._write()
        elif self._timer is None:
            self._timer = self._call_later(FLUSH_AFTER_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._write()

    def _write_apart(self) -> None:
        """What is encrypted and what is not are not in one block."""
        if self._key is not None and not self._account.lapse:
            self._write()

    def _is_due(self) -> bool:
        """Whether it is time to vouch for what was written."""
        return self._lasted() - self._sealed_at >= CHECKPOINT_S * 1_000_000

    def _write(self, state: SealState | None = None) -> None:
        """What is held back, if there is anything, and a seal if one is due or asked for; in one call."""
        if self._part is None or not (len(self._builder) or state):
            return
        first = self._builder.first
        if first is not None and state is not SealState.CLOSED:  # which says that there is no index, so no point
            self._points.block(self._chain.offset, first)
        mark, data = self._chain.mark(), self._builder.take() if len(self._builder) else b""
        if state is None and self._unsealed and self._is_due():
            state = SealState.CHECKPOINT
        if state is not None:
            data += self._seal(state)
        try:
            self._part.append(data)
        except OSError as error:
            self._chain.reset(mark)
            self._account.block_lost(error.strerror or "the storage failed", self._builder.sizes)
            if self._on_lapse is None:
                self._stop(not_recordable(error))
            else:
                self._lapsed_at = self._lasted()
                self._disarm()
                self._timer = self._call_later(RETRY_AFTER_S, self._retry)
                self._on_lapse(not_recordable(error))

    def _seal(self, state: SealState) -> bytes:
        """Nothing if it would prove nothing: a checkpoint that nobody signs."""
        signer = self._signer()
        self._sealed_at, self._unsealed = self._lasted(), False
        if signer is None and state is SealState.CHECKPOINT:
            return b""
        return sealed(self._chain, self._sid, state, signer, at=self._sealed_at)

    def _retry(self) -> None:
        """Mark the gap; that it can be written means that the recording goes on."""
        self._timer = None
        gap = self._account.gap()
        if self._part is None or gap is None:
            return
        self._put(FrameKind.MARKER, to_payload(gap))
        mark = self._chain.mark()
        try:
            self._part.append(self._builder.take())
        except OSError:
            self._chain.reset(mark)
            self._timer = self._call_later(RETRY_AFTER_S, self._retry)
        else:
            self._lapsed_at, self._unsealed = None, True
            self._account.resumed()

    def _stop(self, error: RecordingError) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()
        self._disarm()
        self._on_failure(error)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def not_recordable(error: OSError) -> RecordingError:
    """What the person and the audit log learn when the disk refuses."""
    public = f"the session cannot be recorded: {error.strerror or 'the storage failed'}"
    return RecordingError(public, reason=f"{public} ({error.filename or 'recording'})")
