"""Certificates with OpenSSH's options, signed by hand: what stock ssh and scp may do with them, on every road."""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.testing.agent import KeyAgent, SecurityKey
from interlock.testing.everywhere import past_the_gateway
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import Key, SshClient, clean_env, make_key
from interlock.testing.ports import LOOPBACK
from interlock.testing.procs import Completed, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

USER = "restricted"
TOLD = 'echo "asked: $SSH_ORIGINAL_COMMAND"'
PAST = "past the gateway"
ROADS = [(road, target) for road in ("route", "jump") for target in Cluster.targets] + [(PAST, Cluster.node_name)]


@pytest.fixture
def world(cluster: Cluster) -> Cluster:
    """Nodes record, or the proxy does."""
    found = cluster
    if USER not in {user["name"] for user in found.json("users", "ls")}:
        kinds = ("local", "remote", "x11", "agent")
        options = [word for kind in kinds for word in ("--option", f"{kind}_forwarding=yes")]
        found.admin("roles", "add", USER, "--logins", found.login_name, "--labels", "env=test", *options)
        found.add_user(USER, USER)
    return found


def certified(cluster: Cluster, directory: Path, *options: str, key: Key | None = None, **ssh: str) -> SshClient:
    """A stock client with a key, and a certificate for it with these options."""
    key = key or make_key(directory / "id")
    words = [word for option in options for word in ("-O", option)]
    public = f"{key.path}.pub"
    cluster.admin("auth", "sign", "--user", USER, "--public-key", public, "--out", key.certificate, *words)
    ca = cluster.host_ca.read_text().split()
    gateway = f"Host gateway\n  HostName {cluster.host}\n  Port {cluster.port}\n  User {USER}"
    jumps = f"Host {' '.join(cluster.targets)}\n  ProxyJump gateway"
    trust = f"@cert-authority * {ca[0]} {ca[1]}"
    return SshClient(directory / "client", [key], [trust], options=ssh, blocks=[gateway, jumps])


def way(cluster: Cluster, road: str, target: str) -> tuple[str, ...]:
    """Arguments that lead there."""
    if road == PAST:
        return past_the_gateway(cluster)
    return cluster.route(target) if road == "route" else cluster.jump(target)


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_a_forced_command_runs(world: Cluster, tmp_path: Path, road: str, target: str) -> None:
    """Whatever is asked for, which it learns, as at sshd; log and recording say what ran and what was asked."""
    client, witness = certified(world, tmp_path, f"force-command={TOLD}"), Witness(world)
    there = way(world, road, target)
    assert client.run(*there, "rm -rf '/tmp/x y'").check().stdout == "asked: rm -rf '/tmp/x y'\n"
    start = witness.wait_event("session.start", user=USER)
    assert (start["initial_command"], start["original_command"]) == ([TOLD], ["rm -rf '/tmp/x y'"])
    ran = witness.wait_event("exec", user=USER)
    assert (ran["command"], ran["original_command"]) == (TOLD, ["rm -rf '/tmp/x y'"])
    witness.wait_event("session.upload", sid=start["sid"])
    assert "asked: rm" in world.recording_text(start["sid"])
    assert world.recording_header(start["sid"])["command"] == TOLD
    shell = client.run("-tt", *there)
    assert "asked: \r\n" in shell.stdout


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_nothing_that_is_asked_for_gets_round_it(world: Cluster, tmp_path: Path, road: str, target: str) -> None:
    """R8: not SFTP, not the scp of before, not a variable, no subsystem of another name."""
    client = certified(world, tmp_path, f"force-command={TOLD}")
    (tmp_path / "here").write_text("x")
    *options, host = way(world, road, target)
    for words in ((), ("-O",)):
        there = f"{host}:{tmp_path}/there"
        assert client.run(*words, *scp_words(options), str(tmp_path / "here"), there, program="scp").rc != 0
    assert not (tmp_path / "there").exists()
    told = client.run("-tt", "-o", "SetEnv=SSH_ORIGINAL_COMMAND=lie", *options, host)
    assert "asked: \r\n" in told.stdout
    assert "uid=" not in client.run("-s", *options, host, "exec id").stdout


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_forced_sftp_serves_sftp_only(world: Cluster, tmp_path: Path, road: str, target: str) -> None:
    """``internal-sftp`` as sshd has it: scp and sftp work, and commands are told so."""
    client = certified(world, tmp_path, "force-command=internal-sftp")
    (tmp_path / "here").write_text("x")
    *options, host = way(world, road, target)
    client.run(*scp_words(options), str(tmp_path / "here"), f"{host}:{tmp_path}/there", program="scp").check()
    assert (tmp_path / "there").read_text() == "x"
    done = client.run(*options, host, f"touch {tmp_path}/made")
    assert (done.rc, "sftp connections only" in done.stdout) == (1, True)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_what_a_certificate_withholds(world: Cluster, tmp_path: Path, road: str, target: str) -> None:
    """No terminal and no forwards, though the role allows them: `-O clear`, with one of them given back."""
    bare = certified(world, tmp_path, "clear", "permit-agent-forwarding")
    there = way(world, road, target)
    shell = bare.run("-tt", *there, "tty || echo none")
    assert (shell.rc, "PTY allocation request failed" in shell.stderr) == (255, True)  # as -tt has it
    assert bare.run(*there, "echo in").check().stdout == "in\n"
    listening = bare.run("-o", "ExitOnForwardFailure=yes", "-R", f"{tmp_path}/r:{LOOPBACK}:9", *there, "echo in")
    assert (listening.rc, (tmp_path / "r").exists()) == (255, False)
    forwarded = bare.run("-o", "ExitOnForwardFailure=yes", "-R", f"0:{LOOPBACK}:9", *there, "echo in")
    assert forwarded.rc == 255
    through = bare.run("-W", f"{LOOPBACK}:{world.agentless.port}", *there)
    assert "SSH-2.0" not in through.stdout
    assert through.rc == 255


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_no_agent_without_its_permission(world: Cluster, tmp_path: Path, road: str, target: str) -> None:
    """Though the role allows it: with the permission given back there is one, and without it none."""
    agent, there = tmp_path / "agent", way(world, road, target)
    with KeyAgent(agent, [SecurityKey()]):
        for number, (options, has) in enumerate(
            [(("clear",), False), (("clear", "permit-agent-forwarding"), True)]
        ):
            (directory := tmp_path / str(number)).mkdir()
            client = certified(world, directory, *options)
            said = (
                client.run("-A", "-o", f"IdentityAgent={agent}", *there, 'echo "[$SSH_AUTH_SOCK]"').check().stdout
            )
            assert (said != "[]\n") is has, said


