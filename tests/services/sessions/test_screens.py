"""A live session's screen, read back from what its recorder has written so far."""

import asyncio

import pytest

from interlock.core.errors import RecordingError
from interlock.domain.container import new_compressor
from interlock.domain.recording import Header, Output, Stream
from interlock.domain.session import Window
from interlock.services.recordings.recorder import Recorder
from interlock.services.sessions.screens import HISTORY, REMEMBERED, Past, Recorded, Remembered, Screens
from interlock.testing.clock import FakeClock
from interlock.testing.stores import FakeTimers

SID = "d46d710b-24b9-4f86-af68-d7755636b94b"
HEADER = Header(SID, "u", "l", "h", "t", "k", "r", "m", "shell", "", "", "c", interactive=True, cols=40, rows=5)


class Part:
    """`ports.RecordingPart` and `ports.PartReader` of one file in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = 0
        self._at = 0

    def append(self, data: bytes) -> None:
        self.data += data

    def remove(self) -> None:
        pass

    def read(self) -> bytes:
        piece = self.data[self._at : self._at + 1000]  # never whole blocks
        self._at += len(piece)
        return piece

    def close(self) -> None:
        self.closed += 1


def recording(part: Part) -> Recorder:
    """A recorder that writes into the part; its timer never fires by itself."""

    def failed(error: RecordingError) -> None:
        raise AssertionError(error.reason)

    return Recorder(
        part,
        HEADER,
        salt=b"saltsalt",
        compressor=new_compressor(),
        clock=FakeClock(),
        on_failure=failed,
        call_later=FakeTimers().call_later,
    )


async def test_what_was_written_this_moment_is_on_the_screen() -> None:
    """Also what the recorder still holds back, and what comes while the past is read."""
    part = Part()
    recorder = recording(part)
    screens = Screens(lambda: Recorded(part), recorder.flush)
    recorder.output(Stream.STDOUT, b"one")
    assert (await screens.current()).lines[0] == "one"
    recorder.output(Stream.STDOUT, b"\x1b[2;1Htwo")
    recorder.resize(Window(50, 6))
    screen = await screens.current()
    assert (screen.lines[:2], screen.size) == (["one", "two"], (50, 6))
    assert screens.known is screen
    screens.close()
    assert part.closed == 1


async def test_those_who_come_together_read_one_after_the_other() -> None:
    """The file is closed when the last of them has read, if the session ended meanwhile."""
    part = Part()
    recorder = recording(part)
    recorder.output(Stream.STDOUT, b"x" * 20)
    screens = Screens(lambda: Recorded(part), recorder.flush)
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(screens.current()) for _ in range(2)]
        await asyncio.sleep(0)
        screens.close()
        assert part.closed == 0
    assert {task.result().lines[0] for task in both} == {"x" * 20}
    assert part.closed >= 1


def test_a_long_past_is_skimmed() -> None:
    """Modes that were set at the beginning still hold; what has long been written over is not painted."""
    part = Part()
    recorder = recording(part)
    recorder.output(Stream.STDOUT, b"\x1b[?1049h\x1b[?2004hancient")
    line = b"\x1b[3;1H" + b"filler " * 100
    for _ in range(HISTORY // len(line) + 10):
        recorder.output(Stream.STDOUT, line)
    recorder.output(Stream.STDOUT, b"\x1b[2J\x1b[1;1Hnow")
    recorder.flush()
    past = Past(Recorded(part))
    past.catch_up()
    assert past.screen.lines == ["now", "", "", "", ""]
    assert past.screen.on_alternate
    assert b"\x1b[?2004h" in past.screen.snapshot()
    assert past.catch_up() == 0


async def test_without_a_recording() -> None:
    """The last output is in memory, however much there was."""
    remembered = Remembered(Window(30, 4))
    screens = Screens(lambda: remembered, lambda: None)
    for _ in range(100):
        remembered.note(Output(Stream.STDOUT, b"y" * (REMEMBERED // 50)))
    remembered.note(Output(Stream.STDOUT, b"\x1b[2J\x1b[Hlast words"))
    assert (await screens.current()).lines[0] == "last words"
    remembered.note(Window(60, 4))
    assert (await screens.current()).size == (60, 4)
    screens.close()


async def test_a_recording_that_cannot_be_read() -> None:
    """Is told; nobody is shown an empty screen for a full one."""

    def gone() -> Recorded:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        await Screens(gone, lambda: None).current()
