"""Roles, logs and errors of one process."""

import signal
from pathlib import Path
from typing import Any

import pytest

from interlock.core.errors import ConfigError, InterlockError, StoreError
from interlock.daemons.log import set_up_log
from interlock.daemons.process import _join_by, first, parse_roles
from interlock.testing.gateway import BIN
from interlock.testing.openssh import clean_env
from interlock.testing.ports import LOOPBACK, free_ports
from interlock.testing.procs import Daemon


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("auth,proxy", {"auth", "proxy"}),
        ("proxy, auth", {"auth", "proxy"}),
        ("node", {"node"}),
        ("auth,proxy,node", {"auth", "proxy", "node"}),
    ],
)
def test_roles(text: str, roles: set[str]) -> None:
    """In any order."""
    assert parse_roles(text) == roles


@pytest.mark.parametrize("text", ["", "proxy,node", "auth,proxy,web"])
def test_roles_that_cannot_run(text: str) -> None:
    """Two daemons apart in one process, and unknown roles, are refused."""
    with pytest.raises(ConfigError):
        parse_roles(text)


def test_an_unknown_log_level_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="loud"):
        set_up_log("loud")


def test_the_first_error_of_a_group_is_told() -> None:
    """However deep it is."""
    error = StoreError("no database")
    inner: ExceptionGroup[InterlockError] = ExceptionGroup("inner", [error])
    mixed: list[Any] = [inner, ConfigError("x")]
    nested: ExceptionGroup[InterlockError] = ExceptionGroup("tasks", mixed)
    assert first(nested) is error


TOKEN = "ilj1.0123456789abcdef.{}.{}".format("s" * 43, "p" * 43)


@pytest.mark.parametrize(
    ("auth", "proxy", "address", "tunnel"),
    [("a:1", "", "a:1", False), ("", "p:2", "p:2", True), ("", "p", "p", True)],
)
def test_a_node_joins_at_auth_or_through_a_proxy(auth: str, proxy: str, address: str, *, tunnel: bool) -> None:
    """By what it was given."""
    found = _join_by(TOKEN, auth, proxy)
    assert found is not None
    assert (found.address, found.tunnel) == (address, tunnel)
    assert _join_by("", auth if not proxy else "", "") is None


@pytest.mark.parametrize(("token", "auth", "proxy"), [(TOKEN, "", ""), (TOKEN, "a:1", "p:2"), ("", "", "p:2")])
def test_options_of_joining_that_do_not_fit_together(token: str, auth: str, proxy: str) -> None:
    """In a sentence that names them."""
    with pytest.raises(ConfigError, match="--proxy"):
        _join_by(token, auth, proxy)


@pytest.mark.slow
def test_a_node_reads_its_file_anew_at_a_hangup(tmp_path: Path) -> None:
    """What counts at once, and what needs a restart; a file with a mistake changes nothing."""
    file = tmp_path / "node.toml"
    file.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    (nobody,) = free_ports(1)
    join = ["--join", TOKEN, "--auth", f"{LOOPBACK}:{nobody}"]
    argv: list[str | Path] = [BIN / "interlock", "start", "--roles", "node", "-c", file, *join]
    with Daemon(argv, log=tmp_path / "log", env=clean_env(), name="node") as node:
        node.wait_log("node.waiting")
        file.write_text("log_level = 3")
        node.signal(signal.SIGHUP)
        node.wait_log("reload.refused")
        file.write_text('log_level = "debug"\n')
        node.signal(signal.SIGHUP)
        node.wait_log("reload.done")
        assert "reload.needs_restart" in node.log.read_text()
        assert node.stop() == 0
