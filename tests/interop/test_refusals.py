"""Every refusal reaches the person in a sentence, and the audit log with its reason; never just EOF."""

from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient, Sshd
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import poll_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.xdist_group("proxy-mode")]


@pytest.fixture
def cluster(proxy_cluster: Cluster) -> Cluster:
    """Refusals do not depend on the recording mode; the few that might are in test_losses."""
    return proxy_cluster


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("refusals", person)


def add_target(cluster: Cluster, name: str, addr: str, host_key: Path) -> None:
    """Register one more agentless host; a target of an earlier test with this name is replaced."""
    if name in {node["hostname"] for node in cluster.json("nodes", "ls")}:
        cluster.admin("nodes", "rm", name)
    cluster.admin("nodes", "add", name, "--addr", addr, "--labels", "env=test", "--host-key", host_key)


def host_key_of(server: Sshd) -> Path:
    """The file with the server's public host key."""
    return server.host_key.path.with_name("host_key.pub")


@pytest.mark.parametrize("road", ["route", "jump"])
def test_target_that_is_down(cluster: Cluster, client: SshClient, road: str) -> None:
    """The person learns which host does not answer, and the log why."""
    name = f"down-{road}"
    add_target(cluster, name, f"{LOOPBACK}:{free_port()}", host_key_of(cluster.agentless))
    witness = Witness(cluster)
    done = client.run(*(cluster.jump(name) if road == "jump" else cluster.route(name)), "true")
    assert done.rc == 255
    assert name in done.stderr
    event = witness.wait_event("session.rejected", user=cluster.user)
    assert event["server_hostname"] == name


def test_target_that_refuses_our_key(cluster: Cluster, client: SshClient, tmp_path: Path) -> None:
    """An sshd that does not trust the OpenSSH CA is an administrator's problem, and the message says so."""
    with Sshd(tmp_path / "strict") as server:
        add_target(cluster, "strict1", server.addr, host_key_of(server))
        witness = Witness(cluster)
        done = client.run(*cluster.route("strict1"), "true")
    assert done.rc == 255
    assert "strict1" in done.stderr
    witness.wait_event("session.rejected", user=cluster.user)


def test_target_with_another_host_key(cluster: Cluster, client: SshClient, tmp_path: Path) -> None:
    """A changed host key stops the session before the target learns anything."""
    cas = cluster.admin("auth", "export", "--type", "openssh").splitlines()
    with Sshd(tmp_path / "moved", trusted_cas=cas) as server:
        add_target(cluster, "moved1", server.addr, host_key_of(server))
        assert client.run(*cluster.route("moved1"), "true").rc == 0
        server.replace_host_key()
        witness = Witness(cluster)
        done = client.run(*cluster.route("moved1"), "true")
    assert done.rc == 255
    assert "host key" in done.stderr
    witness.wait_event("session.rejected", user=cluster.user)


@pytest.mark.parametrize("road", ["route", "jump"])
def test_unknown_node(cluster: Cluster, client: SshClient, road: str) -> None:
    """A misspelled name is called unknown, with the way to the right ones."""
    done = client.run(*(cluster.jump("nosuch") if road == "jump" else cluster.route("nosuch")), "true")
    assert done.rc == 255
    assert "unknown node nosuch" in done.stderr


@pytest.mark.parametrize("target", Cluster.targets)
def test_forbidden_login(cluster: Cluster, client: SshClient, target: str) -> None:
    """The roles decide the login; the reason is in the log."""
    witness = Witness(cluster)
    done = client.run(*cluster.route(target, "nobody"), "true")
    assert done.rc == 255
    assert "you may not log in as nobody" in done.stderr
    poll_until(
        lambda: any("nobody" in str(event) for event in witness.new_events()) or None, "the refusal in the log"
    )


def test_node_that_no_role_reaches(cluster: Cluster, person: Person) -> None:
    """A user without a role sees no node and reaches none, and does not learn whether there is one."""
    if "roleless" not in {user["name"] for user in cluster.json("users", "ls")}:
        cluster.admin("roles", "add", "nothing", "--logins", cluster.login_name, "--labels", "env=other")
        cluster.add_user("roleless", "nothing")
    client = cluster.client("roleless", cluster.login("roleless"))
    for road in (cluster.route, cluster.jump):
        there, nowhere = (client.run(*road(name), "true") for name in (cluster.node_name, "nosuch"))
        assert there.rc == 255
        assert f"unknown node {cluster.node_name}: run `ilsh ls`" in there.stderr
        assert there.stderr.replace(cluster.node_name, "nosuch") == nowhere.stderr
    assert person.name == cluster.user


@pytest.mark.parametrize("user", ["%web1", "root%", "a%b%c", "root%we/b1"])
def test_malformed_route(client: SshClient, user: str) -> None:
    """A user name that is nearly a route is answered with the right form of one."""
    done = client.run("-l", user, "gateway", "true")
    assert done.rc == 255
    assert "malformed route" in done.stderr


def test_wrong_password(cluster: Cluster, tmp_path: Path) -> None:
    """A wrong password and an unknown user look the same, and both are in the log."""
    witness = Witness(cluster)
    wrong = cluster.try_login(tmp_path / "a", cluster.user, "not the password")
    unknown = cluster.try_login(tmp_path / "b", "nobody-known", "not the password")
    assert wrong.rc == unknown.rc != 0
    assert wrong.stderr == unknown.stderr.replace("nobody-known", cluster.user)
    assert len(wrong.stderr.strip().splitlines()) == 1
    event = witness.wait_event("user.login", user=cluster.user)
    assert event["code"] == "T1000W"


def test_expired_certificate(cluster: Cluster) -> None:
    """Who stayed away too long is told to sign in again."""
    cluster.add_user_once("rufus", "access")
    person = cluster.login("rufus", options=["--ttl", "2s"])
    client = cluster.client("rufus", person)

    def refused() -> str | None:
        done = client.run(*cluster.route(cluster.node_name), "true")
        return done.stderr if done.rc == 255 else None

    assert "expired" in poll_until(refused, "expiry of the certificate")


def test_shell_at_the_gateway_itself(client: SshClient) -> None:
    """Who logs in to the gateway without naming a node is told how to name one."""
    done = client.run("gateway", "true")
    assert done.rc == 1
    assert "%" in done.stderr
