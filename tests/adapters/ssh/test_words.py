"""What people are told of a connection that failed."""

import errno
import socket

import pytest

from interlock.adapters.ssh.words import words

REFUSED = "[Errno 111] Connect call failed ('::1', 22, 0, 0)"
UNREACHABLE = "[Errno 101] Connect call failed ('10.0.0.1', 22)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 22)"), "connection refused"),
        (OSError(f"Multiple exceptions: {REFUSED}, {REFUSED}"), "connection refused"),
        (OSError(f"Multiple exceptions: {REFUSED}, {UNREACHABLE}"), "connection refused, network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (OSError("it did not work"), "it did not work"),
    ],
)
def test_the_systems_words_and_nobody_elses(error: OSError, said: str) -> None:
    """Neither numbers nor addresses in brackets; each kind of failure once."""
    assert words(error) == said
