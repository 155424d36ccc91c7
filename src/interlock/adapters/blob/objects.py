"""Recordings on an S3-compatible storage: the finished ones there, those in the making on this disk.

::

    <prefix>/<sid>.ilr               finished; one object, which appears whole or not at all
    <prefix>/quarantine/<sid>.rival  came for a session whose recording is there already, and is another
    <directory>/live/<sid>.upload    on this disk: which upload in parts is to be continued after a crash

Everything is written under a condition that the storage itself checks: there is no object of this name yet, or it
is still the one that was looked at. So of two that complete one session, one succeeds, on whichever machines they
are. The object's metadata say ``sha256``, of all its bytes, and ``completed``, of how many bytes a daemon that
died is the author (what the file beside a recording says in `files`). What was stored in files before stays
readable.
"""

import asyncio
import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import structlog

from interlock.adapters.blob.bucket import Bucket, Condition, Found, Piece, SentPart
from interlock.adapters.blob.content import PART_SIZE, Content, Source
from interlock.adapters.blob.files import REMEMBERED, REMEMBERED_COMMAND, FileRecordings
from interlock.adapters.blob.opened import OpenedObject
from interlock.adapters.blob.parts import CHUNK
from interlock.adapters.blob.rekeying import FRONT, Rewrap, copy_rewrapped, kept_front, same_beginnings
from interlock.adapters.blob.threads import Threads
from interlock.core.errors import ConfigError, Differs, NotFound, RecordingError, StoreError
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.audit import JsonValue
from interlock.domain.recording import RecordingState
from interlock.domain.survey import describe
from interlock.ports import OpenedRecording, RecordingInfo, RecordingSize

WRITERS = 4
"""Recordings sent at once, a piece of each in memory."""

READERS = 8
"""Requests at once for people who list and watch."""

_ENDING = ".ilr"
_COMPLETED = "completed"
_SHA256 = "sha256"
_UPLOAD = ".upload"
_HEAD = 32 * 1024  # bytes in which a description is looked for first
_END = 4096  # of the last bytes, as in files
_NEW = Condition()

T = TypeVar("T")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Plan:
    """An object to be."""

    key: str
    source: Source
    content: Content
    meta: Mapping[str, str]

    @classmethod
    def of(cls, key: str, source: Source, completed: int | None = None) -> "_Plan":
        """Reads the source once. ``completed``: of how many bytes the daemon is the author, if auth makes it."""
        content = Content.of(source.pieces())
        said = {} if completed is None else {_COMPLETED: str(completed)}
        return cls(key, source, content, {_SHA256: content.sha256, **said})


