"""What the taps do for each packet, counted: calls of Python and of C, from the tap on. A guard for the fast path.

A number that grows here is paid for a quarter of a million times in each gigabyte of a terminal's output. One that
shrinks is to be written down.
"""

import gc
import sys
from collections.abc import Callable
from functools import partial
from struct import pack
from types import FrameType

import pytest

from interlock.adapters.ssh.taps import make_taps
from interlock.core.sides import Side
from interlock.core.transfer.command import SftpCommand
from interlock.core.wire import string, uint32
from interlock.domain.container import new_compressor
from interlock.domain.recording import Header
from interlock.services.recordings.recorder import Recorder
from interlock.services.sessions.transfers import FileTransfers
from interlock.testing.clock import FakeClock
from interlock.testing.stores import FakeTimers


def calls_of(step: Callable[[], object]) -> tuple[int, int]:
    """How many functions of Python, and how many of C, this calls."""
    seen = {"call": 0, "c_call": -1}  # the end of the profile is one

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        seen[event] = seen.get(event, 0) + 1

    gc.disable()  # hypothesis, which other tests use, is called at each collection
    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
        gc.enable()
    return seen["call"], seen["c_call"]


class Nowhere:
    """`ports.RecordingPart`: a disk that takes everything."""

    def append(self, data: bytes) -> None:
        """Taken."""

    def close(self) -> None:
        """Nothing to close."""

    def remove(self) -> None:
        """Nothing to remove."""


class Session:
    """Its recorder and its observer, and nothing between."""

    keeps_input = False

    def __init__(self, *, interactive: bool, transfers: FileTransfers | None = None) -> None:
        header = Header(
            sid="d46d710b-24b9-4f86-af68-d7755636b94b",
            user="jeff",
            login="root",
            hostname="web1",
            target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
            sub_kind="agentless",
            recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
            mode="proxy",
            kind="exec",
            command="cat big",
            start="2026-01-10T22:23:57.642Z",
            cluster="demo",
            interactive=interactive,
        )
        self.transfers = transfers
        self.output = Recorder(
            Nowhere(),
            header,
            salt=b"saltsalt",
            compressor=new_compressor(),
            clock=FakeClock(),
            on_failure=lambda error: pytest.fail(error.reason),
            call_later=FakeTimers().call_later,
        ).output

    def input(self, data: bytes | memoryview) -> None:
        """Not kept."""


OUTPUT = {
    # the tap, output, _add, _put, _lasted, the clock, add
    "a terminal": (True, (7, 3)),
    # beyond what is kept of a command: the tap, output, admit, which kind of stream
    "a command": (False, (4, 2)),
}


@pytest.mark.parametrize("what", OUTPUT)
def test_what_a_packet_of_output_costs(what: str) -> None:
    """The same for each, as long as no frame and no block ends."""
    interactive, expected = OUTPUT[what]
    tap = make_taps(Session(interactive=interactive), records=True)[Side.TARGET]
    packet = memoryview(bytes(4095 if interactive else 32768))
    for _ in range(2 if interactive else 600):
        tap(0, packet)
    assert [calls_of(partial(tap, 0, packet)) for _ in range(5)] == [expected] * 5


DATA = bytes(32768)
HANDLE = string(bytes(4))


def sftp(kind: int, fields: bytes) -> memoryview:
    """One packet of SFTP, as it is read from a socket."""
    return memoryview(bytearray(uint32(1 + len(fields)) + bytes([kind]) + fields))


def transfer() -> FileTransfers:
    """A session of SFTP with one open file."""
    found = FileTransfers(SftpCommand(), tell=lambda _kind, _fields: None, has_room=lambda: True)
    found.feed(Side.CLIENT, sftp(1, uint32(3)))
    found.feed(Side.TARGET, sftp(2, uint32(3)))
    found.feed(Side.CLIENT, sftp(3, uint32(1) + string("/file") + uint32(0x1B) + uint32(0)))
    found.feed(Side.TARGET, sftp(102, uint32(1) + HANDLE))
    return found


def write(number: int) -> memoryview:
    """A WRITE of the file's next bytes."""
    return sftp(6, uint32(number) + HANDLE + pack(">Q", number * len(DATA)) + string(DATA))


def read(number: int) -> memoryview:
    """A READ of the file's next bytes."""
    return sftp(5, uint32(number) + HANDLE + pack(">QI", number * len(DATA), len(DATA)))


Passing = tuple[Side, Callable[[int], memoryview]]

PUT: tuple[Passing, ...] = (
    (Side.CLIENT, write),
    (Side.TARGET, lambda number: sftp(101, uint32(number) + bytes(12))),
)
GET: tuple[Passing, ...] = (
    (Side.CLIENT, read),
    (Side.TARGET, lambda number: sftp(103, uint32(number) + string(DATA))),
)
EXCHANGES: dict[str, tuple[tuple[Passing, ...], list[tuple[int, int]]]] = {
    "put": (PUT, [(13, 17), (15, 13)]),
    "get": (GET, [(18, 16), (12, 14)]),
}


@pytest.mark.parametrize("what", EXCHANGES)
def test_what_a_piece_of_a_file_costs(what: str) -> None:
    """Request and reply: their heads are read, and the contents hashed where they lie."""
    exchange, expected = EXCHANGES[what]
    transfers = transfer()

    def costs(number: int) -> list[tuple[int, int]]:
        packets = [(side, make(number)) for side, make in exchange]
        return [calls_of(partial(transfers.feed, side, data)) for side, data in packets]

    assert [costs(number) for number in range(5)] == [expected] * 5


@pytest.mark.parametrize("side", Side)
def test_what_lies_within_a_piece_is_passed_over_at_once(side: Side) -> None:
    """However long the contents of one packet are, each piece of them costs the same few calls."""
    transfers = transfer()
    if side is Side.CLIENT:
        head = sftp(6, uint32(0) + HANDLE + bytes(8) + string(bytes(1 << 20)))
    else:
        transfers.feed(Side.CLIENT, read(0))
        head = sftp(103, uint32(0) + string(bytes(1 << 20)))
    transfers.feed(side, head[:40000])
    piece = head[40000:72768]
    assert [calls_of(partial(transfers.feed, side, piece)) for _ in range(5)] == [(5, 4)] * 5
