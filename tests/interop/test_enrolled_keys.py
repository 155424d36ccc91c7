"""Stock clients with a key of their own and no certificate, and security keys by way of an agent."""

import asyncio
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.daemons.local import open_local
from interlock.testing.agent import KeyAgent, SecurityKey
from interlock.testing.evidence import Witness
from interlock.testing.gateway import PASSWORD, Cluster
from interlock.testing.openssh import Key, SshClient, make_key
from interlock.testing.procs import Completed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.xdist_group("proxy-mode")]

USER = "keyed"


@pytest.fixture(scope="module")
def cluster(proxy_cluster: Cluster) -> Cluster:
    """With somebody who has never signed in."""
    proxy_cluster.add_user(USER, "access")
    return proxy_cluster


def stock(cluster: Cluster, name: str, key: Key, **options: str) -> SshClient:
    """A client with this key, and nothing of ours but the host authority."""
    ca = cluster.host_ca.read_text().split()
    gateway = f"Host gateway\n  HostName {cluster.host}\n  Port {cluster.port}\n  User {USER}"
    jumps = f"Host {' '.join(cluster.targets)}\n  ProxyJump gateway"
    trust = f"@cert-authority * {ca[0]} {ca[1]}"
    return SshClient(
        cluster.directory / f"client-{name}", [key], [trust], options=options, blocks=[gateway, jumps]
    )


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> SshClient:
    """The person's laptop, whose key is enrolled."""
    key = make_key(cluster.directory / "keyed_id", comment="laptop")
    cluster.admin("users", "keys", "add", USER, Path(f"{key.path}.pub"))
    return stock(cluster, "keyed", key)


Use = Callable[[SshClient, str, Path], Completed]