class BucketRecordings(FileRecordings):
    """`ports.RecordingStore` and `CompletedStore` over a bucket, `RecordingParts` over a directory."""

    def __init__(self, directory: Path, bucket: Bucket) -> None:
        super().__init__(directory)
        self._bucket = bucket
        self._prefix = f"{bucket.place.prefix}/" if bucket.place.prefix else ""
        self._writers = Threads(WRITERS, "recordings.write")
        self._readers = Threads(READERS, "recordings.read")
        self._known: OrderedDict[SessionId, None] = OrderedDict()  # of what is stored, what was stored here last
        self._metas: dict[SessionId, tuple[str, Mapping[str, JsonValue]]] = {}  # by the tag of the object
        self._lock = threading.Lock()  # of what the readers remember

    # --- storing -------------------------------------------------------------------------------

    def stored(self, sid: SessionId) -> bool:
        """Whether this process knows the recording to be finished. It may not know; the storage always does."""
        return sid in self._known or super().stored(sid)

    async def store(self, sid: SessionId, path: Path) -> str:
        """See `RecordingStore.store`. StoreError: ask again; Differs: the same, and the storage is at fault."""
        if self._in_files(sid):
            return await super().store(sid, path)
        await self._written(self._put, sid, path)
        return self._url(sid)

    async def complete(self, sid: SessionId, path: Path, keep: int, tail: bytes) -> str:
        """See `CompletedStore.complete`."""
        if self._in_files(sid):
            return await super().complete(sid, path, keep, tail)
        await self._written(self._make, sid, Source(path, keep, tail))
        return self._url(sid)

    async def check(self) -> None:
        """ConfigError if this storage does not refuse a second object of one name; StoreError if it is away."""
        await self._writers.run(self._probe)

    async def tidy(self, before: datetime) -> int:
        """Give up uploads in parts that were begun before then, which nobody can be at any more; how many."""
        return await self._writers.run(self._tidy, before)

    # --- looking -------------------------------------------------------------------------------

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """See `RecordingStore.recordings`."""
        here = await super().recordings(wanted := None if only is None else list(only))
        found = {info.sid: info for info in here}
        sids = wanted if wanted is not None else [each.sid for each in await self._readers.run(self._sizes)]
        elsewhere = iter([sid for sid in sids if sid not in found])

        async def ask() -> None:
            for sid in elsewhere:
                if (info := await self._readers.run(self._info, sid)) is not None:
                    found[sid] = info

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(READERS):
                    tasks.create_task(ask(), name="recordings.info")
        except* StoreError as group:
            raise _first(group) from None
        return sorted(found.values(), key=lambda info: info.stored, reverse=True)

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """See `RecordingStore.read`. Each piece is a request, so that a slow reader holds no connection."""
        if self._in_files(sid):
            async for chunk in super().read(sid):
                yield chunk
            return
        at, etag = 0, ""
        while True:
            piece = await self._readers.run(self._piece, sid, at, etag)
            if piece is None:
                raise NotFound(f"no recording of session {sid}")
            yield piece.data
            at, etag = at + len(piece.data), piece.etag
            if at >= piece.total:
                return

    async def sizes(self) -> list[RecordingSize]:
        """See `RemovableRecordings.sizes`."""
        return [*await super().sizes(), *await self._readers.run(self._sizes)]

    async def open(self, sid: SessionId) -> OpenedRecording:
        """See `FileRecordings.open`. Each read is a request."""
        if self._in_files(sid):
            return await super().open(sid)
        found = await self._readers.run(self._bucket.head, key := self._key(sid))
        if found is None:
            raise NotFound(f"no recording of session {sid}")
        return OpenedObject(self._bucket, key, self._readers, size=found.size, etag=found.etag)

    async def remove(self, sid: SessionId) -> None:
        """See `RemovableRecordings.remove`."""
        await super().remove(sid)
        await self._writers.run(self._bucket.delete, self._key(sid))
        self._known.pop(sid, None)

    async def named(self) -> list[SessionId]:
        """See `LeftBehind.named`."""
        there = {each.sid for each in await self._readers.run(self._sizes)}
        return sorted(there.union(await super().named()))

    # --- in threads ----------------------------------------------------------------------------

    def _put(self, sid: SessionId, path: Path) -> None:
        plan = _Plan.of(self._key(sid), Source.whole(path))
        # Of much that would be sent in vain, ask first.
        found = self._bucket.head(plan.key) if plan.content.size > PART_SIZE else None
        if found is None:
            if self._send(sid, plan, _NEW):
                self._verify(plan)
                return
            found = self._present(plan.key)
        if self._has(found, plan) or self._has_but_for_keys(found, plan):
            return
        if found.meta.get(_SHA256) == plan.content.sha256:  # it was ours, and has changed on the storage
            self._replace(sid, plan, found)
        elif (front := self._begins(found, plan)) is not None:
            self._replace(sid, _Plan.of(plan.key, replace(plan.source, front=front)), found)
            _log.info("recording.superseded", sid=sid)
        else:
            rival = replace(plan, key=self._rival(sid))
            self._send(sid, rival, _NEW)
            _log.error("recording.rival", sid=sid, kept=rival.key)
            public = "there is another recording of this session already"
            raise RecordingError(public, reason=f"a second, different recording of {sid}")

    def _make(self, sid: SessionId, source: Source) -> None:
        if self._bucket.head(self._key(sid)) is not None:
            return
        plan = _Plan.of(self._key(sid), source, completed=source.keep)
        if self._send(sid, plan, _NEW):  # else the daemon's own came meanwhile
            self._verify(plan)

    def _rekey(self, sid: SessionId, rewrap: Rewrap) -> bool:
        if super().stored(sid):
            return super()._rekey(sid, rewrap)
        found = self._bucket.head(key := self._key(sid))
        if found is None:
            raise FileNotFoundError(key)
        there, copy = self.path(sid).with_suffix(".before"), self.path(sid).with_suffix(".rekeyed")
        try:
            with there.open("wb") as file:
                there.chmod(0o600)
                file.writelines(self._pieces(key, found.etag))
            if not copy_rewrapped(there, copy, rewrap):
                return False
            keep = found.meta.get(_COMPLETED, "")
            plan = _Plan.of(key, Source.whole(copy), int(keep) if keep.isdecimal() else None)
            self._replace(sid, plan, found)
        finally:
            there.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
        return True

    def _replace(self, sid: SessionId, plan: "_Plan", found: Found) -> None:
        if not self._send(sid, plan, Condition(found.etag)):
            raise StoreError("the recording could not be stored", reason=f"{plan.key} changed meanwhile")
        self._verify(plan)

    def _send(self, sid: SessionId, plan: "_Plan", condition: Condition) -> bool:
        """Write the object, in parts if it is long; False if the condition does not hold."""
        key, content = plan.key, plan.content
        if len(content.parts) == 1:
            return self._bucket.put(key, next(plan.source.pieces()), content.parts[0], plan.meta, condition)
        upload, there = self._continued(sid, plan)
        sent = []
        for number, (piece, digests) in enumerate(zip(plan.source.pieces(), content.parts, strict=True), 1):
            etag = f'"{digests.md5.hex()}"'
            if there.get(number) != SentPart(len(piece), etag):
                etag = self._bucket.part(key, upload, number, piece, digests)
            sent.append((etag, digests))
        done = self._bucket.finish(key, upload, sent, condition)
        if not done:
            self._bucket.abort(key, upload)
        self._note_of_upload(sid).unlink(missing_ok=True)
        return done

    def _continued(self, sid: SessionId, plan: "_Plan") -> tuple[str, dict[int, SentPart]]:
        """An upload in parts and what is there of it: new, or as a process that died had begun it."""
        note, what = self._note_of_upload(sid), f"{plan.key} {sorted(plan.meta.items())}"
        with contextlib.suppress(FileNotFoundError, ValueError):
            upload, of = note.read_text().split("\n", 1)
            if any(each.id == upload for each in self._bucket.uploads(plan.key)):
                if of == what:
                    return upload, self._bucket.parts(plan.key, upload)
                self._bucket.abort(plan.key, upload)
        upload = self._bucket.begin(plan.key, plan.meta)
        with contextlib.suppress(OSError):  # a disk that is full needs it most that the upload goes on
            note.write_text(f"{upload}\n{what}")
        return upload, {}

    def _verify(self, plan: "_Plan") -> None:
        if not self._has(self._present(plan.key), plan):
            reason = f"{plan.key} is not what was sent: {plan.content.size} bytes, SHA-256 {plan.content.sha256}"
            raise Differs("the storage has not kept the recording as it was sent", reason=reason)

    def _has(self, found: Found, plan: "_Plan") -> bool:
        """Whether the object is this; read back only if the storage's sums do not show it, and it claims to be."""
        if found.size != plan.content.size:
            return False
        if plan.content.agrees(found):
            return True
        if found.meta.get(_SHA256, plan.content.sha256) != plan.content.sha256:
            return False
        whole = hashlib.sha256()
        for piece in self._pieces(plan.key, found.etag):
            whole.update(piece)
        return whole.hexdigest() == plan.content.sha256

    def _has_but_for_keys(self, found: Found, plan: "_Plan") -> bool:
        """Whether the object is this with its key wrapped anew: it was delivered before, and is again."""
        if found.size != plan.content.size:
            return False
        both = zip(plan.source.pieces(), self._pieces(plan.key, found.etag), strict=False)
        if not same_beginnings(*next(both)):
            return False
        return all(one == other for one, other in both)

    def _begins(self, found: Found, plan: "_Plan") -> bytes | None:
        """Whether the object was completed by auth, and the source has all that had arrived: see `kept_front`."""
        keep = found.meta.get(_COMPLETED, "")
        if not keep.isdecimal() or int(keep) > plan.content.size:
            return None
        left = int(keep)
        ours, theirs = plan.source.pieces(), self._pieces(plan.key, found.etag)
        one, other = next(ours), next(theirs, b"")
        front = kept_front(one[:FRONT], other[:FRONT], left)
        if front is None or one[len(front) : left] != other[len(front) : left]:
            return None
        while left := left - min(left, len(one)):
            one, other = next(ours), next(theirs, b"")
            if one[:left] != other[:left]:
                return None
        return front

    def _pieces(self, key: str, etag: str) -> Iterator[bytes]:
        """All bytes of this very object."""
        at, total = 0, 1
        while at < total:
            piece = self._bucket.get(key, at, PART_SIZE, etag=etag)
            if piece is None or not piece.data:
                raise StoreError("the recordings' storage is away", reason=f"{key} has gone")
            yield piece.data
            at, total = at + len(piece.data), piece.total

    def _probe(self) -> None:
        """Write the same name twice, in one request and in parts: the second one must be refused, both ways."""
        key, data = f"{self._prefix}probe", b"Interlock writes this to learn whether conditions are kept.\n"
        content = Content.of(iter([data]))
        self._bucket.put(key, data, content.parts[0], {}, _NEW)
        refused = not self._bucket.put(key, data, content.parts[0], {}, _NEW)
        upload = self._bucket.begin(key, {})
        try:
            etag = self._bucket.part(key, upload, 1, data, content.parts[0])
            refused = not self._bucket.finish(key, upload, [(etag, content.parts[0])], _NEW) and refused
        finally:
            self._bucket.abort(key, upload)
        if not refused:
            raise ConfigError(
                f"{self._bucket.place.url} writes over objects although it is told not to (If-None-Match): "
                "recordings would not be safe there"
            )

    def _tidy(self, before: datetime) -> int:
        stale = [each for each in self._bucket.uploads(self._prefix) if each.begun < before]
        for each in stale:
            self._bucket.abort(each.key, each.id)
        with contextlib.suppress(OSError):
            for note in self._parts.glob(f"*{_UPLOAD}"):
                if note.stat().st_mtime < before.timestamp():
                    note.unlink(missing_ok=True)
        return len(stale)

    def _present(self, key: str) -> Found:
        found = self._bucket.head(key)
        if found is None:
            raise StoreError("the recording could not be stored", reason=f"{key} was there and is gone")
        return found

    def _info(self, sid: SessionId) -> RecordingInfo | None:
        key = self._key(sid)
        known = self._metas.get(sid)
        found = self._bucket.head(key) if known is not None else None
        if known is not None and found is not None and found.etag == known[0]:
            return _listed(sid, found.size, found.changed, known[1])
        first = self._bucket.get(key, 0, _HEAD)
        if first is None:
            return None
        meta = MappingProxyType(self._describe(key, first))
        if len(str(meta.get("command", ""))) <= REMEMBERED_COMMAND:
            with self._lock:
                self._metas[sid] = first.etag, meta
                if len(self._metas) > REMEMBERED:
                    del self._metas[next(iter(self._metas))]
        return _listed(sid, first.total, first.changed, meta)

    def _describe(self, key: str, first: Piece) -> dict[str, JsonValue]:
        def pieces() -> Iterator[bytes]:
            yield first.data
            at = len(first.data)
            while at < first.total:
                piece = self._bucket.get(key, at, CHUNK, etag=first.etag)
                if piece is None or not piece.data:
                    return
                yield piece.data
                at += len(piece.data)

        if first.total <= len(first.data):
            return describe(iter([first.data]), first.data[-_END:])
        end = self._bucket.get(key, max(0, first.total - _END), _END, etag=first.etag)
        return describe(pieces(), end.data if end is not None else b"")

    def _piece(self, sid: SessionId, at: int, etag: str) -> Piece | None:
        return self._bucket.get(self._key(sid), at, CHUNK, etag=etag)

    def _sizes(self) -> list[RecordingSize]:
        found = []
        for each in self._bucket.listed(self._prefix):
            name = each.key.removeprefix(self._prefix)
            if name.endswith(_ENDING):
                with contextlib.suppress(ValueError):
                    sid = parse_session_id(name.removesuffix(_ENDING))
                    found.append(RecordingSize(sid, each.size, each.changed))
        return found

    # --- the rest ------------------------------------------------------------------------------

    def _key(self, sid: SessionId) -> str:
        return f"{self._prefix}{parse_session_id(sid)}{_ENDING}"

    def _rival(self, sid: SessionId) -> str:
        return f"{self._prefix}quarantine/{parse_session_id(sid)}.rival"

    def _url(self, sid: SessionId) -> str:
        return f"s3://{self._bucket.place.bucket}/{self._key(sid)}"

    def _note_of_upload(self, sid: SessionId) -> Path:
        return self.path(sid).with_suffix(_UPLOAD)

    def _in_files(self, sid: SessionId) -> bool:
        """Whether it was stored before there was a bucket. StoreError if the disk does not say."""
        try:
            return super().stored(sid)
        except OSError as error:
            raise StoreError("the recordings' disk cannot be read", reason=str(error)) from error

    async def _written(self, write: Callable[[SessionId, T], None], sid: SessionId, what: T) -> None:
        try:
            await self._writers.run(write, sid, what)
        except OSError as error:
            reason = f"storing the recording {sid}: {error}"
            raise StoreError("the recording could not be stored", reason=reason) from error
        self._known[sid] = None
        self._known.move_to_end(sid)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _first(group: BaseExceptionGroup[StoreError]) -> StoreError:
    """One of those that several requests ended with."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _listed(sid: SessionId, size: int, stored: datetime, meta: Mapping[str, JsonValue]) -> RecordingInfo:
    state = RecordingState.CUT_OFF if meta.get("cut_off") else RecordingState.COMPLETE
    return RecordingInfo(sid, size, stored, meta, state)
