"""X displays of sessions: what the client asks for, and what the session's programs find."""

import os
import socket
from pathlib import Path

import pytest

from interlock.adapters.ssh.node.accounts import Account, find_account
from interlock.adapters.ssh.node.forwarding.display import DisplayRequest, open_display
from interlock.core.wire import string, uint32
from interlock.testing.openssh import current_login

COOKIE = bytes(range(16))
REQUEST = DisplayRequest(single=False, protocol=b"MIT-MAGIC-COOKIE-1", cookie=COOKIE, screen=0)


@pytest.fixture
def account() -> Account:
    """Who runs the tests."""
    return find_account(current_login())


PROTOCOL = b"MIT-MAGIC-COOKIE-1"


def wire(cookie: bytes = COOKIE.hex().encode(), protocol: bytes = PROTOCOL, single: bytes = b"\0") -> bytes:
    """What ``x11-req`` says."""
    return single + string(protocol) + string(cookie) + uint32(2)


def test_a_request() -> None:
    """RFC 4254 §6.3; the cookie travels as hexadecimal."""
    assert DisplayRequest.decode(wire(single=b"\1")) == DisplayRequest(
        single=True, protocol=b"MIT-MAGIC-COOKIE-1", cookie=COOKIE, screen=2
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        wire()[:-1],
        wire() + b"x",
        wire(b"xyz"),
        wire(b"\xff"),
        wire(b""),
        wire(b"00" * 300),
        wire(protocol=b""),
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    """Refused, and nothing is written anywhere."""
    assert DisplayRequest.decode(data) is None


def test_a_display_and_its_end(account: Account) -> None:
    """A port of the loopback; a record as libXau reads it, for nobody but the login; then nothing is left."""
    made = open_display(REQUEST, account)
    try:
        host, port = made.listener.getsockname()
        assert (host, port) == ("127.0.0.1", 6000 + made.number)
        assert made.variables["DISPLAY"] == f"localhost:{made.number}.0"
        authority = Path(made.variables["XAUTHORITY"])
        record = authority.read_bytes()
        assert authority.stat().st_mode & 0o077 == 0
        assert authority.parent.stat().st_mode & 0o077 == 0
        assert authority.stat().st_uid == os.geteuid()
        name, number = socket.gethostname().encode(), str(made.number).encode()
        fields = [name, number, b"MIT-MAGIC-COOKIE-1", COOKIE]
        assert record == b"\1\0" + b"".join(len(each).to_bytes(2, "big") + each for each in fields)
    finally:
        made.close()
    assert not authority.parent.exists()


def test_two_displays_have_two_numbers(account: Account) -> None:
    """Two sessions do not share one."""
    one, other = open_display(REQUEST, account), open_display(REQUEST, account)
    assert one.number != other.number
    one.close()
    other.close()
