"""R7 and R9: what a session left is signed as a whole, and there is one of it, whatever is done again."""

import random
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.certificate import PublicKey
from interlock.core.errors import RecordingError
from interlock.domain.container import Standing, verify
from interlock.testing.recordings import AUTHORITY, SID, STRANGER, made, signer

SIGNED = made(by=signer())


def standing(data: bytes, *keys: bytes) -> Standing:
    """By the authority's key, unless by others."""
    return verify([data], list(keys) or [AUTHORITY.public], sid=SID).standing


def test_r07_a_whole_recording_is_signed_and_by_nobody_else() -> None:
    """By the authority that is trusted; another one's word is none, and neither is none."""
    assert standing(SIGNED.data) is Standing.SIGNED
    assert standing(SIGNED.data, STRANGER.public) is not Standing.SIGNED
    assert standing(made().data) is not Standing.SIGNED
    assert PublicKey("ssh-ed25519", (AUTHORITY.public,)).line()


@pytest.mark.parametrize("seed", range(3))
def test_r07_one_flipped_bit_is_noticed(seed: int) -> None:
    """Anywhere: a hundred places, drawn."""
    draw = random.Random(seed)
    for at in draw.sample(range(len(SIGNED.data)), 100):
        data = bytearray(SIGNED.data)
        data[at] ^= 1 << draw.randrange(8)
        assert standing(bytes(data)) is not Standing.SIGNED, at


def test_r07_a_frame_less_and_frames_in_another_order_are_noticed() -> None:
    """The last one dropped, each one dropped, any two swapped, one repeated, one of another recording put in."""
    blocks = list(SIGNED.blocks)
    other = made([b"rm -rf /\r\n"], by=signer()).blocks
    for at in range(len(blocks)):
        assert standing(b"".join(blocks[:at] + blocks[at + 1 :])) is not Standing.SIGNED
        assert standing(b"".join([*blocks[: at + 1], *blocks[at:]])) is not Standing.SIGNED
        if at < len(other) and other[at] != blocks[at]:
            assert standing(b"".join([*blocks[:at], other[at], *blocks[at + 1 :]])) is not Standing.SIGNED
        for after in range(at + 1, len(blocks)):
            swapped = blocks.copy()
            swapped[at], swapped[after] = blocks[after], blocks[at]
            assert standing(b"".join(swapped)) is not Standing.SIGNED


def test_r07_every_cut_is_noticed() -> None:
    """Wherever a file ends too soon, the end that is missing is missed."""
    for size in range(0, len(SIGNED.data), 7):
        assert standing(SIGNED.data[:size]) is not Standing.SIGNED


async def test_r09_a_recording_that_is_stored_again_is_one(tmp_path: Path) -> None:
    """Ten times the same is one, and nothing of it is gone; another one is put aside, and replaces nothing."""
    recordings = FileRecordings(tmp_path / "recordings")
    for number in range(10):
        (tmp_path / f"again{number}").write_bytes(SIGNED.data)
        await recordings.store(SID, tmp_path / f"again{number}")
    (tmp_path / "other").write_bytes(made([b"rm -rf /\r\n"], by=signer()).data)
    with pytest.raises(RecordingError):
        await recordings.store(SID, tmp_path / "other")
    assert [each.sid for each in await recordings.recordings()] == [SID]
    assert b"".join([piece async for piece in recordings.read(SID)]) == SIGNED.data
