"""Contents are counted always, and hashed as long as they come in order."""

import hashlib

import pytest

from interlock.core.transfer.contents import Contents, OpenFile, purpose
from interlock.core.transfer.operations import Direction


def test_a_hash_over_pieces() -> None:
    """The next bytes must belong where the last ones ended."""
    contents = Contents()
    for at, data in ((0, b"abc"), (3, b"de")):
        contents.begin(at)
        contents.add(memoryview(data))
    assert (contents.octets, contents.sha256()) == (5, hashlib.sha256(b"abcde").hexdigest())
    contents.begin(4)
    contents.add(memoryview(b"e"))
    assert (contents.octets, contents.sha256()) == (6, "")


@pytest.mark.parametrize(
    ("reads", "writes", "direction"),
    [
        (True, False, Direction.DOWNLOAD),
        (False, True, Direction.UPLOAD),
        (True, True, Direction.BOTH),
        (False, False, Direction.DOWNLOAD),
    ],
)
def test_what_a_file_is_for(reads: bool, writes: bool, direction: Direction) -> None:
    """By what was asked for, until something passes."""
    assert purpose(reads=reads, writes=writes) is direction
    file = OpenFile("f", reads=reads, writes=writes, appends=False)
    assert file.told().direction is direction
    file.down.add(memoryview(b"x"))
    assert file.told().direction is Direction.DOWNLOAD


def test_the_first_failure_counts() -> None:
    """Later ones follow from it."""
    file = OpenFile("f", reads=True, writes=False, appends=False)
    file.failed("first")
    file.failed("second")
    assert (file.told("third").error, file.told().sha256) == ("first", "")
