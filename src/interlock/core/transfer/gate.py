"""Forbids one direction of SFTP for a role, by changing requests where they lie on their way to the target.

A request that the role forbids is made one that every server must refuse: an extended request by a name that
nobody knows, with the same ID and of the same length, so nothing is delayed and no window is disturbed. Its answer
says "not supported"; on its way back it is made to say "permission denied". A request is judged whole or not at
all: one that is not complete within one packet of data, or cannot be read, ends the session, and nothing that
follows it reaches the target as it was.
"""

from struct import Struct

from interlock.core.transfer import messages
from interlock.core.transfer.contents import purpose
from interlock.core.transfer.framing import Framer
from interlock.core.transfer.messages import Change, Opening
from interlock.core.transfer.operations import Action, Allowed, Forbidden, NotFollowed, shown
from interlock.core.wire import Reader

_U32 = Struct(">I")
_NAME_AT = 9  # behind length, type and ID: every request that may be refused begins with a string
_CODE = 5  # from the type of a STATUS to its code
_TEXT = 13  # and to its text
_UNKNOWN_REQUEST = 255  # a type that no server knows
_ANSWER = b"your role does not allow this"


class Gate:
    """What the role allows, applied to one channel."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self.active = not allowed.all

    def judge(self, what: object, head: bytearray, framer: Framer) -> Forbidden | None:
        """Refuse the request that was just read, if the role forbids it. NotFollowed if it cannot be judged."""
        if not self.active:
            return None
        forbidden = self._forbidden(what, head)
        if forbidden is not None:
            self._disguise(head, framer)
        return forbidden

    def _forbidden(self, what: object, head: bytearray) -> Forbidden | None:
        kind = head[4]
        match what:
            case Opening(path, reads, writes):
                if (writes and not self._allowed.upload) or (reads and not self._allowed.download):
                    return Forbidden(Action.OPEN, path, direction=purpose(reads=reads, writes=writes))
            case Change(action, path, target_path):
                if not self._allowed.upload:
                    return Forbidden(action, path, target_path)
            case _ if kind == messages.EXTENDED:
                name = Reader(bytes(head[_NAME_AT:])).string()
                if name not in messages.HARMLESS_EXTENSIONS:
                    return Forbidden(Action.EXTENSION, shown(name))
            case _ if kind not in messages.LOOKS_ONLY:
                raise NotFollowed(f"SFTP request type {kind}")
            case _:
                pass
        return None

    def _disguise(self, head: bytearray, framer: Framer) -> None:
        """The name is overwritten too: the client chose it, and it could be that of an extension."""
        at = framer.begins_at
        if at < 0:
            raise NotFollowed("a request that is not complete within one packet")
        framer.piece[at] = messages.EXTENDED
        size = _U32.unpack_from(head, _NAME_AT)[0]
        name = at + _NAME_AT
        framer.piece[name : name + size] = b"x" * size

    def check_end(self, framer: Framer) -> None:
        """A piece has ended. NotFollowed if it leaves a request half read that may have to be refused."""
        kind = framer.unread
        if self.active and kind is not None and kind not in messages.LOOKS_ONLY and kind != messages.INIT:
            raise NotFollowed("a request that is not complete within one packet")

    def explain(self, head: bytearray, framer: Framer) -> None:
        """Make the target's answer to a refused request say why, as far as it lies in this piece."""
        at, piece = framer.begins_at, framer.piece
        if at < 0:
            return
        _U32.pack_into(piece, at + _CODE, messages.PERMISSION_DENIED)
        size = _U32.unpack_from(head, _NAME_AT + 4)[0] if len(head) >= _NAME_AT + 8 else 0
        text = at + _TEXT
        if text + size <= len(piece):
            piece[text : text + size] = _ANSWER[:size].ljust(size)

    def stop(self, piece: memoryview, begins_at: int) -> None:
        """What cannot be judged does not reach the target: overwrite it, from its type on if that lies here."""
        if self.active:
            piece[max(begins_at, 0) :] = bytes(len(piece) - max(begins_at, 0))
            if begins_at >= 0:
                piece[begins_at] = _UNKNOWN_REQUEST

    def after_stop(self, piece: memoryview) -> None:
        """Nor does what follows."""
        if self.active:
            piece[:] = bytes(len(piece))
