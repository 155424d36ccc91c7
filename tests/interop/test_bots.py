"""A machine user with the stock ssh: joins by its token, works, renews, and is noticed when it is two."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import Completed, poll_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

Bot = Callable[..., Completed]


@pytest.fixture
def token(proxy_cluster: Cluster) -> Iterator[str]:
    """Of a new bot, which is gone afterwards."""
    made = proxy_cluster.admin("bots", "add", "robot", "--roles", "access", "--logins", proxy_cluster.login_name)
    yield made.strip()
    proxy_cluster.admin("bots", "rm", "robot")
    for lock in proxy_cluster.json("locks", "ls"):
        proxy_cluster.admin("locks", "rm", lock["id"])


@pytest.fixture
def bot(proxy_cluster: Cluster, tmp_path: Path) -> Bot:
    """Runs ``ilsh bot`` on a directory of the test's own, or on another one."""

    def run(command: str, *arguments: str, at: str = "bot") -> Completed:
        return proxy_cluster.ilsh(tmp_path / "home", "bot", command, "--dir", str(tmp_path / at), *arguments)

    return run


def _ssh(cluster: Cluster, directory: Path, target: str) -> "subprocess.CompletedProcess[str]":
    """By nothing but the bot's own configuration, both ways that it names."""
    host = f"{cluster.login_name}.{target}.{cluster.name}"
    command = ["ssh", "-F", str(directory / "ssh_config"), "-o", "BatchMode=yes", host, "echo here"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=clean_env(), timeout=60)


def test_from_the_token_to_a_renewed_identity(
    proxy_cluster: Cluster, bot: Bot, token: str, tmp_path: Path
) -> None:
    """Key, certificate and configuration are there as one; each renewal has another key."""
    witness, home = Witness(proxy_cluster), tmp_path / "bot"
    joined = bot("start", "--token", token, "--proxy", f"{proxy_cluster.host}:{proxy_cluster.port}", "--oneshot")
    assert joined.rc == 0, joined.stderr
    for target in proxy_cluster.targets:
        done = _ssh(proxy_cluster, home, target)
        assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home / "current").iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"id", "id.pub", "id-cert.pub", "known_hosts", "profile.json"} == modes.keys()
    first = (home / "current" / "id").read_text()
    assert bot("start", "--oneshot").rc == 0
    assert (home / "current" / "id").read_text() == first, "renewed before it was time"
    for _ in range(3):
        assert bot("renew").rc == 0
    assert (home / "current" / "id").read_text() != first
    assert len(list(home.glob("identity-*"))) == 2
    assert _ssh(proxy_cluster, home, proxy_cluster.node_name).returncode == 0
    [row] = proxy_cluster.json("bots", "ls")
    assert (row["name"], row["generation"]) == ("robot", 4)
    assert witness.wait_event("bot.join", user="robot")["generation"] == 1
    issued = [each["identity"]["user"] for each in witness.new_events() if each["event"] == "cert.create"]
    assert issued.count("robot") == 4, "one for the token, and one for each renewal"
    again = bot(
        "start", "--token", token, "--proxy", f"{proxy_cluster.host}:{proxy_cluster.port}", "--oneshot", at="again"
    )
    assert again.rc == 4
    assert "ilctl bots token NAME" in again.stderr
    assert not (tmp_path / "again" / "current").exists()


def test_a_copied_directory_locks_both_out(proxy_cluster: Cluster, bot: Bot, token: str, tmp_path: Path) -> None:
    """At the second one's renewal, with an event; nobody works on by either."""
    witness = Witness(proxy_cluster)
    bot("start", "--token", token, "--proxy", f"{proxy_cluster.host}:{proxy_cluster.port}", "--oneshot").check()
    shutil.copytree(tmp_path / "bot", tmp_path / "copy", symlinks=True)
    assert bot("renew").rc == 0
    thief = bot("renew", at="copy")
    assert (thief.rc, "held twice" in thief.stderr) == (4, True)
    assert witness.wait_event("bot.generation_mismatch", user="robot")["expected"] == 2
    for name in ("bot", "copy"):
        refused = poll_until(lambda name=name: _refused(proxy_cluster, tmp_path / name), "the lock")  # type: ignore[misc]
        assert "locked" in refused


def _refused(cluster: Cluster, home: Path) -> str:
    done = _ssh(cluster, home, cluster.node_name)
    return done.stderr if done.returncode else ""


def test_a_bot_is_no_person(proxy_cluster: Cluster, bot: Bot, token: str, tmp_path: Path) -> None:
    """No password counts for it, whoever sets one, and it asks for nothing but its certificate and nodes."""
    bot("start", "--token", token, "--proxy", f"{proxy_cluster.host}:{proxy_cluster.port}", "--oneshot").check()
    assert proxy_cluster.try_login(tmp_path / "person", "robot", "correct horse battery staple").rc != 0
    person = tmp_path / "person" / f"{proxy_cluster.host}_{proxy_cluster.port}"
    shutil.copytree(tmp_path / "bot" / "current", person)
    (tmp_path / "person" / "current").write_text(person.name)
    assert proxy_cluster.ilsh(tmp_path / "person", "ls").rc == 0
    listed = proxy_cluster.ilsh(tmp_path / "person", "recordings", "ls")
    assert (listed.rc, "bots can renew" in listed.stderr) == (4, True)
