"""What one channel remembers of its client's requests, and the order of its end."""

import pytest

from interlock.core.channel import SessionChannel
from interlock.core.effects import StartRequest
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import SessionId
from interlock.core.negotiation import Negotiation, Support
from interlock.core.policy import CHANNEL_REQUESTS, Verdict
from interlock.core.sides import Side
from interlock.core.wire import string, uint32


@pytest.fixture
def channel() -> SessionChannel:
    """A channel that runs nothing yet."""
    return SessionChannel(3, negotiation=Negotiation(Support.NO, lambda: SessionId("")))


def pty(term: bytes = b"vt100", cols: int = 80, rows: int = 24) -> bytes:
    """What follows want_reply in a pty-req."""
    return string(term) + uint32(cols) + uint32(rows) + uint32(640) + uint32(480) + string(b"\x00")


def test_each_side_knows_it_by_the_other_sides_number(channel: SessionChannel) -> None:
    """Numbers are kept end to end: what goes to a side carries that side's own number."""
    channel.target_no = 9
    assert channel.number(Side.CLIENT) == 3
    assert channel.number(Side.TARGET) == 9


def test_a_start_gathers_what_came_before(channel: SessionChannel) -> None:
    """The last terminal counts; variables are only counted."""
    assert channel.take_pty(pty())
    assert channel.take_pty(pty(b"xterm", 132, 43))
    assert channel.take_env(string("A") + string("1"))
    assert channel.take_env(string("A") + string("2"))
    assert channel.take_env(string(b"\xff") + string(b"\xfe"))
    wanted = channel.take_start(b"exec", string("id"))
    assert wanted == StartRequest("exec", b"id", "xterm", (132, 43))
    assert (channel.env_taken, channel.env_bytes) == (3, 6)
    assert channel.take_start(b"shell", b"") is None


@pytest.mark.parametrize(("name", "data"), [(b"shell", string("x")), (b"exec", b""), (b"subsystem", b"\x00")])
def test_a_malformed_start_starts_nothing(channel: SessionChannel, name: bytes, data: bytes) -> None:
    """The offence does not use up the one start."""
    with pytest.raises(RemoteProtocolError):
        channel.take_start(name, data)
    assert not channel.started


def test_what_starts_is_what_the_policy_calls_a_start() -> None:
    """One list in two forms."""
    assert {name for (_, name), verdict in CHANNEL_REQUESTS.items() if verdict is Verdict.START} == {
        b"shell",
        b"exec",
        b"subsystem",
    }


def test_a_resize_needs_a_terminal(channel: SessionChannel) -> None:
    """And then the newest size is the session's."""
    size = uint32(100) + uint32(40) + uint32(0) + uint32(0)
    assert channel.take_resize(size) is None
    assert channel.take_pty(pty())
    assert channel.take_resize(size) == (100, 40)
    assert channel.window == (100, 40)


def test_a_long_terminal_name_is_cut(channel: SessionChannel) -> None:
    """It goes into the recording's header."""
    assert channel.take_pty(pty(b"x" * 10_000))
    assert len(channel.term) == 128


@pytest.mark.parametrize("first", list(Side))
def test_it_is_over_when_both_sides_closed(channel: SessionChannel, first: Side) -> None:
    """In either order, and each side once (RFC 4254 §5.3)."""
    assert not channel.close_from(first)
    with pytest.raises(RemoteProtocolError) as caught:
        channel.close_from(first)
    assert caught.value.rule is Rule.DATA_AFTER_CLOSE
    assert channel.close_from(first.other)


def test_channels_share_nothing() -> None:
    """Mutable defaults are each channel's own."""
    one, other = (SessionChannel(n, negotiation=Negotiation(Support.NO, lambda: SessionId(""))) for n in (1, 2))
    one.closed.add(Side.CLIENT)
    one.flow_from[Side.CLIENT].octets = 5
    one.answered_by[Side.TARGET].pass_on()
    assert other.closed == set()
    assert other.flow_from[Side.CLIENT].octets == 0
    with pytest.raises(RemoteProtocolError):
        other.answered_by[Side.TARGET].settle(b"")
