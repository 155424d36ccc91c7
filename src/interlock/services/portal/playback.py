"""Recordings for people at the portal: their own, and those of others where a role says so.

Whose a recording is and of which node is read from its own header. The labels of its node are those that it has
now; of a node that is gone, those that it had. See `interlock.core.portal` for how it travels.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, NotFound, RecordingError
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.domain.access import Verb
from interlock.domain.audit import JsonValue, rfc3339
from interlock.domain.container import FRONT, Decoder, Place, Unlock, needed, opened_for_player, place_of
from interlock.domain.rbac import Role, may, may_see_own
from interlock.domain.recording import Header, RecordingState
from interlock.domain.target import SubKind, Target
from interlock.ports import OpenedRecording, RecordingFilter, RecordingInfo, Recordings, TargetSource

PAGES = 10
"""Pages of everybody's recordings that are looked through for one reply: the person asks on for more."""

_log = structlog.get_logger()

_STORED = frozenset({RecordingState.COMPLETE, RecordingState.CUT_OFF})


@dataclass(frozen=True, slots=True)
class Download:
    """A reply that is followed by a recording's bytes."""

    head: wire.Stream
    pieces: AsyncGenerator[bytes, None]  # to be closed by whoever takes it


class Playback:
    """See the module's docstring."""

    def __init__(self, recordings: Recordings, *, targets: TargetSource, unlock: Unlock | None) -> None:
        self._recordings = recordings
        self._targets = targets
        self._unlock = unlock  # None: whoever plays an encrypted recording needs an identity of his own

    async def recordings(self, user: str, roles: Sequence[Role], request: wire.Recordings) -> wire.RecordingList:
        """One's own, or all that one may see; the newest sessions first."""
        if not request.all:
            page = await self._recordings.page(RecordingFilter(user, request.after, request.limit))
            own = may_see_own(roles)
            return wire.RecordingList(
                [_item(each) for _, each in page.rows if own and _is_of(each, user)], page.next
            )
        known = {target.id: target for target in await self._targets.targets()}
        after, items = request.after, list[wire.RecordingItem]()
        for _ in range(PAGES):
            page = await self._recordings.page(RecordingFilter(None, after, request.limit - len(items)))
            items += (_item(each) for _, each in page.rows if self._may_list(user, roles, each, known))
            after = page.next
            if not after or len(items) == request.limit:
                break
        return wire.RecordingList(items, after)

    def _may_list(
        self, user: str, roles: Sequence[Role], info: RecordingInfo, known: dict[DaemonId, Target]
    ) -> bool:
        if info.state not in _STORED:
            return False
        if _is_of(info, user) and may_see_own(roles):
            return True
        target = known.get(DaemonId(str(info.meta.get("target_id", ""))))
        return any(may(roles, verb, target) for verb in (Verb.LIST_RECORDINGS, Verb.PLAY_RECORDINGS))

    async def download(
        self, user: str, roles: Sequence[Role], request: wire.Recording
    ) -> tuple[Download, dict[str, JsonValue]]:
        """The recording, and what is to be told of it; Denied or NotFound."""
        try:
            sid = parse_session_id(request.sid)
        except ValueError as error:
            raise NotFound(f"{request.sid[:64]!r} is not a session ID") from error
        download = await self._from(user, roles, sid, request.at) if request.at else None
        download = download or await self._whole(user, roles, sid)
        return download, {"session_type": "ssh", "format": "ilr"}

    async def _whole(self, user: str, roles: Sequence[Role], sid: SessionId) -> Download:
        pieces = self._recordings.read(sid)
        try:
            held, header = await _front(pieces)
            front = await self._admitted(user, roles, sid, header, b"".join(held))
        except InterlockError:
            await _close(pieces)
            raise
        return Download(wire.Stream(sid), _chained(front, pieces))

    async def _from(self, user: str, roles: Sequence[Role], sid: SessionId, at: int) -> Download | None:
        """What is needed to play it from this moment on; None if that cannot be told, because it is damaged."""
        file = await self._recordings.open(sid)
        try:
            found, seen = await _place(file, at)
            front = b"" if found is None else await self._admitted(user, roles, sid, found.header, found.front)
        except BaseException:  # also when the person has gone
            await file.close()
            raise
        if found is None:
            await file.close()
            return None
        places = needed(seen, found, file.size)
        return Download(wire.Stream(sid, places), _placed(file, places, front))

    async def _admitted(
        self, user: str, roles: Sequence[Role], sid: SessionId, header: Header | None, front: bytes
    ) -> bytes:
        """The beginning of the file as the person may have it; Denied if it is not for this person."""
        owner = (header.user or None) if header is not None and not header.origin_cluster else None
        if header is None or not await self._may_play(user, roles, owner, header):
            public = "access denied: this is not a recording of one of your sessions"
            raise Denied(public, reason=f"{user} asked for session {sid} of {owner or 'nobody known'}")
        if self._unlock is not None:
            with suppress(RecordingError):  # of other recipients: the player may be one of them
                return opened_for_player(front, self._unlock)
        return front

    async def _may_play(self, user: str, roles: Sequence[Role], owner: str | None, header: Header) -> bool:
        if owner == user and may_see_own(roles):
            return True
        if not any(Verb.PLAY_RECORDINGS in (role.options.allow or ()) for role in roles):
            return False
        known = {target.id: target for target in await self._targets.targets()}
        return may(roles, Verb.PLAY_RECORDINGS, known.get(DaemonId(header.target_id)) or _gone(header))


