"""``ilctl auth rotate``: one phase at each call."""

from collections.abc import Callable
from typing import Any

Ilctl = Callable[..., Any]


def phases(ilctl: Ilctl) -> dict[str, str]:
    """Of each authority."""
    return {each["type"]: each["phase"] for each in ilctl("auth", "status", "--format", "json").json()}


def test_who_has_arrived_waits_for_the_others(ilctl: Ilctl) -> None:
    """``--type all`` is said again and again: it would change one's key twice while another is not ready."""
    for _ in range(3):
        assert ilctl("auth", "rotate", "--type", "openssh", "--force").code == 0
    assert ilctl("auth", "rotate", "--type", "user").code == 0
    for expected in ("update_clients", "update_servers", "standby"):
        done = ilctl("auth", "rotate", "--type", "all", "--force")
        waiting = dict.fromkeys(phases(ilctl).keys() - {"user"}, "standby")
        assert set(done.out.splitlines()[1:]) == {f"{each}: standby." for each in waiting}
        assert phases(ilctl) == {"user": expected, **waiting}
    assert "init" in ilctl("auth", "rotate", "--type", "all").out
    assert {kind: phase for kind, phase in phases(ilctl).items() if phase != "init"} == {"daemon": "standby"}
    assert "no daemon authority to be changed yet" in ilctl("auth", "rotate", "--type", "daemon").err


def test_a_mistake_is_one_line_of_ours(ilctl: Ilctl) -> None:
    """Which values there are, without line ends and words of libraries."""
    for arguments in (("--type", "none"), ()):
        done = ilctl("auth", "rotate", *arguments)
        assert done.code == 2
        assert "openssh" in done.err
        assert "\\x0a" not in done.err
        assert "Value error" not in done.err
