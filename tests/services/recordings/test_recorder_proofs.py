"""What a recording proves while it goes on and when it is finished: seals, checkpoints, index, encryption."""

from interlock.core.ids import DaemonId
from interlock.domain.container import (
    SealState,
    Standing,
    Verdict,
    closing,
    decode,
    verify,
)
from interlock.domain.container.index import STEP, STEP_US
from interlock.domain.coverage import Covered, Level
from interlock.domain.recording import Output, Stream
from interlock.domain.session import Exit, Window
from interlock.domain.signing import WarrantedKey, unsigned
from interlock.domain.survey import survey
from interlock.services.recordings.recorder import CHECKPOINT_S, MAX_FRAME, RETRY_AFTER_S
from interlock.services.sessions.screens import Recorded
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recorder import SHELL, Desk, Part
from interlock.testing.recordings import AUTHORITY, CONTENT, NODE, SID, signer


class Signatures:
    """A `KeySource` that counts how often it is asked."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> WarrantedKey:
        self.made += 1
        return signer(DaemonId(SHELL.recorded_by))


def proved(part: Part) -> Verdict:
    """What the part proves."""
    return verify([part.data], [AUTHORITY.public])


def test_a_recording_is_vouched_for_while_it_goes_on() -> None:
    """With the next block after some seconds, or at the next heartbeat; never twice for the same."""
    signatures = Signatures()
    desk = Desk(Part(), signer=signatures)
    for _ in range(20):
        desk.recorder.output(Stream.STDOUT, b"x")
        desk.timers.fire()
        desk.clock.advance(CHECKPOINT_S / 10)
    assert signatures.made == 1
    vouched = proved(desk.part).vouched
    assert 0 < vouched < len(desk.part.data)
    desk.clock.advance(CHECKPOINT_S)
    writes = desk.part.appends
    desk.recorder.alive()
    assert (signatures.made, desk.part.appends) == (2, writes + 1)
    assert proved(desk.part).vouched == len(desk.part.data)


def test_silence_is_not_signed() -> None:
    """Nothing was added, so nothing is written; not even where each heartbeat is."""
    for travels in (False, True):
        signatures = Signatures()
        desk = Desk(Part(), travels=travels, signer=signatures)
        for _ in range(100):
            desk.clock.advance(10)
            desk.recorder.alive()
        assert signatures.made == 1, "the header"


def test_a_flood_is_signed_once_in_a_while() -> None:
    """However many blocks it makes."""
    signatures = Signatures()
    desk = Desk(Part(), signer=signatures)
    for _ in range(100):
        desk.recorder.output(Stream.STDOUT, bytes(MAX_FRAME) * 4)
        desk.clock.advance(CHECKPOINT_S / 50)
    assert signatures.made == 1


def test_a_finished_recording_is_signed_as_a_whole() -> None:
    """By whoever recorded it; without a key, it says that nobody has."""
    for keys, standing in ((Signatures(), Standing.SIGNED), (unsigned, Standing.NOT_SIGNED)):
        desk = Desk(Part(), signer=keys)
        desk.recorder.output(Stream.STDOUT, b"hello")
        assert proved(desk.part).standing is Standing.BROKEN, "it has no end"
        before = desk.recorder.closed
        desk.recorder.finish(Exit(status=0))
        assert (before, desk.recorder.closed) == (False, True)
        assert proved(desk.part).standing is standing
        assert survey([desk.part.data]).closed


def test_what_the_disk_did_not_take_breaks_no_chain() -> None:
    """A block that was lost is a gap in what was recorded, not in what is signed."""
    desk = Desk(Part(), strict=False, signer=Signatures())
    desk.recorder.output(Stream.STDOUT, b"kept")
    desk.timers.fire()
    room, desk.part.room = desk.part.room, 0
    desk.recorder.output(Stream.STDOUT, b"lost")
    desk.timers.fire()
    desk.clock.advance(RETRY_AFTER_S)
    desk.timers.fire()
    desk.part.room = room
    desk.clock.advance(RETRY_AFTER_S)
    desk.timers.fire()
    desk.recorder.output(Stream.STDOUT, b"kept again")
    desk.recorder.finish(Exit(status=0))
    assert b"".join(f.body.data for f in desk.part.frames() if isinstance(f.body, Output)) == b"keptkept again"
    assert proved(desk.part).standing is Standing.SIGNED


def test_a_long_recording_leaves_its_index_to_others() -> None:
    """Making it takes longer than the event loop can spare; what was recorded is vouched for already."""
    desk = Desk(Part(), signer=Signatures())
    for number in range(40):
        desk.recorder.output(Stream.STDOUT, FakeEntropy(number).token(MAX_FRAME))
        desk.clock.advance(1)
    desk.recorder.finish(Exit(status=0))
    assert not desk.recorder.closed
    assert not desk.recorder.failed
    file = desk.recorder.unsealed
    assert file is not None
    assert file.chain.offset == len(desk.part.data) == proved(desk.part).vouched
    assert len(file.points) == 2
    end = closing(file, SID, SealState.CLOSED, signer(NODE), [], kept=file.chain.offset)
    desk.part.data += end
    assert proved(desk.part).standing is Standing.SIGNED
    assert file.points == survey([desk.part.data]).points


def test_a_recording_that_becomes_long_with_its_last_block_is_closed_once() -> None:
    """Whether it gets an index is settled before its end is written: two closing seals would be one too many."""
    desk = Desk(Part(), signer=Signatures())
    desk.clock.advance(STEP_US / 1_000_000)
    desk.recorder.output(Stream.STDOUT, FakeEntropy(1).token(STEP - 8192))
    rows = [Covered(f"channel {number}", Level.FULL, FakeEntropy(number).token(64).hex()) for number in range(300)]
    assert len(desk.part.data) < STEP
    desk.recorder.finish(Exit(status=0), rows)
    assert len(desk.part.data) > STEP
    assert (desk.recorder.closed, desk.recorder.unsealed) == (True, None)
    assert proved(desk.part).standing is Standing.SIGNED


def test_who_looks_while_the_disk_refuses_does_not_end_the_recording() -> None:
    """The disk is tried again all the same, and what is written then is vouched for."""
    desk = Desk(Part(), strict=False, signer=Signatures())
    room, desk.part.room = desk.part.room, 0
    desk.recorder.output(Stream.STDOUT, b"lost")
    desk.recorder.flush()
    desk.recorder.flush()
    assert [timer.delay for timer in desk.timers.pending] == [RETRY_AFTER_S]
    desk.part.room = room
    desk.clock.advance(CHECKPOINT_S)
    desk.timers.fire()
    assert desk.recorder.lag == 0
    desk.recorder.alive()
    assert proved(desk.part).vouched == len(desk.part.data)


def test_encrypted_contents_and_readable_facts() -> None:
    """What was shown needs the key; that a forward was opened, what was lost and how it ended do not."""
    desk = Desk(Part(), strict=False, signer=Signatures(), content=CONTENT)
    recorder, part = desk.recorder, desk.part
    recorder.output(Stream.STDOUT, b"first")
    recorder.cover(Covered("direct-tcpip", Level.METADATA))
    recorder.output(Stream.STDOUT, b"second")
    room, part.room = part.room, 0
    desk.timers.fire()
    part.room = room
    desk.clock.advance(RETRY_AFTER_S)
    desk.timers.fire()
    recorder.resize(Window(100, 30))
    recorder.output(Stream.STDOUT, b"third")
    assert recorder.key is not None
    seen = Recorded(PartInMemory(part), recorder.key)
    recorder.flush()
    shown = [body for body in seen.read()[1] if isinstance(body, Output)]
    assert b"".join(body.data for body in shown) == b"firstthird"
    recorder.finish(Exit(status=0))
    for word in (b"first", b"second", b"third"):
        assert word not in part.data
    found = survey([part.data])
    assert (found.exit, len(found.gaps), found.resizes, found.lost) == (Exit(status=0), 1, 0, 0)
    assert [row.what for row in found.coverage] == ["session", "input"]
    assert proved(part).standing is Standing.SIGNED
    opened = [frame.body for frame in decode([part.data], lambda _wrapped: CONTENT.key)]
    assert b"".join(body.data for body in opened if isinstance(body, Output)) == b"firstthird"
    assert Window(100, 30) in opened


class PartInMemory:
    """`ports.PartReader`."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.at = 0

    def read(self) -> bytes:
        data, self.at = self.part.data[self.at :], len(self.part.data)
        return data

    def close(self) -> None:
        """Nothing to close."""
