"""Roles that ask for a key on hardware at each connection: certified or enrolled, on every road."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.testing.agent import KeyAgent, SecurityKey
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import Key, SshClient, make_key

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

ROADS = [(road, target) for road in ("route", "jump") for target in Cluster.targets]


def person_of(cluster: Cluster, asked: str) -> str:
    """Somebody whose role asks for a key on hardware; their name."""
    name = f"hardware-{asked}"
    if name not in {role["name"] for role in cluster.json("roles", "ls")}:
        option = f"hardware_key={asked}"
        where = ("--logins", cluster.login_name, "--labels", "env=test")
        cluster.admin("roles", "add", name, *where, "--option", option)
        cluster.add_user(name, name)
    return name


def client_of(cluster: Cluster, user: str, directory: Path, key: Key, *, certified: bool, **ssh: str) -> SshClient:
    """A stock client with this key."""
    if certified:
        public = f"{key.path}.pub"
        cluster.admin("auth", "sign", "--user", user, "--public-key", public, "--out", key.certificate)
    else:
        cluster.admin("users", "keys", "add", user, f"{key.path}.pub", "--name", directory.name)
    ca = cluster.host_ca.read_text().split()
    gateway = f"Host gateway\n  HostName {cluster.host}\n  Port {cluster.port}\n  User {user}"
    jumps = f"Host {' '.join(cluster.targets)}\n  ProxyJump gateway"
    trust = f"@cert-authority * {ca[0]} {ca[1]}"
    return SshClient(directory / "client", [key], [trust], options=ssh, blocks=[gateway, jumps])


@contextmanager
def token_of(
    cluster: Cluster, user: str, directory: Path, *, certified: bool
) -> Iterator[tuple[SecurityKey, SshClient]]:
    """A key on hardware, and a client that has it."""
    token, key = SecurityKey(), Key(directory / "token")
    Path(f"{key.path}.pub").write_text(f"{token.line}\n")
    agent = directory / "agent"
    client = client_of(cluster, user, directory, key, certified=certified, IdentityAgent=str(agent))
    if certified:
        token.certificate = b64decode(key.certificate.read_text().split()[1])
    with KeyAgent(agent, [token]):
        yield token, client


def way(cluster: Cluster, road: str, target: str) -> tuple[str, ...]:
    """Arguments that lead there."""
    return cluster.route(target) if road == "route" else cluster.jump(target)


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize("asked", ["touch", "pin"])
def test_only_a_key_on_hardware_gets_there(cluster: Cluster, tmp_path: Path, asked: str, certified: bool) -> None:
    """It was touched, or asked for the PIN; to any other key it is said what to do."""
    user = person_of(cluster, asked)
    soft = tmp_path / "soft"
    soft.mkdir()
    plain = client_of(cluster, user, soft, make_key(soft / "id"), certified=certified)
    with token_of(cluster, user, tmp_path, certified=certified) as (token, client):
        for road, target in ROADS:
            there = way(cluster, road, target)
            refused = plain.run(*there, "true")
            assert (refused.rc, "takes a key on hardware here" in refused.stderr) == (255, True), (road, target)
            token.flags = TOUCHED
            done = client.run(*there, "true")
            assert (done.rc == 0) is (asked == "touch"), (road, target)
            assert ("PIN or your finger" in done.stderr) is (asked == "pin")
            token.flags = TOUCHED | VERIFIED
            witness = Witness(cluster)
            client.run(*there, "true").check()
            assert witness.wait_event("session.start", user=user)["hardware_key"] == "pin"
    for name in () if certified else ("soft", tmp_path.name):
        cluster.admin("users", "keys", "rm", user, name)


def test_joining_takes_one_too(cluster: Cluster, tmp_path: Path) -> None:
    """Of somebody with such a role, whatever it is about."""
    user = person_of(cluster, "touch")
    plain = client_of(cluster, user, tmp_path, make_key(tmp_path / "id"), certified=True)
    joined = plain.run("-tt", "-l", "join%11111111-2222-4333-8444-555555555555", "gateway")
    assert (joined.rc, "takes a key on hardware here" in joined.stderr) == (255, True)


def test_it_is_explained(cluster: Cluster) -> None:
    """With the role that says so."""
    user = person_of(cluster, "pin")
    told = cluster.admin("access", "explain", user, cluster.login_name, cluster.node_name)
    assert f"hardware_key pin: from {user}" in told
