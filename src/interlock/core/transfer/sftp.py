"""Observes SFTP, versions 3 to 6, in passing: what happens to which file, and how it ended.

Sans-IO: `SftpObserver.feed` is shown the bytes of both directions in any pieces, in the order in which they pass,
and returns what is known since. It holds names and numbers, never contents, within the bounds of core.limits;
beyond them, and when what it sees is not SFTP, it stops and says why. For a role that forbids a direction it
changes requests where they lie: see `core.transfer.gate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from interlock.core.errors import RemoteProtocolError
from interlock.core.limits import MAX_SFTP_FILES, MAX_SFTP_HANDLE, MAX_SFTP_HEAD, MAX_SFTP_NAMES, MAX_SFTP_REQUESTS
from interlock.core.sides import Side
from interlock.core.transfer import messages
from interlock.core.transfer.contents import OpenFile, purpose
from interlock.core.transfer.framing import REPLY_HEADS, REQUEST_HEADS, Framer, Sink
from interlock.core.transfer.gate import Gate
from interlock.core.transfer.messages import Change, CopyData, Opening, VersionSelect
from interlock.core.transfer.operations import (
    Allowed,
    Changed,
    Moved,
    NotFollowed,
    Operation,
    Stopped,
)
from interlock.core.wire import Reader

_U32 = Struct(">I")
_U64 = Struct(">Q")
_ID_AT = 5  # behind length and type
_FIRST_AT = 9  # the first field behind the ID
_NOTHING: tuple[Operation, ...] = ()

CUT_OFF = "the session ended before the file was closed"
NOT_OBSERVED = "no longer observed"


@dataclass(slots=True)
class _Asked:
    """A request without an answer."""

    kind: int
    file: OpenFile | None = None  # of READ, WRITE and CLOSE
    offset: int = 0  # of READ
    what: Opening | Change | CopyData | VersionSelect | None = None
    denied: bool = False

    @property
    def names(self) -> int:
        """Bytes of paths held."""
        match self.what:
            case Opening(path):
                return len(path)
            case Change():
                return len(self.what.path) + len(self.what.target_path)
            case _:
                return 0


class SftpObserver:
    """One channel that speaks SFTP."""

    def __init__(self, allowed: Allowed | None = None) -> None:
        self._gate = Gate(allowed or Allowed())
        self._framers = {
            Side.CLIENT: Framer(REQUEST_HEADS, self._request),
            Side.TARGET: Framer(REPLY_HEADS, self._reply),
        }
        self._version = 0  # 0: the target has not named it yet
        self._selecting = False  # the client has asked for another one
        self._greeted = False  # whether the client's INIT was seen
        self._asked: dict[int, _Asked] = {}
        self._files: dict[bytes, OpenFile] = {}  # by handle
        self._closing: dict[OpenFile, str] = {}  # closed, with requests unanswered; why the close failed
        self._receiving: OpenFile | None = None  # whose contents the last reply is
        self._names = 0  # bytes of paths held
        self._out: list[Operation] = []
        self.stopped = ""  # why nothing more is told; empty while it is

    def feed(self, side: Side, data: memoryview) -> Sequence[Operation]:
        """The next bytes from ``side``. If a direction is forbidden, ``data`` from the client may be changed."""
        if self.stopped:
            if side is Side.CLIENT:
                self._gate.after_stop(data)
            return _NOTHING
        reason = self._follow(side, data)
        if reason:
            self._stop(reason)
            if side is Side.CLIENT:
                self._gate.stop(data, self._framers[side].begins_at)
        if not self._out:
            return _NOTHING
        out, self._out = self._out, []
        return out

    def stop(self, reason: str) -> Sequence[Operation]:
        """Observe nothing more, for a reason that the bytes do not show."""
        if not self.stopped:
            self._stop(reason)
        out, self._out = self._out, []
        return out

    def finish(self) -> Sequence[Operation]:
        """The channel is over: what is open is told as cut off."""
        self._settle(self._receiving)
        self._abandon(CUT_OFF)
        out, self._out = self._out, []
        return out

    def _follow(self, side: Side, data: memoryview) -> str:
        """Read on; why that is not possible, or nothing."""
        framer = self._framers[side]
        try:
            framer.feed(data)
            if self._gate.active and side is Side.CLIENT:
                self._gate.check_end(framer)
        except NotFollowed as error:
            return str(error)
        except RemoteProtocolError:
            return f"an SFTP message that is malformed, or longer than {MAX_SFTP_HEAD} bytes"
        return ""

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        self._abandon(NOT_OBSERVED)
        self._out.append(Stopped(reason, cut=self._gate.active))

    def _abandon(self, error: str) -> None:
        files = dict.fromkeys(self._files.values()) | dict.fromkeys(self._closing)
        self._out += [file.told(error) for file in files]
        self._files.clear()
        self._closing.clear()
        self._asked.clear()

    # --- requests ---------------------------------------------------------------------------------

    def _request(self, kind: int, head: bytearray) -> tuple[int, Sink | None]:
        if kind == messages.INIT or not self._greeted:
            if kind != messages.INIT or self._greeted:
                raise NotFollowed("the client does not begin with an INIT, or sends two")
            self._greeted = True
            return 0, None
        if not self._version or self._selecting:
            raise NotFollowed("a request before the version is agreed")
        (number,) = _U32.unpack_from(head, _ID_AT)
        if kind == messages.WRITE:
            return self._write(number, head)
        asked = self._read_request(kind, head)
        denied = self._gate.judge(asked.what, head, self._framers[Side.CLIENT])
        if denied is not None:
            self._out.append(denied)
            asked.denied = True
        self._note(number, asked)
        return 0, None

    def _read_request(self, kind: int, head: bytearray) -> _Asked:
        if kind not in messages.READ_WHOLE:
            return _Asked(kind)
        reader = Reader(bytes(head[_FIRST_AT:]))
        if kind == messages.READ:
            file = self._files.get(reader.string())
            (offset,) = _U64.unpack(reader.take(8))
            return _Asked(kind, file, offset)
        if kind == messages.CLOSE:
            return _Asked(kind, self._files.pop(reader.string(), None))
        if kind == messages.OPEN:
            return _Asked(kind, what=messages.read_open(reader, self._version))
        if kind == messages.EXTENDED:
            return _Asked(kind, what=self._read_extension(reader))
        return _Asked(kind, what=self._named(messages.read_change(kind, reader)))

    def _read_extension(self, reader: Reader) -> Change | CopyData | VersionSelect | None:
        name = reader.string()
        if name == messages.COPY_DATA:
            return messages.read_copy(reader)
        if name == messages.VERSION_SELECT:  # the client may ask nothing more until it is granted
            self._selecting = True
            return messages.read_version_select(reader)
        return messages.read_extension(name, reader)

    def _named(self, change: Change | None) -> Change | None:
        """With the path of an open file in place of its handle."""
        if change is None or change.handle is None:
            return change
        file = self._files.get(change.handle)
        return Change(change.action, file.path if file is not None else "")

    def _write(self, number: int, head: bytearray) -> tuple[int, Sink | None]:
        end = len(head)
        offset, size = _U64.unpack_from(head, end - 12)[0], _U32.unpack_from(head, end - 4)[0]
        file = self._files.get(bytes(head[_FIRST_AT + 4 : end - 12]))
        self._note(number, _Asked(messages.WRITE, file))
        if file is None:
            return size, None
        file.up.begin(offset)
        return size, file.up.add

    def _note(self, number: int, asked: _Asked) -> None:
        if number in self._asked:
            raise NotFollowed("a request has the ID of one that is not answered")
        if len(self._asked) >= MAX_SFTP_REQUESTS:
            raise NotFollowed(f"more than {MAX_SFTP_REQUESTS} requests without an answer")
        self._asked[number] = asked
        if asked.file is not None:
            asked.file.outstanding += 1
        if asked.what is not None:
            self._hold(asked.names)

    def _hold(self, names: int) -> None:
        self._names += names
        if self._names > MAX_SFTP_NAMES:
            raise NotFollowed(f"open files and requests with more than {MAX_SFTP_NAMES} bytes of names")

    # --- replies ----------------------------------------------------------------------------------

    def _reply(self, kind: int, head: bytearray) -> tuple[int, Sink | None]:
        (number,) = _U32.unpack_from(head, _ID_AT)
        if kind == messages.VERSION or not self._version:
            if kind != messages.VERSION or self._version or not self._greeted:
                raise NotFollowed("the target does not begin with a VERSION, or sends two")
            self._agree(number)
            return 0, None
        self._settle(self._receiving)
        asked = self._asked.pop(number, None)
        if asked is None:
            return 0, None
        if asked.what is not None:
            self._names -= asked.names
        if kind == messages.DATA:
            self._receiving = asked.file
            return self._data(asked, head)
        if kind == messages.HANDLE:
            self._opened(asked, head)
        elif kind == messages.STATUS:
            self._status(asked, head)
        self._settle(asked.file)
        return 0, None

    def _agree(self, version: int) -> None:
        if not messages.LOWEST <= version <= messages.HIGHEST:
            raise NotFollowed(f"SFTP version {version}")
        self._version = version

    def _data(self, asked: _Asked, head: bytearray) -> tuple[int, Sink | None]:
        (size,) = _U32.unpack_from(head, _FIRST_AT)
        if asked.file is None or asked.kind != messages.READ:
            return size, None
        asked.file.down.begin(asked.offset)
        return size, asked.file.down.add

    def _opened(self, asked: _Asked, head: bytearray) -> None:
        if not isinstance(asked.what, Opening) or asked.denied:
            return
        handle = Reader(bytes(head[_FIRST_AT:])).string()
        if handle in self._files:
            raise NotFollowed("the target gave out a handle twice")
        if len(self._files) >= MAX_SFTP_FILES or len(handle) > MAX_SFTP_HANDLE:
            raise NotFollowed(f"more than {MAX_SFTP_FILES} open files")
        what = asked.what
        self._files[handle] = OpenFile(what.path, reads=what.reads, writes=what.writes, appends=what.appends)
        self._hold(len(what.path))

    def _status(self, asked: _Asked, head: bytearray) -> None:
        code = Reader(bytes(head[_FIRST_AT:])).uint32()
        if asked.denied:
            if asked.what is not None:  # of an unknown extension "not supported" is right: clients do without it
                self._gate.explain(head, self._framers[Side.TARGET])
            return
        error = messages.status_words(code)
        match asked.what:
            case Opening() as opening if code != messages.OK:
                direction = purpose(reads=opening.reads, writes=opening.writes)
                self._out.append(Moved(opening.path, direction, error=error or "failure"))
            case Change(action, path, target_path):
                self._out.append(Changed(action, path, target_path, error))
            case VersionSelect(version):
                self._selecting = False
                if code == messages.OK:
                    self._agree(version)
            case CopyData(source, target) if code == messages.OK:
                self._copied(source, target)
            case _:
                pass
        if asked.file is not None and error and asked.kind != messages.CLOSE:
            asked.file.failed(error)
        elif asked.file is not None and asked.kind == messages.CLOSE:
            self._closing[asked.file] = error

    def _copied(self, source: bytes, target: bytes) -> None:
        origin, copy = self._files.get(source), self._files.get(target)
        if origin is not None:
            origin.copied(copy.path if copy is not None else "")
        if copy is not None:
            copy.copied()

    def _settle(self, file: OpenFile | None) -> None:
        """One request less: a file is told when its close and all before it are answered."""
        self._receiving = None
        if file is None:
            return
        file.outstanding -= 1
        if not file.outstanding and file in self._closing:
            self._names -= len(file.path)
            self._out.append(file.told(self._closing.pop(file)))
