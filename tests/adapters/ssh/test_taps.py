"""Which of a channel's bytes go to the recorder, and which to the observer of files."""

from collections.abc import Sequence

import pytest

from interlock.adapters.ssh.taps import make_taps
from interlock.core.sides import Side
from interlock.core.transfer.command import SftpCommand
from interlock.core.transfer.operations import Operation, Stopped
from interlock.domain.recording import Stream
from interlock.services.sessions.transfers import FileTransfers


class Seen:
    """An observer, and a session that it belongs to."""

    def __init__(self, *, moves_files: bool, keeps_input: bool = False) -> None:
        self.keeps_input = keeps_input
        self.seen: list[tuple[Side, bytes]] = []
        self.recorded: list[tuple[Stream, bytes]] = []
        self.stops: list[str] = []
        self.transfers = None
        if moves_files:
            self.transfers = FileTransfers(
                SftpCommand(), tell=lambda _kind, _fields: None, has_room=lambda: True, observer=self
            )

    def input(self, data: bytes | memoryview) -> None:
        self.recorded.append((Stream.STDIN, bytes(data)))

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        self.recorded.append((stream, bytes(data)))

    def feed(self, side: Side, data: memoryview) -> Sequence[Operation]:
        self.seen.append((side, bytes(data)))
        return ()

    def stop(self, reason: str) -> Sequence[Operation]:
        self.stops.append(reason)
        return [Stopped(reason)]

    def finish(self) -> Sequence[Operation]:
        return ()


def test_a_session_that_moves_no_files() -> None:
    """What the client sends is seen by nobody; both outputs are recorded."""
    session = Seen(moves_files=False)
    assert make_taps(session, records=False) == {}
    taps = make_taps(session, records=True)
    assert set(taps) == {Side.TARGET}
    taps[Side.TARGET](0, memoryview(b"out"))
    taps[Side.TARGET](1, memoryview(b"err"))
    assert session.recorded == [(Stream.STDOUT, b"out"), (Stream.STDERR, b"err")]


def test_a_session_that_moves_files() -> None:
    """The observer sees both directions' plain data in their order; error output is no part of the protocol."""
    session = Seen(moves_files=True)
    taps = make_taps(session, records=True)
    taps[Side.CLIENT](0, memoryview(b"ask"))
    taps[Side.TARGET](0, memoryview(b"answer"))
    taps[Side.TARGET](1, memoryview(b"err"))
    assert session.seen == [(Side.CLIENT, b"ask"), (Side.TARGET, b"answer")]
    assert session.recorded == [(Stream.STDOUT, b"answer"), (Stream.STDERR, b"err")]
    assert session.stops == []


@pytest.mark.parametrize("moves_files", [True, False])
def test_input_is_recorded_if_it_is_kept(moves_files: bool) -> None:
    """Beside the observer, and only where the session is ours to record."""
    session = Seen(moves_files=moves_files, keeps_input=True)
    make_taps(session, records=True)[Side.CLIENT](0, memoryview(b"typed"))
    assert session.recorded == [(Stream.STDIN, b"typed")]
    assert session.seen == ([(Side.CLIENT, b"typed")] if moves_files else [])
    assert (Side.CLIENT in make_taps(session, records=False)) is moves_files


def test_data_of_another_kind_from_the_client() -> None:
    """Some targets take it for input and others drop it, so nothing can be followed from here on."""
    session = Seen(moves_files=True)
    make_taps(session, records=True)[Side.CLIENT](1, memoryview(b"odd"))
    assert len(session.stops) == 1
    assert session.seen == [(Side.CLIENT, b"odd")]  # after the stop, when it can only be made harmless