USES: dict[str, Use] = {
    "ssh": lambda client, place, there: client.run(place, f"cat > {there}", stdin=b"x"),
    "scp": lambda client, place, there: client.run(str(there.parent / "here"), f"{place}:{there}", program="scp"),
    "scp -O": lambda client, place, there: client.run(
        "-O", str(there.parent / "here"), f"{place}:{there}", program="scp"
    ),
    "sftp": lambda client, place, there: client.run(
        "-b", "-", place, stdin=f"put {there.parent}/here {there}".encode(), program="sftp"
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("target", [Cluster.agentless_name, Cluster.node_name])
@pytest.mark.parametrize("road", ["route", "jump"])
def test_a_stock_client_with_its_own_key(
    cluster: Cluster, client: SshClient, tmp_path: Path, use: str, target: str, road: str
) -> None:
    """By every road, as the user whose key it is."""
    (tmp_path / "here").write_text("x")
    witness = Witness(cluster)
    USES[use](client, cluster.place(target, "route" if road == "route" else "jump"), tmp_path / "there").check()
    assert (tmp_path / "there").read_text() == "x"
    witness.wait_event("session.start", user=USER)


@pytest.mark.parametrize("target", [Cluster.agentless_name, Cluster.node_name])
@pytest.mark.parametrize("road", ["route", "jump"])
def test_a_line_with_options_counts_as_in_authorized_keys(
    cluster: Cluster, tmp_path: Path, target: str, road: str
) -> None:
    """One command, without terminal and forwards; what was asked for is known to it."""
    key = make_key(tmp_path / "id", comment=tmp_path.name)
    line = tmp_path / "line"
    line.write_text(f'restrict,command="echo asked \\"$SSH_ORIGINAL_COMMAND\\"" {key.public}\n')
    cluster.admin("users", "keys", "add", USER, line)
    own = stock(cluster, f"restricted-{road}-{target}", key)
    there = cluster.route(target) if road == "route" else cluster.jump(target)
    assert own.run(*there, "rm -rf /").check().stdout == "asked rm -rf /\n"
    assert "PTY allocation request failed" in own.run("-tt", *there).stderr
    assert own.run("-W", "127.0.0.1:22", *there).rc == 255
    listed = {row["name"]: row["options"] for row in cluster.json("users", "keys", "ls", USER)}
    assert listed[tmp_path.name][0].startswith("command=echo asked")
    assert "no-port-forwarding" in listed[tmp_path.name]
    cluster.admin("users", "keys", "rm", USER, tmp_path.name)


def test_a_removed_key_is_nobodys(cluster: Cluster, tmp_path: Path) -> None:
    """The next connection is refused, with the way to go on."""
    key = make_key(tmp_path / "id", comment="old")
    own = stock(cluster, "removed", key)
    place = cluster.place(cluster.agentless_name, "route")
    cluster.admin("users", "keys", "add", USER, Path(f"{key.path}.pub"))
    assert own.run(place, "echo in").check().stdout == "in\n"
    assert "old" in [row["name"] for row in cluster.json("users", "keys", "ls", USER)]
    cluster.admin("users", "keys", "rm", USER, "old")
    assert own.run(place, "true").rc == 255


def test_a_person_enrols_a_key_with_ilsh(cluster: Cluster, tmp_path: Path) -> None:
    """After signing in once more."""
    person = cluster.login(USER)
    key = make_key(tmp_path / "id", comment="desktop")
    stdin = f"{PASSWORD}\n".encode()
    public = str(key.path) + ".pub"
    private = cluster.ilsh(person.home, "keys", "add", str(key.path), "--password-stdin", stdin=b"")
    assert (private.rc, "ends in .pub" in private.stderr) == (
        4,
        True,
    )  # nothing was asked
    cluster.ilsh(person.home, "keys", "add", public, "--password-stdin", stdin=stdin).check()
    assert "desktop" in cluster.ilsh(person.home, "keys", "ls").check().stdout
    place = cluster.place(cluster.agentless_name, "route")
    assert stock(cluster, "desktop", key).run(place, "echo in").check().stdout == "in\n"
    cluster.ilsh(person.home, "keys", "rm", "desktop", "--password-stdin", stdin=stdin).check()


async def certificate(cluster: Cluster, public_key: str) -> str:
    """One for the person's key."""
    async with open_local(cluster.data, writer="test") as local:
        hour = timedelta(hours=1)
        return await local.authority.issue_user(USER, ["access"], [cluster.login_name], public_key, hour)


@pytest.mark.parametrize("ecdsa", [False, True])
@pytest.mark.parametrize("certified", [False, True])
def test_a_security_key_has_to_be_touched(cluster: Cluster, tmp_path: Path, ecdsa: bool, certified: bool) -> None:
    """R16, with the stock client: enrolled or certified."""
    token = SecurityKey(ecdsa=ecdsa)
    public = tmp_path / "token.pub"
    public.write_text(f"{token.line}\n")
    if certified:
        line = asyncio.run(certificate(cluster, token.line))
        (tmp_path / "token-cert.pub").write_text(line)
        token.certificate = b64decode(line.split()[1])
    else:
        cluster.admin("users", "keys", "add", USER, public, "--name", tmp_path.name)
    with KeyAgent(tmp_path / "agent", [token]) as agent:
        own = stock(cluster, f"token-{ecdsa}-{certified}", Key(tmp_path / "token"), IdentityAgent=str(agent.path))
        place = cluster.place(cluster.agentless_name, "route")
        for flags, right in ((TOUCHED, True), (0, False), (VERIFIED, False), (TOUCHED | VERIFIED, True)):
            token.flags = flags
            assert (own.run(place, "true").rc == 0) is right


def test_a_security_key_is_certified_by_signing_in(cluster: Cluster, tmp_path: Path) -> None:
    """The certificate stands beside the key, where stock ssh looks for it; the key is touched for each use."""
    token = SecurityKey()
    public = tmp_path / "token.pub"
    public.write_text(f"{token.line}\n")
    options = ("--public-key", str(public))
    cluster.try_login(tmp_path / "home", USER, PASSWORD, options).check()
    token.certificate = b64decode((tmp_path / "token-cert.pub").read_text().split()[1])
    with KeyAgent(tmp_path / "agent", [token]) as agent:
        own = stock(cluster, "signed-token", Key(tmp_path / "token"), IdentityAgent=str(agent.path))
        place = cluster.place(cluster.agentless_name, "route")
        for flags, right in ((TOUCHED, True), (0, False)):
            token.flags = flags
            assert (own.run(place, "true").rc == 0) is right
