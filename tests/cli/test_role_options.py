"""``--option NAME=VALUE``: what an administrator types is what the role says."""

import pytest
import typer

from interlock.cli.role_options import options, said
from interlock.core.extensions import JoinMode
from interlock.domain.access import FileTransfer, RoleOptions


def test_every_shape_of_value() -> None:
    """Switches, counts, durations, choices and lists."""
    typed = [
        "agent_forwarding=yes",
        "x11-forwarding=no",
        "max_sessions=3",
        "client_idle_timeout=15m",
        "file_transfer=download",
        "join_sessions=peer,observer",
    ]
    made = options(RoleOptions(), typed)
    assert made == RoleOptions(
        agent_forwarding=True,
        x11_forwarding=False,
        max_sessions=3,
        client_idle_timeout=900,
        file_transfer=FileTransfer.DOWNLOAD,
        join_sessions=(JoinMode.PEER, JoinMode.OBSERVER),
    )
    assert said(made)["join_sessions"] == "peer,observer"
    assert said(made)["agent_forwarding"] == "yes"
    assert said(made)["client_idle_timeout"] == "15m"


def test_an_option_is_taken_back() -> None:
    """Nothing behind the equals sign."""
    assert options(RoleOptions(max_sessions=3), ["max_sessions="]) == RoleOptions()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("max_sessions", "NAME=VALUE"),
        ("colour=red", "NAME=VALUE"),
        ("max_sessions=many", "max_sessions must be a number, not 'many'"),
        ("max_sessions=0", "at least 1"),
        ("agent_forwarding=perhaps", "agent_forwarding must be yes or no, not 'perhaps'"),
        ("second_factor=always", "second_factor must be one of .*session.*, not 'always'"),
        ("session_kinds=shell,exek", "session_kinds must be some of shell, exec, .*, not 'shell,exek'"),
        ("recording=sometimes", "recording must be one of"),
        ("client_idle_timeout=soon", "not a duration"),
    ],
)
def test_what_is_not_an_option(typed: str, words: str) -> None:
    """The message names the option, or how to write one."""
    with pytest.raises(typer.BadParameter, match=words):
        options(RoleOptions(), [typed])
