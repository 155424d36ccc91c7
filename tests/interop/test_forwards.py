"""Forwards of ports and sockets by the real ssh: bytes and ends pass, roles decide, events name a session."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interlock.testing.evidence import Event, Witness
from interlock.testing.far_ends import Address, EchoServer, connect, connect_by_socks, exchange
from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import Daemon, poll_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]
DATA = bytes(range(256)) * 8_000
"""Two megabytes: as much as ssh's window for a channel."""


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def place(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Each target by each road."""
    target, road = request.param
    return cluster.place(target, road)


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client of somebody whose role allows no forwards."""
    return cluster.client("forwards-denied", person)


@pytest.fixture
def allowed(cluster: Cluster) -> SshClient:
    """The stock client of somebody whose role allows all of them."""
    return cluster.client("forwards", cluster.forwarder)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory for sockets, whose paths have 107 characters at most."""
    with TemporaryDirectory(prefix="fw-") as path:
        yield Path(path)


@contextmanager
def forwarding(client: SshClient, place: str, directory: Path, *options: str) -> Iterator[Daemon]:
    """``ssh -N`` with these options."""
    argv = client.argv("-N", "-o", "ExitOnForwardFailure=yes", *options, place)
    with Daemon(argv, log=directory / "ssh.log", env=clean_env(), name="ssh") as ssh:
        yield ssh


def reach(ssh: Daemon, address: Address) -> bytes:
    """What comes back from ``address`` once something listens there."""

    def listens() -> bool:
        try:
            connect(address).close()
        except OSError:
            return False
        return True

    ssh.wait_until(listens, f"listener at {address}")
    return exchange(connect(address), DATA)


def ended(witness: Witness, what: str, addr: str) -> Event:
    """The event of a forward of this kind that has ended when all had passed each way."""

    def found() -> Event | None:
        wanted = {"code": "T3003S", "channel": what, "addr": addr, "tx": len(DATA), "rx": len(DATA)}
        return next((event for event in witness.new_events() if wanted.items() <= event.items()), None)

    return poll_until(found, f"end of a {what} at {addr}", 40)


def told(witness: Witness, what: str, addr: str) -> None:
    """The forward was told with its bytes, and under the ID of a session that has one start and one end."""
    event = ended(witness, what, addr)
    names = [e["event"] for e in witness.wait_settled([event["sid"]]) if e.get("sid") == event["sid"]]
    assert (names.count("session.start"), names.count("session.end")) == (1, 1)


def test_local_port(cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path) -> None:
    """-L: a port here leads to a port that the target reaches."""
    port, witness = free_port(), Witness(cluster)
    with (
        EchoServer() as server,
        forwarding(allowed, place, tmp_path, "-L", f"{port}:{LOOPBACK}:{server.port}") as ssh,
    ):
        assert reach(ssh, (LOOPBACK, port)) == DATA
    told(witness, "direct-tcpip", f"{LOOPBACK}:{server.port}")


def test_local_socket(cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path, short: Path) -> None:
    """-L: a socket here leads to a socket of the target."""
    witness = Witness(cluster)
    with (
        EchoServer(short / "there") as server,
        forwarding(allowed, place, tmp_path, "-L", f"{short}/here:{server.address}") as ssh,
    ):
        assert reach(ssh, short / "here") == DATA
    told(witness, "direct-streamlocal@openssh.com", str(server.address))


def test_remote_port(cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path) -> None:
    """-R: a port of the target leads here."""
    port, witness = free_port(), Witness(cluster)
    with (
        EchoServer() as server,
        forwarding(allowed, place, tmp_path, "-R", f"{port}:{LOOPBACK}:{server.port}") as ssh,
    ):
        assert reach(ssh, (LOOPBACK, port)) == DATA
    told(witness, "forwarded-tcpip", f"localhost:{port}")


def test_remote_socket(cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path, short: Path) -> None:
    """-R: a socket of the target leads here."""
    witness = Witness(cluster)
    with (
        EchoServer(short / "here") as server,
        forwarding(allowed, place, tmp_path, "-R", f"{short}/there:{server.address}") as ssh,
    ):
        assert reach(ssh, short / "there") == DATA
    told(witness, "forwarded-streamlocal@openssh.com", f"{short}/there")


def test_dynamic_port(cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path) -> None:
    """-D: a SOCKS proxy here whose connections the target makes, by name or address, beside a session."""
    port, witness = free_port(), Witness(cluster)
    with EchoServer() as server, forwarding(allowed, place, tmp_path, "-D", str(port)) as ssh:
        ssh.wait_port(LOOPBACK, port)
        for name in (LOOPBACK, "localhost"):
            assert exchange(connect_by_socks((LOOPBACK, port), name, server.port), DATA) == DATA
    told(witness, "direct-tcpip", f"localhost:{server.port}")


def test_forwards_share_the_session_of_their_connection(
    cluster: Cluster, allowed: SshClient, place: str, tmp_path: Path
) -> None:
    """A forward beside a command is told with the command's ID."""
    port, witness = free_port(), Witness(cluster)
    with EchoServer() as server:
        argv = allowed.argv("-L", f"{port}:{LOOPBACK}:{server.port}", place, "echo up; sleep 600")
        with Daemon(argv, log=tmp_path / "ssh.log", env=clean_env(), name="ssh") as ssh:
            ssh.wait_log("up")
            [sid] = witness.wait_live()
            assert exchange(connect((LOOPBACK, port)), DATA) == DATA
            assert ended(witness, "direct-tcpip", f"{LOOPBACK}:{server.port}")["sid"] == sid


@pytest.mark.parametrize("target", TARGETS)
def test_local_forwards_need_a_role(cluster: Cluster, client: SshClient, target: str, tmp_path: Path) -> None:
    """ssh shows why each connection through a forward was refused."""
    place = cluster.place(target, "route")
    port, dynamic, witness = free_port(), free_port(), Witness(cluster)
    options = ["-L", f"{port}:{LOOPBACK}:1", "-L", f"{tmp_path}/here:/nowhere", "-D", str(dynamic)]
    with forwarding(client, place, tmp_path, *options) as ssh:
        for address, words in (((LOOPBACK, port), "port forwarding"), (tmp_path / "here", "socket forwarding")):
            assert reach(ssh, address) == b""
            ssh.wait_log(f"administratively prohibited: {words} is not allowed")
        with pytest.raises(OSError, match="SOCKS"):
            connect_by_socks((LOOPBACK, dynamic), LOOPBACK, 1)
    event = witness.wait_event("port", code="T3003E", user=cluster.user, addr="/nowhere")
    assert event["sid"]
    assert "not allowed" in event["message"]


@pytest.mark.parametrize("target", TARGETS)
def test_remote_forwards_need_a_role(cluster: Cluster, client: SshClient, target: str, tmp_path: Path) -> None:
    """ssh says that the target does not listen for it; the log has the reason."""
    place = cluster.place(target, "route")
    port, path = free_port(), f"{tmp_path}/there"
    for where, addr in ((f"{port}:{LOOPBACK}:1", f"localhost:{port}"), (f"{path}:/nowhere", path)):
        witness = Witness(cluster)
        with forwarding(client, place, tmp_path, "-R", where) as ssh:
            assert ssh.wait() == 255
            assert "remote port forwarding failed for listen p" in ssh.log.read_text()
        event = witness.wait_event("port", code="T3003E", user=cluster.user, addr=addr)
        assert event["sid"]
        assert "not allowed" in event["message"]
