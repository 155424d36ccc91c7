"""The units of deploy/systemd: systemd itself reads them, and their daemons speak to a service manager."""

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.gateway import BIN
from interlock.testing.ports import LOOPBACK, free_ports
from interlock.testing.procs import Daemon

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(120)]

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = sorted(path.name for path in UNITS.glob("*.service"))


def unit(name: str) -> dict[str, str]:
    """Its service section."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNITS / name)
    return dict(parser["Service"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_the_unit(name: str, tmp_path: Path) -> None:
    """Not one word of complaint, once the program is where the unit says."""
    text = (UNITS / name).read_text().replace("/opt/interlock/.venv/bin/interlock", "/bin/true")
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, ours) == (0, [])


class Manager:
    """Hears what a daemon says to its service manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)

    def hear(self, prefix: str) -> str:
        """The next state that begins so; signs of life are not told apart from silence."""
        while True:
            said = self._socket.recv(1000).decode()
            if said.startswith(prefix):
                return said

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def command(name: str, places: dict[str, str]) -> list[str]:
    """The unit's own command line, with what is elsewhere here."""
    line = unit(name)["ExecStart"]
    for place, here in places.items():
        line = line.replace(place, here)
    return shlex.split(line)


def watched(name: str, manager: Manager, **more: str) -> dict[str, str]:
    """The environment that systemd gives to this unit's daemon."""
    seconds = int(unit(name)["WatchdogSec"])
    return {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": str(seconds * 1_000_000), **more}


def test_a_gateway_by_its_unit(manager: Manager, tmp_path: Path) -> None:
    """The unit's own command line: ready, alive, reloading and ready again, stopping; it ends with 0."""
    port, auth, join, monitor = free_ports(4)
    config = tmp_path / "interlock.toml"
    config.write_text(
        f"""
workers = 2
[auth]
listen = "{LOOPBACK}:{auth}"
join_listen = "{LOOPBACK}:{join}"
[proxy]
listen = "{LOOPBACK}:{port}"
[monitor]
listen = "{LOOPBACK}:{monitor}"
"""
    )
    name = "interlock.service"
    places = {
        "/opt/interlock/.venv/bin": str(BIN),
        "/etc/interlock/interlock.toml": str(config),
        "/var/lib/interlock": str(tmp_path / "data"),
    }
    env = watched(name, manager)
    with Daemon(command(name, places), log=tmp_path / "log", env=env, name="gateway") as gateway:
        assert manager.hear("WATCHDOG") == "WATCHDOG=1"
        manager.hear("READY=1")
        gateway.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in manager.hear("RELOADING=1")
        manager.hear("READY=1")
        gateway.signal(signal.SIGTERM)
        manager.hear("STOPPING=1")
        assert gateway.wait() == 0


def test_auth_and_a_proxy_by_their_units(manager: Manager, tmp_path: Path) -> None:
    """Each on its own machine, as their command lines have it; the proxy joins by what the unit's file says."""
    port, auth, join = free_ports(3)
    (tmp_path / "interlock.toml").write_text(
        f'[auth]\nlisten = "{LOOPBACK}:{auth}"\njoin_listen = "{LOOPBACK}:{join}"\n'
    )
    (tmp_path / "proxy.toml").write_text(f'[proxy]\nlisten = "{LOOPBACK}:{port}"\n')
    places = {
        "/opt/interlock/.venv/bin": str(BIN),
        "/etc/interlock": str(tmp_path),
        "/var/lib/interlock": str(tmp_path / "data"),
        "$INTERLOCK_JOIN_AT": f"--auth {LOOPBACK}:{join}",
    }
    name = "interlock-auth.service"
    start_auth, env = command(name, places), watched(name, manager)
    with Daemon(start_auth, log=tmp_path / "auth.log", env=env, name="auth") as daemon:
        manager.hear("READY=1")
        ilctl = f"{BIN}/ilctl --data-dir {tmp_path}/data tokens add --type proxy"
        token = subprocess.run(shlex.split(ilctl), capture_output=True, text=True, check=True).stdout.split()[-1]
        name = "interlock-proxy.service"
        start_proxy, env = command(name, places), watched(name, manager, INTERLOCK_JOIN_TOKEN=token)
        with Daemon(start_proxy, log=tmp_path / "proxy.log", env=env, name="proxy") as proxy:
            manager.hear("READY=1")
            proxy.signal(signal.SIGTERM)
            manager.hear("STOPPING=1")
            assert proxy.wait() == 0
        daemon.signal(signal.SIGTERM)
        manager.hear("STOPPING=1")
        assert daemon.wait() == 0
