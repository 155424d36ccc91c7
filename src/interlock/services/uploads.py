"""From a part on local disk to a stored recording, in the background, until it succeeds.

Every recording is its own task, so that one which cannot be stored delays no other. A part leaves the local disk
only when the recording and all events of its session are stored; until then `recovery` finds it at the next start
and repeats what is missing. What the store refuses for good goes to quarantine.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from interlock.core.errors import Denied, InterlockError, RecordingError
from interlock.core.ids import SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.container import BlockBuilder, Chain, SealState, sealed
from interlock.domain.container.blocks import Continued
from interlock.domain.coverage import cut_off
from interlock.domain.recording import DIED, Coverage, FrameKind, Marker, to_payload
from interlock.domain.session import Exit
from interlock.domain.signing import KeySource, unsigned
from interlock.domain.survey import Survey
from interlock.ports import ClosedParts, RecordingParts, RecordingStore
from interlock.services.emitter import Journal
from interlock.services.outbox import Sleep

AT_ONCE = 4
"""Recordings stored at the same time: enough to hide latency, few enough to leave the disk to the sessions."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

_KINDS = {Marker: FrameKind.MARKER, Coverage: FrameKind.COVERAGE, Exit: FrameKind.EXIT}

_REFUSALS = (Denied, RecordingError)
"""What a store says that will never take a recording: it is another daemon's, too long, or a second one."""

T = TypeVar("T")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upload:
    """A part that is to become a recording."""

    sid: SessionId
    journal: Journal  # of the session: gets session.upload
    fields: Mapping[str, JsonValue]  # common fields of that event
    closed: bool  # the recorder wrote the end; otherwise the part is mended first
    done: Callable[[], None] = lambda: None  # called when nothing more will be said about the session
    loose_end: Sequence[Marker | Coverage | Exit] = ()  # what a recorder that failed could not write


class Uploads:
    """The background work of storing recordings."""

    def __init__(
        self,
        parts: RecordingParts,
        store: RecordingStore,
        *,
        events_stored: Callable[[], Awaitable[None]],
        signer: KeySource = unsigned,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._signer = signer
        self._parts = parts
        self._store = store
        self._events_stored = events_stored
        self._sleep = sleep
        self._queue: asyncio.Queue[Upload] = asyncio.Queue()
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def add(self, upload: Upload) -> None:
        """Store this recording soon; never blocks."""
        self._pending += 1
        self._idle.clear()
        self._queue.put_nowait(upload)

    @property
    def pending(self) -> int:
        """How many recordings are not stored yet."""
        return self._pending

    async def wait_idle(self) -> None:
        """Return when everything is stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                upload = await self._queue.get()
                tasks.create_task(self._until_stored(upload), name=f"upload.{upload.sid}")

    async def _until_stored(self, upload: Upload) -> None:
        try:
            sid, end = upload.sid, upload.loose_end
            if upload.closed or await self._insist(
                sid, lambda: close_part(self._parts, sid, end, signer=self._signer)
            ):
                path = self._parts.path(upload.sid)
                try:
                    url = await self._insist(
                        upload.sid, lambda: self._store.store(upload.sid, path), final=_REFUSALS
                    )
                except _REFUSALS as error:
                    _log.error("recording.quarantined", sid=upload.sid, reason=error.reason)
                    await self._insist(upload.sid, lambda: self._parts.quarantine(upload.sid))
                    return
                upload.journal.add(Kind.SESSION_UPLOAD, {**upload.fields, "url": url})
                await self._events_stored()
                await self._insist(upload.sid, lambda: self._parts.discard(upload.sid))
        finally:
            upload.done()
            self._pending -= 1
            if not self._pending:
                self._idle.set()

    async def _insist(
        self,
        sid: SessionId,
        step: Callable[[], Awaitable[T]],
        *,
        final: tuple[type[InterlockError], ...] = (),
    ) -> T:
        """Try a step until it succeeds or fails for good; a recording that waits has no slot and blocks nobody."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                async with self._slots:
                    return await step()
            except InterlockError as error:
                if isinstance(error, final):
                    raise
                _log.warning("upload.retry", sid=sid, reason=error.reason)
            except Exception:  # noqa: BLE001 - a bug; losing the recording or all live sessions would be worse
                _log.exception("upload.retry", sid=sid)
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


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
        await parts.mend(sid, found.good, ending(sid, found, end, signer=signer))
    return True


def ending(
    sid: SessionId,
    found: Survey,
    end: Sequence[Marker | Coverage | Exit] = (),
    *,
    signer: KeySource = unsigned,
) -> bytes:
    """What the recorder did not get to write: what is missing and covered, then the exit, then the last seal."""
    chain, state = found.continued(), SealState.CLOSED if end or found.exit is not None else SealState.COMPLETED
    blocks = [] if found.exit is not None else _last_frames(found, end, chain)
    if isinstance(chain, Chain):
        blocks.append(sealed(chain, sid, state, signer(), at=found.last, kept=found.good))
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
