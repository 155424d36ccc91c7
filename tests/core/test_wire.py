"""SSH primitives: one table read both ways, and nothing sloppy accepted."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.wire import Reader, boolean, string, uint32

UINTS = [(0, "00000000"), (1, "00000001"), (0x29B7F4AA, "29b7f4aa"), (0xFFFFFFFF, "ffffffff")]
STRINGS = [
    (b"", "00000000"),
    (b"testing", "0000000774657374696e67"),  # RFC 4251 §5
    (b"\x00\xff", "0000000200ff"),
]
TEXTS = [("", "00000000"), ("testing", "0000000774657374696e67"), ("größe ✓", "0000000b6772c3b6c39f6520e29c93")]
BOOLEANS = [(True, "01"), (False, "00")]


@pytest.mark.parametrize(("value", "hexed"), UINTS)
def test_uint32(value: int, hexed: str) -> None:
    """Four bytes, big-endian, both ways."""
    assert uint32(value).hex() == hexed
    assert Reader(bytes.fromhex(hexed)).uint32() == value


@pytest.mark.parametrize(("value", "hexed"), STRINGS)
def test_string(value: bytes, hexed: str) -> None:
    """Length and bytes, both ways; zero bytes are bytes like others."""
    assert string(value).hex() == hexed
    assert Reader(bytes.fromhex(hexed)).string() == value


@pytest.mark.parametrize(("value", "hexed"), TEXTS)
def test_text(value: str, hexed: str) -> None:
    """Text is UTF-8, and its length counts bytes."""
    assert string(value).hex() == hexed
    assert Reader(bytes.fromhex(hexed)).text() == value


@pytest.mark.parametrize(("value", "hexed"), BOOLEANS)
def test_boolean(value: bool, hexed: str) -> None:
    """One byte, both ways."""
    assert boolean(value).hex() == hexed
    assert Reader(bytes.fromhex(hexed)).boolean() is value


def test_any_byte_but_zero_is_true() -> None:
    """RFC 4251 §5: all non-zero values must be taken as true."""
    assert all(Reader(bytes([value])).boolean() for value in range(1, 256))


CUT_SHORT: list[tuple[Callable[[Reader], object], str]] = [
    (Reader.byte, ""),
    (Reader.boolean, ""),
    (Reader.uint32, "000000"),
    (Reader.string, "000000"),
    (Reader.string, "0000000261"),
    (Reader.string, "ffffffff61"),
    (Reader.text, "0000000261"),
    (Reader.text, "00000001ff"),
    (Reader.text, "00000002c0af"),  # an overlong encoding
    (Reader.text, "00000003eda080"),  # a surrogate
]


@pytest.mark.parametrize(("read", "hexed"), CUT_SHORT)
def test_what_is_cut_short_or_no_utf8_is_the_peers_offence(read: Callable[[Reader], object], hexed: str) -> None:
    """No primitive reads past the end or guesses."""
    with pytest.raises(RemoteProtocolError) as caught:
        read(Reader(bytes.fromhex(hexed)))
    assert caught.value.rule is Rule.MALFORMED_MESSAGE


def test_end_insists_on_the_end() -> None:
    """One byte too many is an offence; rest() takes it."""
    reader = Reader(b"\x00\x00\x00\x01x")
    assert reader.uint32() == 1
    with pytest.raises(RemoteProtocolError) as caught:
        reader.end()
    assert caught.value.rule is Rule.MALFORMED_MESSAGE
    assert reader.rest() == b"x"
    assert reader.rest() == b""
    reader.end()


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 0xFFFFFFFF), st.booleans()), max_size=8))
def test_any_sequence_of_values_comes_back(values: list[bytes | int | bool]) -> None:
    """What was written front to back is read front to back, with nothing left."""
    wire = b"".join(_write(value) for value in values)
    reader = Reader(wire)
    assert [_read(reader, value) for value in values] == values
    reader.end()


def _write(value: bytes | int | bool) -> bytes:
    if isinstance(value, bool):
        return boolean(value)
    return uint32(value) if isinstance(value, int) else string(value)


def _read(reader: Reader, like: bytes | int | bool) -> bytes | int | bool:
    if isinstance(like, bool):
        return reader.boolean()
    return reader.uint32() if isinstance(like, int) else reader.string()