def _gone(header: Header) -> Target:
    """The node as it was."""
    labels = header.event.get("server_labels")
    known = {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
    return Target(DaemonId(header.target_id), header.hostname, "", 0, SubKind.NODE, known)


def _item(info: RecordingInfo) -> wire.RecordingItem:
    return wire.RecordingItem(sid=info.sid, size=info.size, stored=rfc3339(info.stored), meta=dict(info.meta))


def _is_of(info: RecordingInfo, user: str) -> bool:
    return info.state in _STORED and _owner(info) == user


def _owner(info: RecordingInfo) -> str | None:
    """Which of our users' session it was; a header without a user belongs to nobody."""
    owner = info.meta.get("user")
    return owner if isinstance(owner, str) and owner and not info.meta.get("origin_cluster") else None


async def _front(pieces: AsyncIterator[bytes]) -> tuple[list[bytes], Header | None]:
    """Read as far as the recording's header, which says whose it is; NotFound if there is no recording.

    Cheaper than looking through the list of all recordings, and it is the same header.
    """
    decoder, held = Decoder(blind=True), list[bytes]()
    async for piece in pieces:
        held.append(piece)
        if any(True for _ in decoder.feed(piece)) or sum(map(len, held)) > FRONT:
            break
    return held, decoder.header


async def _place(file: OpenedRecording, at: int) -> tuple[Place | None, list[tuple[int, int]]]:
    """Where to begin for a moment, None if the recording is damaged; and what was read to find it."""
    seen, asking = list[tuple[int, int]](), place_of(file.size, at, Decoder(blind=True))
    try:
        wanted = next(asking)
        while True:
            data = await file.read(*wanted)
            seen.append((wanted[0], len(data)))
            wanted = asking.send(data)
    except StopIteration as end:
        found: Place = end.value
        return found, seen
    except RecordingError as error:
        _log.warning("portal.not_sought", reason=error.reason)
        return None, seen


async def _placed(
    file: OpenedRecording, places: Sequence[tuple[int, int]], front: bytes
) -> AsyncGenerator[bytes, None]:
    """The bytes of all places, one after the other; ``front``: what the file's first bytes are to be."""
    try:
        for offset, size in places:
            at, end = offset, offset + size
            if not at:
                yield front
                at = len(front)
            while at < end:
                piece = await file.read(at, min(wire.CHUNK, end - at))
                if not piece:
                    raise RecordingError("the recording could not be read to its end")
                yield piece
                at += len(piece)
    finally:
        await file.close()


async def _chained(front: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        yield front
        async for piece in pieces:
            yield piece
    finally:
        await _close(pieces)


async def _close(pieces: AsyncIterator[bytes]) -> None:
    """Let a generator close its file now and not when it is collected."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
