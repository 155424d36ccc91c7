"""What README tells a newcomer to type, typed: from an account to a recording that plays."""

import json
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.xdist_group("proxy-mode")]

NEW_PASSWORD = "a much better password"


@pytest.fixture
def cluster(proxy_cluster: Cluster) -> Cluster:
    """Nothing here depends on the recording mode."""
    return proxy_cluster


def listed(cluster: Cluster, person: Person, *arguments: str) -> list[dict[str, Any]]:
    """A listing of ilsh."""
    rows: list[dict[str, Any]] = json.loads(
        cluster.ilsh(person.home, *arguments, "--format", "json").check().stdout
    )
    return rows


def test_one_time_password_is_changed_at_the_first_sign_in(cluster: Cluster, tmp_path: Path) -> None:
    """The printed password opens once, to set a new one; then only the new one opens."""
    name = f"new-{tmp_path.name[-12:]}".lower().replace("_", "-")
    printed = cluster.ilctl("users", "add", name, "--roles", "access").stdout
    once = printed.partition("One-time password:")[2].split()[0]
    cluster.try_login(tmp_path / "a", name, f"{once}\n{NEW_PASSWORD}").check()
    assert cluster.try_login(tmp_path / "b", name, once).rc != 0
    cluster.try_login(tmp_path / "c", name, NEW_PASSWORD).check()


def test_person_sees_reaches_copies_and_watches(cluster: Cluster, person: Person, tmp_path: Path) -> None:
    """ls, ssh, scp, recordings ls and play, by a person who has nothing but ilsh."""
    names = {row["hostname"]: row["logins"] for row in listed(cluster, person, "ls")}
    assert names[cluster.node_name] == names[cluster.agentless_name] == [cluster.login_name]
    witness = Witness(cluster)
    to = f"{cluster.login_name}@{cluster.node_name}"
    done = cluster.ilsh(person.home, "ssh", to, "echo sid=$SSH_SESSION_ID; echo on stderr >&2; exit 5")
    assert (done.rc, done.stderr) == (5, "on stderr\n")
    sid = done.stdout.strip().removeprefix("sid=")
    (tmp_path / "sent").write_text("by scp\n")
    cluster.ilsh(person.home, "scp", "-q", str(tmp_path / "sent"), f"{to}:{tmp_path}/there").check()
    assert (tmp_path / "there").read_text() == "by scp\n"
    witness.wait_settled([sid])
    assert sid in {row["sid"] for row in listed(cluster, person, "recordings", "ls")}
    played = cluster.ilsh(person.home, "play", sid, "--format", "text").check()
    assert f"sid={sid}" in played.stdout
    viewed = witness.wait_event("session.recording.access", user=person.name)
    assert viewed["sid"] == sid


def test_live_session_is_listed_for_its_user_only(cluster: Cluster, person: Person) -> None:
    """`ilsh sessions ls` shows one's own sessions."""
    cluster.add_user_once("dora", "access")
    other = cluster.login("dora")
    witness = Witness(cluster)
    with cluster.terminal(person, *cluster.route(cluster.node_name), "echo up; read go") as terminal:
        terminal.expect("up")
        [sid] = witness.wait_live()
        assert sid in {row["sid"] for row in listed(cluster, person, "sessions", "ls")}
        assert sid not in {row["sid"] for row in listed(cluster, other, "sessions", "ls")}
        terminal.send("go\r")
        assert terminal.wait() == 0
    refused = cluster.ilsh(other.home, "play", sid)
    assert refused.rc in (3, 4)


def test_printed_configuration_is_enough_for_stock_ssh(cluster: Cluster, person: Person, tmp_path: Path) -> None:
    """`ilsh config` names every node for ssh, by route and by jump."""
    config = tmp_path / "config"
    config.write_text(cluster.ilsh(person.home, "config").check().stdout)
    ssh: list[str | Path] = ["ssh", "-F", config, "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
    for name in cluster.targets:
        by_jump = run([*ssh, f"{cluster.login_name}@{name}.demo", "echo jumped"], env=clean_env()).check()
        by_route = run([*ssh, f"{cluster.login_name}.{name}.demo", "echo routed"], env=clean_env()).check()
        assert (by_jump.stdout, by_route.stdout) == ("jumped\n", "routed\n")


def test_status_and_logout(cluster: Cluster) -> None:
    """Logged in, status is 0 and names the user; logged out, it is 1, and nothing secret is left."""
    cluster.add_user_once("erik", "access")
    erik = cluster.login("erik")
    assert "erik" in cluster.ilsh(erik.home, "status").check().stdout
    cluster.ilsh(erik.home, "logout").check()
    assert cluster.ilsh(erik.home, "status").rc == 1
    assert not list(erik.home.rglob("id*"))


@pytest.mark.parametrize("form", ["asciicast-v2", "asciicast-v3", "text", "json"])
def test_recording_is_exported(cluster: Cluster, person: Person, form: str, tmp_path: Path) -> None:
    """Every export form is written and shows the output."""
    done = cluster.client("export", person).run(*cluster.route(cluster.node_name), "echo $SSH_SESSION_ID")
    sid = done.check().stdout.strip()
    Witness(cluster).wait_settled([sid])
    out = tmp_path / "out"
    cluster.ilctl("recordings", "export", sid, "--format", form, "--out", out)
    assert sid in out.read_text()
