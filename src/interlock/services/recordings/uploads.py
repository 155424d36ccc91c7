"""From a part on local disk to a stored recording, in the background, until it succeeds.

One loop, which tries a few at a time in the order in which sessions ended (`backlog`): one that cannot be
stored delays no other, and a store that is away is asked by one of them. What waits costs little memory, however
much it is: beyond some thousands only the session's ID is kept, and the recording's own header says the rest.

A part leaves the local disk only when the recording and all events of its session are stored; until then
`recovery` finds it at the next start and repeats what is missing. What the store refuses for good, and what cannot
be read, goes to quarantine, with an event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from interlock.core.errors import Denied, Differs, InterlockError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.container import BlockBuilder, Chain, Keyframe, SealState, Unsealed, closing
from interlock.domain.container.blocks import Continued
from interlock.domain.coverage import cut_off
from interlock.domain.recording import DIED, Coverage, FrameKind, Marker, to_payload
from interlock.domain.session import Exit
from interlock.domain.signing import KeySource, WarrantedKey, unsigned
from interlock.domain.survey import Survey
from interlock.ports import Clock, ClosedParts, Entropy, RecordingParts, RecordingStore
from interlock.services.audit.emitter import Journal
from interlock.services.audit.outbox import Sleep
from interlock.services.recordings.backlog import Backlog, Turn

KEPT = 2000
"""Recordings that wait with all that is known of them: some 3 KB each."""

_KINDS = {Marker: FrameKind.MARKER, Coverage: FrameKind.COVERAGE, Exit: FrameKind.EXIT}

_REFUSALS = (Denied, RecordingError)
"""What a store says that will never take a recording: it is another daemon's, too long, or a second one."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upload:
    """A part that is to become a recording."""

    sid: SessionId
    journal: Journal  # of the session: gets session.upload
    fields: dict[str, JsonValue]  # common fields of that event
    closed: bool  # the recorder wrote the end; otherwise the part is mended first
    done: Callable[[], None] = lambda: None  # called when nothing more will be said about the session
    loose_end: Sequence[Marker | Coverage | Exit] = ()  # what a recorder that failed could not write
    unsealed: Unsealed | None = None  # what a recorder that did not fail left to be done
    stored: bool = False  # the store has it, and only the part is left


Recall = Callable[[SessionId], Awaitable[Upload]]
"""Makes an upload of a part whose session has ended, from its header. InterlockError if the disk refuses."""


