"""The environment of a session, and what a client may add to it."""

import pytest

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.environment import RequestedEnvironment, SessionFacts, session_environment
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import MAX_ENV_BYTES, MAX_ENV_VARS

ACCOUNT = Account("ubuntu", 1000, 1000, (1000,), "/home/ubuntu", "/bin/bash")
FACTS = SessionFacts(
    sid=SessionId("d46d710b-24b9-4f86-af68-d7755636b94b"),
    user="alice",
    cluster="example",
    host_uuid=DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166"),
    client=("10.0.0.1", 50000),
    server=("10.0.0.2", 3022),
)


def test_all_variables() -> None:
    """The whole list of teleport-facts §1.4 and ours, and nothing else."""
    made = session_environment(ACCOUNT, FACTS, {b"LANG": b"C"}, tty="/dev/pts/3", term="xterm")
    assert made == {
        b"LANG": b"C",
        b"HOME": b"/home/ubuntu",
        b"USER": b"ubuntu",
        b"LOGNAME": b"ubuntu",
        b"SHELL": b"/bin/bash",
        b"PATH": b"/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        b"TERM": b"xterm",
        b"SSH_TTY": b"/dev/pts/3",
        b"SSH_CLIENT": b"10.0.0.1 50000 3022",
        b"SSH_CONNECTION": b"10.0.0.1 50000 10.0.0.2 3022",
        b"SSH_SESSION_ID": b"d46d710b-24b9-4f86-af68-d7755636b94b",
        b"TELEPORT_SESSION": b"d46d710b-24b9-4f86-af68-d7755636b94b",
        b"INTERLOCK_SESSION": b"d46d710b-24b9-4f86-af68-d7755636b94b",
        b"SSH_TELEPORT_USER": b"alice",
        b"INTERLOCK_USER": b"alice",
        b"SSH_TELEPORT_CLUSTER_NAME": b"example",
        b"INTERLOCK_CLUSTER": b"example",
        b"SSH_TELEPORT_HOST_UUID": b"23bc35d7-10f5-421f-9ef4-890af45e3166",
    }


def test_ours_wins() -> None:
    """TERM of the pty-req counts, not that of an env request."""
    assert (
        session_environment(ACCOUNT, FACTS, {b"TERM": b"dumb"}, tty="/dev/pts/3", term="xterm")[b"TERM"]
        == b"xterm"
    )
    assert session_environment(ACCOUNT, FACTS, {b"TERM": b"dumb"})[b"TERM"] == b"dumb"


@pytest.mark.parametrize("name", [b"LANG", b"LC_ALL", b"LC_TIME", b"TERM", b"COLORTERM", b"NO_COLOR"])
def test_harmless_names_pass(name: bytes) -> None:
    """What says how to show things."""
    assert RequestedEnvironment().add(name, b"x")


@pytest.mark.parametrize(
    "name",
    [
        b"LD_PRELOAD",
        b"PATH",
        b"BASH_ENV",
        b"ENV",
        b"SSH_SESSION_ID",
        b"TELEPORT_SESSION",
        b"",
        b"LC_A=B",
        b"LC_\0",
    ],
)
def test_other_names_are_refused(name: bytes) -> None:
    """What runs code, and what would forge the session's ID (R19)."""
    asked = RequestedEnvironment()
    assert not asked.add(name, b"x")
    assert asked.variables == {}


def test_number_is_limited() -> None:
    """A flood ends at the limit; setting one again is still possible."""
    asked = RequestedEnvironment()
    taken = [asked.add(b"LC_%d" % n, b"") for n in range(MAX_ENV_VARS + 5)]
    assert taken == [True] * MAX_ENV_VARS + [False] * 5
    assert asked.add(b"LC_0", b"again")


def test_size_is_limited() -> None:
    """Names and values together; a smaller value makes room."""
    asked = RequestedEnvironment()
    assert asked.add(b"LC_A", b"x" * (MAX_ENV_BYTES - 4))
    assert not asked.add(b"LANG", b"C")
    assert asked.add(b"LC_A", b"x")
    assert asked.add(b"LANG", b"C")


def test_values_that_are_not_utf_8() -> None:
    """They pass as they are."""
    asked = RequestedEnvironment()
    assert asked.add(b"LC_ALL", b"\xff")
    assert session_environment(ACCOUNT, FACTS, asked.variables)[b"LC_ALL"] == b"\xff"
