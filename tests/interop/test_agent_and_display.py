"""What a session may use of the person's own machine: the key agent (-A) and the X display (-X, -Y), by role."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interlock.testing.display import Display
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env, make_key
from interlock.testing.procs import Daemon, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def place(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Each target by each road."""
    target, road = request.param
    return cluster.place(target, road)


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client of somebody whose role allows neither."""
    return cluster.client("own-denied", person)


@pytest.fixture
def allowed(cluster: Cluster) -> SshClient:
    """The stock client of somebody whose role allows both."""
    return cluster.client("own", cluster.forwarder)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A key agent with one key, as variables of the environment."""
    with TemporaryDirectory(prefix="ag-") as short:  # a socket's path has 107 characters at most
        socket = Path(short) / "agent"
        with Daemon(["ssh-agent", "-D", "-a", socket], log=tmp_path / "agent.log", name="ssh-agent") as daemon:
            daemon.wait_until(socket.exists, "socket")
            env = {**clean_env(), "SSH_AUTH_SOCK": str(socket)}
            run(["ssh-add", "-q", make_key(tmp_path / "own", comment="of-the-person").path], env=env).check()
            yield env


@pytest.fixture
def display(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An X display, as variables of the environment."""
    with Display(tmp_path) as server:
        yield {**clean_env(), **server.variables}


def test_agent_is_lent_to_the_session(
    cluster: Cluster, allowed: SshClient, place: str, agent: dict[str, str]
) -> None:
    """-A: programs there use the key agent here; that they did is an event of the session."""
    witness = Witness(cluster)
    argv = allowed.argv("-A", "-o", f"IdentityAgent={agent['SSH_AUTH_SOCK']}", place, "ssh-add -l; ssh-add -l")
    done = run(argv, env=agent).check()
    assert done.stdout.count("of-the-person (ED25519)") == 2
    granted = witness.wait_event("agent-forward", code="T3013I", user="frida")
    used = witness.wait_event("port", code="T3003S", channel="auth-agent@openssh.com", user="frida")
    assert used["sid"] == granted["sid"]


@pytest.mark.parametrize("target", TARGETS)
def test_agent_is_kept_back_without_a_role(
    cluster: Cluster, client: SshClient, target: str, agent: dict[str, str]
) -> None:
    """-A is refused, the session runs without, and the log says so."""
    place = cluster.place(target, "route")
    witness = Witness(cluster)
    argv = client.argv("-A", "-o", f"IdentityAgent={agent['SSH_AUTH_SOCK']}", place, 'echo "[$SSH_AUTH_SOCK]"')
    assert run(argv, env=agent).check().stdout == "[]\n"
    event = witness.wait_event("agent-forward", code="T3013W", user=cluster.user)
    assert event["sid"]
    assert "agent forwarding is not allowed" in event["message"]


@pytest.mark.parametrize(("trust", "road"), [("-X", "route"), ("-Y", "jump")])
@pytest.mark.parametrize("target", TARGETS)
def test_display_is_lent_to_the_session(
    cluster: Cluster, allowed: SshClient, target: str, road: Road, display: dict[str, str], trust: str
) -> None:
    """A program there opens the display here, as an untrusted client (-X) or a trusted one (-Y)."""
    witness = Witness(cluster)
    to = cluster.place(target, road)
    done = run(allowed.argv(trust, to, "echo $DISPLAY; exec xdpyinfo"), env=display).check()
    there, _, info = done.stdout.partition("\n")
    assert there.startswith("localhost:")
    assert "dimensions:    640x480 pixels" in info
    assert f"name of display:    {there}" in info
    granted = witness.wait_event("x11-forward", code="T3008I", user="frida")
    used = witness.wait_event("port", code="T3003S", channel="x11", user="frida")
    assert used["sid"] == granted["sid"]


@pytest.mark.parametrize("target", TARGETS)
def test_display_is_kept_back_without_a_role(
    cluster: Cluster, client: SshClient, target: str, display: dict[str, str]
) -> None:
    """ssh tells the person, the session runs without, and the log has the reason."""
    place = cluster.place(target, "route")
    witness = Witness(cluster)
    done = run(client.argv("-X", place, 'echo "[$DISPLAY]"'), env=display).check()
    assert done.stdout == "[]\n"
    assert "X11 forwarding request failed" in done.stderr
    event = witness.wait_event("x11-forward", code="T3008W", user=cluster.user)
    assert event["sid"]
    assert "X11 forwarding is not allowed" in event["message"]