class Uploads:
    """The background work of storing recordings. `run` belongs into a TaskGroup of the daemon."""

    def __init__(
        self,
        parts: RecordingParts,
        store: RecordingStore,
        *,
        events_stored: Callable[[], Awaitable[None]],
        clock: Clock,
        entropy: Entropy,
        recall: Recall | None = None,
        signer: KeySource = unsigned,
        sleep: Sleep = asyncio.sleep,
        kept: int = KEPT,
    ) -> None:
        """``recall``: without it everything that waits is kept."""
        self._signer = signer
        self._parts = parts
        self._store = store
        self._events_stored = events_stored
        self._recall = recall
        self._sleep = sleep
        self._kept = kept
        self._backlog: Backlog[Upload | SessionId] = Backlog(clock=clock, entropy=entropy)
        self._stored: list[Upload] = []  # what the store has and nobody has told of for certain
        self._pending = 0
        self._changed = asyncio.Event()  # there may be something to try
        self._finishing = asyncio.Event()  # there is something in _stored
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, upload: Upload) -> None:
        """Store this recording soon; never blocks."""
        self._pending += 1
        self._idle.clear()
        crowded = len(self._backlog) >= self._kept and self._recall is not None and not upload.loose_end
        self._backlog.put(upload.sid if crowded else upload)
        self._changed.set()

    @property
    def pending(self) -> int:
        """How many recordings are not stored yet."""
        return self._pending

    @property
    def store_away(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._backlog.store_away

    def hurry(self, *, on: bool) -> None:
        """Whether the disk needs the room of what waits."""
        self._backlog.hurry(on=on)
        self._changed.set()

    async def wait_idle(self) -> None:
        """Return when everything is stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._finish(), name="uploads.finish")
            while True:
                while (turn := self._backlog.take()) is not None:
                    tasks.create_task(self._attempt(turn), name=f"upload.{_sid(turn)}")
                self._changed.clear()
                await self._wait(self._backlog.due_in())

    async def _wait(self, seconds: float | None) -> None:
        """Until something has changed, or so long."""
        if seconds is None:
            await self._changed.wait()
            return
        async with asyncio.TaskGroup() as both:
            sleeping = both.create_task(self._wake(seconds), name="uploads.pause")
            await self._changed.wait()
            sleeping.cancel()

    async def _wake(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._changed.set()

    async def _attempt(self, turn: Turn[Upload | SessionId]) -> None:
        sid = _sid(turn)
        try:
            await self._advance(turn)
        except StoreError as error:
            _log.warning("upload.retry", sid=sid, reason=error.reason, waiting=self._pending)
            if isinstance(error, Differs):
                self._backlog.failed(turn, answered=True)
            elif await asyncio.to_thread(_is_there, self._parts.path(sid)):
                self._backlog.away(turn)
            else:
                self._backlog.failed(turn, answered=False)
        except InterlockError as error:
            _log.warning("upload.retry", sid=sid, reason=error.reason)
            self._backlog.failed(turn, answered=False)
        except Exception:  # noqa: BLE001 - a bug; losing the recording or all live sessions would be worse
            _log.exception("upload.retry", sid=sid)
            self._backlog.failed(turn, answered=False)
        else:
            self._backlog.delivered(turn)
        self._changed.set()

    async def _advance(self, turn: Turn[Upload | SessionId]) -> None:
        """One attempt at all that is left to do; whatever stops it may be tried again."""
        upload, sid = await self._known(turn.item), _sid(turn)
        if upload.stored:
            await self._discard(upload)
            return
        if not upload.closed and not await self._closed(upload):
            self._give_up(upload, RecordingError("the recording cannot be read", reason="it has no header"))
            return
        try:
            url = await self._store.store(sid, self._parts.path(sid))
        except _REFUSALS as error:
            _log.error("recording.quarantined", sid=sid, reason=error.reason)
            await self._parts.quarantine(sid)
            self._give_up(upload, error)
            return
        except Differs as error:
            if not turn.failures:  # once is enough, however often it is tried
                upload.journal.add(Kind.RECORDING_DIFFERS, upload.fields | _failure(error))
            raise
        upload.journal.add(Kind.SESSION_UPLOAD, {**upload.fields, "url": url})
        self._stored.append(upload)
        self._finishing.set()

    async def _closed(self, upload: Upload) -> bool:
        """Close the part; False if nobody can, and it went to quarantine."""
        sid, file = upload.sid, upload.unsealed
        if file is not None and await seal_part(self._parts, sid, file, signer=self._signer):
            return True
        return await close_part(self._parts, sid, upload.loose_end, signer=self._signer)

    async def _finish(self) -> None:
        """Remove parts whose recordings and events are stored."""
        while True:
            await self._finishing.wait()
            self._finishing.clear()
            stored, self._stored = self._stored, []
            await self._events_stored()
            for upload in stored:
                try:
                    await self._discard(upload)
                except InterlockError as error:
                    _log.warning("upload.retry", sid=upload.sid, reason=error.reason)
                    self._backlog.put(replace(upload, stored=True))
                    self._changed.set()

    async def _known(self, item: Upload | SessionId) -> Upload:
        if isinstance(item, Upload):
            return item
        assert self._recall is not None
        return await self._recall(item)

    async def _discard(self, upload: Upload) -> None:
        await self._parts.discard(upload.sid)
        self._over(upload)

    def _give_up(self, upload: Upload, error: InterlockError) -> None:
        """It is in quarantine."""
        upload.journal.add(Kind.RECORDING_QUARANTINED, upload.fields | _failure(error), repeatable=True)
        self._over(upload)

    def _over(self, upload: Upload) -> None:
        upload.done()
        self._pending -= 1
        if not self._pending:
            self._idle.set()


def _is_there(path: Path) -> bool:
    """Whether there is a part; if the disk does not say, it is not the store that is to blame."""
    try:
        return path.exists()
    except OSError:
        return False


def _sid(turn: Turn[Upload | SessionId]) -> SessionId:
    return turn.item.sid if isinstance(turn.item, Upload) else turn.item


def _failure(error: InterlockError) -> dict[str, JsonValue]:
    return {"success": False, "error": error.reason, "message": error.public}


async def close_part(
    parts: ClosedParts,
    sid: SessionId,
    end: Sequence[Marker | Coverage | Exit] = (),
    *,
    signer: KeySource = unsigned,
) -> bool:
    """Give a part that was cut off its end and its seal; False if it has no header and went to quarantine.

    ``end``: what the recorder would have written; by default what can be told from the part.
    """
    found = await parts.survey(sid)
    if found.header is None:
        _log.error("recording.quarantined", sid=sid)
        await parts.quarantine(sid)
        return False
    if not found.closed:
        keyframes = await parts.keyframes(sid, found.header, found.points)
        tail = await asyncio.to_thread(ending, sid, found, end, signer=signer(), keyframes=keyframes)
        await parts.mend(sid, found.good, tail)
    return True


async def seal_part(parts: ClosedParts, sid: SessionId, file: Unsealed, *, signer: KeySource = unsigned) -> bool:
    """Give a part that has its end its seek index and its seal; False if it was changed since, by an attempt."""
    path, size = parts.path(sid), file.chain.offset
    try:
        found = (await asyncio.to_thread(path.stat)).st_size
    except OSError as error:
        raise RecordingError("the recording could not be read", reason=str(error)) from error
    if found != size:
        return False
    keyframes = await parts.keyframes(sid, file.header, file.points, file.chain.key)
    tail = await asyncio.to_thread(closing, file, sid, SealState.CLOSED, signer(), keyframes, kept=size)
    await parts.mend(sid, size, tail)
    return True


def ending(
    sid: SessionId,
    found: Survey,
    end: Sequence[Marker | Coverage | Exit] = (),
    *,
    signer: WarrantedKey | None = None,
    keyframes: Sequence[Keyframe] = (),
) -> bytes:
    """What the recorder did not get to write: what is missing and covered, the exit, the index, the last seal.

    For a thread: there may be megabytes of keyframes to hash, and to encrypt.
    """
    chain, state = found.continued(), SealState.CLOSED if end or found.exit is not None else SealState.COMPLETED
    blocks = [] if found.exit is not None else _last_frames(found, end, chain)
    if isinstance(chain, Chain) and found.header is not None:
        file = Unsealed(chain, found.header, found.last, found.points)
        blocks.append(closing(file, sid, state, signer, keyframes, kept=found.good))
    return b"".join(blocks)


def _last_frames(found: Survey, end: Sequence[Marker | Coverage | Exit], chain: Continued) -> list[bytes]:
    """Two blocks, as the recorder writes them."""
    frames: list[Marker | Coverage | Exit] = [Marker("gap", DIED, lost=found.lost)] if found.lost else []
    frames += end or [Coverage(cut_off(found.coverage, DIED), final=True), Exit(error=DIED)]
    builder = BlockBuilder(found.salt, chain=chain)
    blocks = []
    for frame in frames:
        builder.add(_KINDS[type(frame)], found.last, to_payload(frame))
        if isinstance(frame, Coverage | Exit):
            blocks.append(builder.take())
    return blocks
