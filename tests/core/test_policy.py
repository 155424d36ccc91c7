"""The allow-lists: what passes is written down here a second time, so that a change to them is seen."""

import pytest

from interlock.core import extensions
from interlock.core.policy import (
    CHANNEL_REQUESTS,
    FORWARD_REQUESTS,
    GLOBAL_REQUESTS,
    NOT_RELAYED,
    Verdict,
    not_relayed,
)
from interlock.core.sides import Side

REACH_THE_TARGET = {
    b"pty-req",
    b"env",
    b"envs@goteleport.com",
    b"window-change",
    b"shell",
    b"exec",
    b"subsystem",
    b"signal",
    b"break",
    b"eow@openssh.com",
    b"keepalive@openssh.com",
    b"x11-req",
    b"auth-agent-req@openssh.com",
}
REACH_THE_CLIENT = {b"exit-status", b"exit-signal", b"eow@openssh.com", b"xon-xoff", b"keepalive@openssh.com"}
STAY_HERE = {Verdict.DROP, Verdict.ANSWER, Verdict.REFUSE, Verdict.ANNOUNCEMENT}


@pytest.mark.parametrize(("side", "names"), [(Side.CLIENT, REACH_THE_TARGET), (Side.TARGET, REACH_THE_CLIENT)])
def test_channel_requests_that_reach_the_other_side(side: Side, names: set[bytes]) -> None:
    """These and no others."""
    passing = {name for (by, name), verdict in CHANNEL_REQUESTS.items() if by is side and verdict not in STAY_HERE}
    assert passing == names


LISTENING = {
    b"tcpip-forward",
    b"streamlocal-forward@openssh.com",
    b"cancel-tcpip-forward",
    b"cancel-streamlocal-forward@openssh.com",
}


@pytest.mark.parametrize(("side", "more"), [(Side.CLIENT, LISTENING), (Side.TARGET, set())])
def test_global_requests_that_reach_the_other_side(side: Side, more: set[bytes]) -> None:
    """Keepalives, and from the client what it wants to be listened for; everything else is ours to answer."""
    passing = {name for (by, name), verdict in GLOBAL_REQUESTS.items() if by is side and verdict not in STAY_HERE}
    assert passing == {extensions.KEEPALIVE} | more


def test_on_a_forwarded_channel_nothing_can_be_started() -> None:
    """No shell by the back door."""
    starting = {name for (_, name), verdict in CHANNEL_REQUESTS.items() if verdict is not Verdict.PASS_ON}
    assert not starting & FORWARD_REQUESTS


@pytest.mark.parametrize("name", [extensions.HOSTKEYS_UPDATE, extensions.HOSTKEYS_PROVE])
def test_host_keys_do_not_pass_in_either_direction(name: bytes) -> None:
    """Neither learnt by the client nor proved for it."""
    for side in Side:
        assert GLOBAL_REQUESTS.get((side, name), Verdict.REFUSE) in (Verdict.DROP, Verdict.REFUSE)


def test_what_is_never_relayed_has_a_public_text() -> None:
    """A person asked for it and is told in words."""
    for what in NOT_RELAYED:
        text = not_relayed(what)
        assert text is not None
        assert text.endswith("is not available through this gateway")


def test_what_nobody_asks_for_by_hand_has_none() -> None:
    """It is refused without words."""
    assert not_relayed("nonsense@example.com") is None
