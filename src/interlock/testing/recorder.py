"""A recorder with all that it needs, in memory: a part whose disk may be full, timers, what it reports."""

import errno

from interlock.core.errors import RecordingError
from interlock.domain.container import (
    FreshKey,
    decode,
    new_compressor,
)
from interlock.domain.coverage import Level
from interlock.domain.recording import Coverage, Frame, Header, Output, Stream
from interlock.domain.signing import KeySource, unsigned
from interlock.domain.survey import survey
from interlock.services.recordings.recorder import Recorder
from interlock.testing.clock import FakeClock
from interlock.testing.stores import FakeTimers

SHELL = Header(
    sid="d46d710b-24b9-4f86-af68-d7755636b94b",
    user="jeff",
    login="root",
    hostname="web1",
    target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="shell",
    command="",
    start="2026-01-10T22:23:57.642Z",
    cluster="demo",
    interactive=True,
    cols=80,
    rows=24,
)
EXEC = Header(
    sid=SHELL.sid,
    user="jeff",
    login="root",
    hostname="web1",
    target_id=SHELL.target_id,
    sub_kind="interlock",
    recorded_by=SHELL.recorded_by,
    mode="node",
    kind="exec",
    command="cat big",
    start=SHELL.start,
    cluster="demo",
)


class Part:
    """`ports.RecordingPart` in memory, with a disk that may be full."""

    def __init__(self, *, room: int = 1 << 30) -> None:
        self.room = room
        self.data = b""
        self.appends = 0
        self.closed = self.removed = False

    def append(self, data: bytes) -> None:
        """OSError if there is no room."""
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device", "part")
        self.room -= len(data)
        self.appends += 1
        self.data += data

    def close(self) -> None:
        """Nothing more comes."""
        self.closed = True

    def remove(self) -> None:
        """It is not wanted."""
        self.removed = True

    def frames(self) -> list[Frame]:
        """What a reader finds after the header and before the manifest."""
        return [frame for frame in list(decode([self.data]))[1:] if not isinstance(frame.body, Coverage)]


class Desk:
    """A recorder with all that it needs."""

    def __init__(
        self,
        part: Part,
        header: Header = SHELL,
        *,
        limit: int = 1000,
        strict: bool = True,
        record_input: bool = False,
        travels: bool = False,
        signer: KeySource = unsigned,
        content: FreshKey | None = None,
    ) -> None:
        self.part = part
        self.clock = FakeClock()
        self.timers = FakeTimers()
        self.failures: list[RecordingError] = []
        self.lapses: list[RecordingError] = []
        self.recorder = Recorder(
            part,
            header,
            salt=b"saltsalt",
            compressor=new_compressor(),
            clock=self.clock,
            on_failure=self.failures.append,
            on_lapse=None if strict else self.lapses.append,
            call_later=self.timers.call_later,
            command_output_limit=limit,
            record_input=record_input,
            travels=travels,
            signer=signer,
            content=content,
        )

    def level(self, what: str = "session") -> tuple[Level, str]:
        """How the session's output or input is covered, by the recording itself once it is finished."""
        [row] = [row for row in self.recorder.covered() if row.what == what]
        stored = survey([self.part.data])
        if stored.exit is not None:
            assert stored.coverage == self.recorder.covered()
        return row.level, row.why

    def kept(self, stream: Stream) -> bytes:
        """The bytes of a stream that are in the recording."""
        bodies = [frame.body for frame in self.part.frames()]
        return b"".join(body.data for body in bodies if isinstance(body, Output) and body.stream is stream)
