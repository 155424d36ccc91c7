"""Paramiko, the library under many Python programs: commands, terminals and files by both roads."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from interlock.testing.gateway import Cluster, Person, Road

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about ciphers that its import touches
    import paramiko

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]


class Trusting(paramiko.MissingHostKeyPolicy):
    """Paramiko reads no ``@cert-authority`` line, so its user must trust the gateway's key in another way."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        del client, hostname, key


def connect(
    stack: ExitStack, person: Person, address: tuple[str, int], user: str, sock: paramiko.Channel | None = None
) -> paramiko.SSHClient:
    """A connection by the person's certificate, closed with the stack."""
    key = paramiko.Ed25519Key(filename=str(person.key.path))
    key.load_certificate(str(person.key.certificate))
    client = stack.enter_context(paramiko.SSHClient())
    client.set_missing_host_key_policy(Trusting())
    client.connect(*address, username=user, pkey=key, look_for_keys=False, allow_agent=False, sock=sock)
    return client


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def client(cluster: Cluster, person: Person, request: pytest.FixtureRequest) -> Iterator[paramiko.SSHClient]:
    """A connection to each target by each road."""
    target, road = request.param
    gateway = (cluster.host, cluster.port)
    with ExitStack() as stack:
        if road == "route":
            yield connect(stack, person, gateway, f"{cluster.login_name}%{target}")
        else:
            outer = connect(stack, person, gateway, person.name).get_transport()
            assert outer is not None
            channel = outer.open_channel("direct-tcpip", (target, 22), gateway)
            yield connect(stack, person, (target, 22), cluster.login_name, channel)


def test_command(client: paramiko.SSHClient) -> None:
    """Outputs, input and exit code."""
    stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 3")
    stdin.write("typed")
    stdin.channel.shutdown_write()
    assert (stdout.read(), stderr.read(), stdout.channel.recv_exit_status()) == (b"typed", b"err\n", 3)


def test_shell_with_a_terminal(client: paramiko.SSHClient) -> None:
    """``invoke_shell`` has the size that was asked for and that it is changed to."""
    channel = client.invoke_shell(width=99, height=31)
    channel.send(b"stty size; until [ \"$(stty size)\" = '40 120' ]; do :; done; exit 7\n")
    seen = b""
    while b"31 99" not in seen:
        seen += channel.recv(4096)
    channel.resize_pty(width=120, height=40)
    while channel.recv(4096):
        pass
    assert channel.recv_exit_status() == 7


def test_files(client: paramiko.SSHClient, tmp_path: "os.PathLike[str]") -> None:
    """Its SFTP client, with many requests on their way at once."""
    data = os.urandom(3_000_017)
    there, moved = f"{os.fspath(tmp_path)}/there", f"{os.fspath(tmp_path)}/moved"
    with client.open_sftp() as files:
        with files.open(there, "wb") as out:
            out.set_pipelined(True)
            out.write(data)
        files.posix_rename(there, moved)
        assert files.stat(moved).st_size == len(data)
        assert files.listdir(os.fspath(tmp_path)) == ["moved"]
        with files.open(moved, "rb") as back:
            back.prefetch()
            assert back.read() == data
        files.remove(moved)
