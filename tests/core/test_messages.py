"""Messages of the connection protocol as bytes: made by us, or read and written again unchanged."""

import pytest

from interlock.core import messages, wire
from interlock.core.errors import RemoteProtocolError
from interlock.core.messages import Confirmation, Open, Request

MADE = [
    (messages.global_request(b"k@x", want_reply=True), "50000000036b407801"),
    (messages.global_request(b"k@x", want_reply=False), "50000000036b407800"),
    (messages.request_success(), "51"),
    (messages.request_success(b"v1"), "517631"),
    (messages.REQUEST_FAILURE, "52"),
    (messages.open_failure(5, 1, "no"), "5c0000000500000001000000026e6f00000002656e"),
    (messages.channel_message(wire.CHANNEL_EOF, 5), "6000000005"),
    (messages.channel_message(wire.CHANNEL_CLOSE, 0xFFFFFFFF), "61ffffffff"),
    (messages.channel_message(wire.CHANNEL_SUCCESS, 5), "6300000005"),
    (messages.channel_message(wire.CHANNEL_FAILURE, 5), "6400000005"),
    (messages.channel_request(5, b"shell", want_reply=True), "6200000005000000057368656c6c01"),
    (messages.channel_request(5, b"x", data=b"id"), "62000000050000000178006964"),
    (messages.stderr_data(5, "hi"), "5f0000000500000001000000026869"),
]


@pytest.mark.parametrize(("made", "hexed"), MADE)
def test_what_we_make(made: bytes, hexed: str) -> None:
    """Byte by byte as RFC 4254 has it."""
    assert made.hex() == hexed


OPEN = (
    Open("session", 3, 0x200000, 0x8000, b"extra"),
    "5a0000000773657373696f6e0000000300200000000080006578747261",
)
CONFIRMATION = (
    Confirmation(3, 9, 0x200000, 0x8000, b""),
    "5b00000003000000090020000000008000",
)


def test_an_open_both_ways() -> None:
    """The fixed fields, and what follows them, which may be replaced."""
    value, hexed = OPEN
    assert Open.decode(bytes.fromhex(hexed)) == value
    assert value.encode(value.extra).hex() == hexed
    assert Open.decode(value.encode(b"")).extra == b""


def test_a_confirmation_both_ways() -> None:
    """Unchanged, or with the window that was granted since."""
    value, hexed = CONFIRMATION
    assert Confirmation.decode(bytes.fromhex(hexed)) == value
    assert value.encode().hex() == hexed
    assert Confirmation.decode(value.encode(more_window=5)).window == value.window + 5


def test_a_window_never_exceeds_its_field() -> None:
    """A target that grants too much gets the most there is (RFC 4254 §5.2)."""
    value, _ = CONFIRMATION
    assert Confirmation.decode(value.encode(more_window=0xFFFFFFFF)).window == 0xFFFFFFFF


REQUESTS = [
    (Request(0, b"k@x", True, b""), "50000000036b407801"),
    (Request(0, b"k@x", False, b"more"), "50000000036b4078006d6f7265"),
    (Request(5, b"exec", True, b"\x00"), "620000000500000004657865630100"),
    (Request(5, b"", False, b""), "62000000050000000000"),
]


@pytest.mark.parametrize(("value", "hexed"), REQUESTS)
def test_requests_are_read(value: Request, hexed: str) -> None:
    """Global and channel requests; only the latter name a channel."""
    assert Request.decode(bytes.fromhex(hexed)) == value


def test_a_requests_name_is_harmless_in_a_log() -> None:
    """Bytes that are no ASCII are escaped, and there are not too many."""
    assert Request(0, b"x\xff\x80", False, b"").text == "x\\xff\\x80"
    assert len(Request(0, b"x" * 100_000, False, b"").text) == 128


@pytest.mark.parametrize("hexed", [OPEN[1][:-12], CONFIRMATION[1][:-2], REQUESTS[0][1][:-2], REQUESTS[2][1][:-4]])
def test_a_head_that_is_cut_short_is_the_peers_offence(hexed: str) -> None:
    """No head is completed from thin air."""
    payload = bytes.fromhex(hexed)
    decoders = {
        wire.CHANNEL_OPEN: Open.decode,
        wire.CHANNEL_OPEN_CONFIRMATION: Confirmation.decode,
        wire.GLOBAL_REQUEST: Request.decode,
        wire.CHANNEL_REQUEST: Request.decode,
    }
    with pytest.raises(RemoteProtocolError):
        decoders[payload[0]](payload)