def test_what_it_does_not_withhold(world: Cluster, tmp_path: Path) -> None:
    """All of it, but for the command: forwards pass beside that, as at sshd."""
    client = certified(world, tmp_path, f"force-command={TOLD}")
    for _, target in ROADS[: len(Cluster.targets)]:
        greeting = client.run("-W", f"{LOOPBACK}:{world.agentless.port}", *world.route(target))
        assert greeting.stdout.startswith("SSH-2.0")


def test_from_elsewhere_it_is_nothing(world: Cluster, tmp_path: Path) -> None:
    """`source-address` was judged before; it can be said by hand now."""
    for network, right in (("192.0.2.0/24", False), ("127.0.0.0/8,::1", True)):
        directory = tmp_path / network[:3]
        directory.mkdir()
        client = certified(world, directory, f"source-address={network}")
        for road, target in ROADS:
            assert (client.run(*way(world, road, target), "true").rc == 0) is right


def test_one_command_is_no_way_to_anything_else(world: Cluster, tmp_path: Path) -> None:
    """Not into sessions of others; what the portal says is tested there."""
    client = certified(world, tmp_path, f"force-command={TOLD}")
    joined = client.run("-tt", "-l", "join%11111111-2222-4333-8444-555555555555", "gateway")
    assert (joined.rc, "restricted to less than a session" in joined.stderr) == (255, True)


@pytest.mark.parametrize("flags", [0, TOUCHED, TOUCHED | VERIFIED])
def test_hardware_keys_prove_what_the_certificate_asks_for(world: Cluster, tmp_path: Path, flags: int) -> None:
    """Touched, verified, or neither with ``no-touch-required``; at the proxy's two doors and the node's."""
    asked: dict[tuple[str, ...], Callable[[int], bool]] = {
        (): lambda said: bool(said & TOUCHED),
        ("verify-required",): lambda said: said == TOUCHED | VERIFIED,
        ("no-touch-required",): lambda _: True,
    }
    for number, (options, right) in enumerate(asked.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        token = SecurityKey(flags=flags)
        key = Key(directory / "token")
        Path(f"{key.path}.pub").write_text(f"{token.line}\n")
        agent_path = directory / "agent"
        client = certified(world, directory, *options, key=key, IdentityAgent=str(agent_path))
        token.certificate = certificate_blob(key)
        with KeyAgent(agent_path, [token]):
            for road, target in ROADS:
                assert (client.run(*way(world, road, target), "true").rc == 0) is right(flags), (road, target)


def scp_words(options: list[str]) -> list[str]:
    """The same for scp, whose port has another letter."""
    return ["-P" if word == "-p" else word for word in options]


def certificate_blob(key: Key) -> bytes:
    """In wire form."""
    return b64decode(key.certificate.read_text().split()[1])


def show(certificate: Path) -> Completed:
    """What ssh-keygen reads in it."""
    return run(["ssh-keygen", "-L", "-f", certificate], env=clean_env()).check()


def test_ssh_keygen_reads_what_was_signed(proxy_cluster: Cluster, tmp_path: Path) -> None:
    """Every option stands where OpenSSH looks for it."""
    cluster = proxy_cluster
    key = make_key(tmp_path / "id")
    sign = ("auth", "sign", "--user", cluster.user, "--public-key", f"{key.path}.pub", "--out", key.certificate)
    cluster.admin(*sign, "-O", "no-pty", "-O", "force-command=ls /", "-O", "source-address=10.0.0.0/8,::1")
    shown = " ".join(show(key.certificate).stdout.split())
    assert "Critical Options: force-command ls / source-address 10.0.0.0/8,::1/128 Extensions:" in shown
    assert ("permit-pty" in shown, "permit-user-rc" in shown) == (False, True)
    cluster.admin(*sign, "-O", "clear", "-O", "permit-x11-forwarding")
    shown = " ".join(show(key.certificate).stdout.split())
    assert "Critical Options: (none)" in shown
    assert [word for word in shown.split() if word.startswith("permit-")] == ["permit-X11-forwarding"]
    cluster.admin(*sign)
    assert show(key.certificate).stdout.count("permit-") == 5
