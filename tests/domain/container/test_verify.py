"""Whether a recording is what its recorder wrote: every damage is named with its place, whoever asks."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.container import Chain, SealState, Standing, Verdict, decode, sealed, verify
from interlock.domain.container.blocks import VERSION, BlockKind, read_head
from interlock.domain.signing import DaemonRole
from interlock.testing.recordings import (
    AUTH,
    AUTHORITY,
    DAMAGES,
    HEADER,
    NODE,
    SALT,
    SID,
    START,
    STRANGER,
    Made,
    made,
    signer,
)

KEYS = [STRANGER.public, AUTHORITY.public]
SIGNED = made(by=signer())
OLD = Path(__file__).parent / "data" / "format1.ilr"


def checked(data: bytes, *, sid: SessionId | None = SID) -> Verdict:
    """By our own verifier."""
    return verify([data], KEYS, sid=sid)


def problem(data: bytes) -> tuple[int, str]:
    """The place of what is wrong, and what it is."""
    found = checked(data)
    assert found.standing is Standing.BROKEN
    assert found.problem is not None
    return found.problem.offset, found.problem.words


def test_a_recording_that_its_recorder_signed() -> None:
    """It is vouched for as a whole, by the daemon whose warrant the seals have."""
    found = checked(SIGNED.data)
    assert (found.standing, found.problem, found.completed) == (Standing.SIGNED, None, False)
    assert (found.size, found.vouched, found.blocks) == (len(SIGNED.data), len(SIGNED.data), 9)
    assert found.signer is not None
    assert (found.signer.daemon, found.signer.role) == (NODE, DaemonRole.NODE)
    assert found.header == HEADER


@given(st.lists(st.integers(0, 3000), max_size=9))
def test_the_pieces_in_which_a_file_is_read_do_not_matter(cuts: list[int]) -> None:
    """One byte at a time or all at once."""
    edges = [0, *sorted(min(each, len(SIGNED.data)) for each in cuts), len(SIGNED.data)]
    assert verify([SIGNED.data[a:b] for a, b in pairwise(edges)], KEYS, sid=SID) == checked(SIGNED.data)


@pytest.mark.parametrize("way", DAMAGES)
@given(one=st.integers(0, 10_000), other=st.integers(0, 10_000))
def test_every_damage_is_named_with_its_place(way: str, one: int, other: int) -> None:
    """Flipped bits, cuts, and blocks that are missing, in another order or repeated."""
    data, place = DAMAGES[way](SIGNED, one, other)
    assert problem(data)[0] == place


@given(number=st.integers(0, 8), where=st.integers(4, 10_000), flip=st.integers(1, 255))
def test_damage_with_a_checksum_that_fits_is_named_too(number: int, where: int, flip: int) -> None:
    """Whoever changes a file on purpose can make its checksums right, but not the hash that the next block has."""
    blocks = [bytearray(each) for each in SIGNED.blocks]
    block = blocks[number + 1]
    block[8 + where % (len(block) - 8)] ^= flip
    block[4:8] = crc32(block[8:], crc32(SALT)).to_bytes(4, "big")
    found = problem(b"".join(map(bytes, blocks)))
    following = SIGNED.offset(number + 1) if number < 8 else SIGNED.offset(number)
    assert found[0] in (SIGNED.offset(number), following)


def test_each_damage_has_its_words() -> None:
    """What is missing, repeated, foreign or unsigned is told apart."""
    blocks = SIGNED.blocks
    assert problem(b"".join((*blocks[:4], *blocks[5:]))) == (
        SIGNED.offset(3),
        "block 4 comes where block 3 is due: blocks are missing",
    )
    assert problem(b"".join((*blocks[:4], *blocks[3:])))[1] == "block 2 comes again where block 3 is due"
    assert "ends inside a block" in problem(SIGNED.data[:-1])[1]
    assert "no block begins" in problem(SIGNED.data[: SIGNED.offset(4)] + b"junk")[1]
    assert "follows the seal" in problem(SIGNED.data + blocks[3])[1]
    unsigned_end = problem(b"".join(blocks[:-1]))
    vouched = SIGNED.offset(3)
    assert unsigned_end == (
        SIGNED.offset(8),
        f"the recording has no end, or it was cut off: signed are the first {vouched} bytes",
    )
    assert "nothing of it is signed" in problem(b"".join(blocks[:3]))[1]
    assert "not a recording" in problem(b"#!/bin/sh and so on and so on")[1]
    assert problem(SIGNED.data[:10]) == (10, "the file ends before its first block")


def test_blocks_of_another_recording_do_not_fit() -> None:
    """Not even with the same salt and at the same place."""
    other = made([b"$ ", b"rm -r /\r\n", b"\r\n"], by=signer())
    blocks = (*SIGNED.blocks[:4], other.blocks[4], *SIGNED.blocks[5:])
    assert problem(b"".join(blocks)) == (
        SIGNED.offset(3) + len(other.blocks[4]),
        "block 4 does not continue what is before it",
    )
    ends = (*SIGNED.blocks[:-1], other.blocks[-1])
    assert problem(b"".join(ends)) == (SIGNED.offset(8), "block 8 does not continue what is before it")


def test_the_wrong_key_is_named() -> None:
    """With the place of the first signature that it does not explain."""
    found = verify([SIGNED.data], [STRANGER.public], sid=SID)
    assert found.problem is not None
    assert found.problem.offset == SIGNED.offset(2)
    assert found.problem.words == "signed with a key of which no given key says whose it is"
    assert verify([SIGNED.data], [], sid=SID).standing is Standing.BROKEN


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (made(by=signer(DaemonId("5" * 8 + NODE[8:]))), "which has not recorded it"),
        (made(by=signer(cluster="other")), "in another cluster: other"),
        (made(by=signer(until=START)), "good until"),
        (made(by=signer(authority=STRANGER)), ""),
    ],
)
def test_who_may_sign(wrong: Made, words: str) -> None:
    """The daemon that recorded, in its own cluster, while its warrant is good."""
    found = verify([wrong.data], [AUTHORITY.public], sid=SID)
    assert found.standing is Standing.BROKEN
    assert found.problem is not None
    assert words in found.problem.words
    assert found.problem.offset == wrong.offset(2)


def test_auth_may_complete_what_another_daemon_began() -> None:
    """The verdict says so; another node may not."""
    completed = made(by=signer(), closed_by=signer(AUTH, DaemonRole.AUTH), state=SealState.COMPLETED)
    found = checked(completed.data)
    assert (found.standing, found.completed) == (Standing.SIGNED, True)
    assert found.signer is not None
    assert found.signer.daemon == AUTH
    other = made(by=signer(), closed_by=signer(AUTH, DaemonRole.NODE), state=SealState.COMPLETED)
    assert problem(other.data)[0] == other.offset(8)


def test_a_recording_of_another_session_is_no_substitute() -> None:
    """Neither under another name, nor with another header under the same seals."""
    found = checked(SIGNED.data, sid=SessionId("d46d710b-24b9-4f86-af68-000000000000"))
    assert found.problem is not None
    assert (found.problem.offset, found.standing) == (16, Standing.BROKEN)
    renamed = made(by=signer(), header=replace(HEADER, sid="d46d710b-24b9-4f86-af68-000000000000"))
    assert verify([renamed.data], KEYS).standing is Standing.BROKEN


def test_what_nobody_signed_says_so() -> None:
    """Chained and closed, but no proof; and damage of it is damage."""
    unsigned = made()
    assert checked(unsigned.data).standing is Standing.NOT_SIGNED
    assert problem(unsigned.data[:-1])[0] == unsigned.offset(7)


def test_format_1_is_read_and_not_signed() -> None:
    """It was written before there were signatures; damage is found by its checksums."""
    data = OLD.read_bytes()
    assert len(list(decode([data]))) == 7
    found = checked(data)
    assert (found.standing, found.problem, found.size) == (Standing.OLD, None, len(data))
    assert problem(data[:-1])[1].startswith("the file ends inside a block")
    assert problem(data[:200] + b"\0" + data[201:])[0] == 16


@given(st.binary(max_size=300))
def test_no_file_makes_the_verifier_fail(junk: bytes) -> None:
    """Whatever follows the preamble."""
    assert checked(SIGNED.blocks[0] + junk).standing is Standing.BROKEN


def test_a_writer_that_goes_on_elsewhere_shows_its_warrant_again() -> None:
    """A seal of another writer names its own key; one of the same need not."""
    warrants = [len(each) for each in SIGNED.blocks[1:] if read_head(VERSION, each).kind == BlockKind.SEAL][1:]
    assert len(warrants) == 1
    assert warrants[0] < len(signer().warrant)
    chain = Chain.begin(SALT)
    first = sealed(chain, SID, SealState.CHECKPOINT, signer(), at=0)
    assert len(first) > len(sealed(chain, SID, SealState.CHECKPOINT, signer(), at=0)) + 200


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999Z", "never"])
def test_a_start_that_cannot_be_makes_nothing_fail(start: str) -> None:
    """It is what the recorder says, and is signed like the rest."""
    found = checked(made(by=signer(), header=replace(HEADER, start=start)).data)
    assert found.standing is Standing.SIGNED
