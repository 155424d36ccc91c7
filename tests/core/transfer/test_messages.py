"""What an OPEN is for, in the words of each version."""

import pytest

from interlock.core.transfer import messages as m
from interlock.core.wire import Reader, string, uint32

V3 = [
    (0x01, "r"),
    (0x02, "w"),
    (0x03, "rw"),
    (0x1A, "w"),
    (0x06, "wa"),
    (0x00, "r"),  # OpenSSH opens for reading what is asked for neither
    (0x08, "rw"),  # and makes the file that it then reads
    (0x10, "rw"),
    (0x05, "rwa"),
    (0x41, "r"),  # text
]
V5 = [
    (0x0001, 2, "r"),
    (0x0002, 1, "w"),
    (0x0003, 2, "rw"),
    (0x0001, 1, "rw"),  # making or emptying is writing
    (0x0001, 0, "rw"),
    (0x0001, 3, "rw"),
    (0x0001, 4, "rw"),
    (0x0000, 2, "r"),
    (0x0080, 2, "r"),  # attributes alone
    (0x0100, 2, "rw"),  # writing attributes alone: nothing says that it cannot read
    (0x00010002, 1, "w"),  # with the right to delete
    (0x0001, 0x802, "rw"),  # deleted on close
    (0x0004, 3, "wa"),
    (0x0002, 0x0A, "wa"),
    (0x40000000, 2, "rw"),  # bits that nobody defined
]


def letters(opening: m.Opening) -> str:
    """Its three answers."""
    return "r" * opening.reads + "w" * opening.writes + "a" * opening.appends


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("flags", "expected"), V3)
def test_open_with_flags(version: int, flags: int, expected: str) -> None:
    """Versions 3 and 4."""
    opening = m.read_open(Reader(string(b"/a") + uint32(flags) + uint32(0)), version)
    assert (opening.path, letters(opening)) == ("/a", expected)


@pytest.mark.parametrize("version", [5, 6])
@pytest.mark.parametrize(("access", "flags", "expected"), V5)
def test_open_with_access(version: int, access: int, flags: int, expected: str) -> None:
    """Versions 5 and 6."""
    opening = m.read_open(Reader(string(b"/a") + uint32(access) + uint32(flags) + uint32(0)), version)
    assert (opening.path, letters(opening)) == ("/a", expected)


def test_status_in_words() -> None:
    """Success and the end of a file are no failures; codes that nobody defined have their number."""
    assert [m.status_words(code) for code in (0, 1, 2, 99)] == ["", "", "no such file", "status 99"]
