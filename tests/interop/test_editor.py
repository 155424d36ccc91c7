"""What VS Code's Remote-SSH does: a script through stdin starts a server there, reached by a dynamic forward."""

import re
import subprocess
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.far_ends import connect_by_socks, exchange
from interlock.testing.gateway import Cluster, Road
from interlock.testing.openssh import clean_env
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import accepts, poll_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]
DATA = bytes(range(256)) * 8_000
SCRIPT = """\
echo "running on $(uname -s)"
python3 -u -c '
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
server.daemon_threads = True
print(f"listeningOn=={server.server_address[1]}==")
server.serve_forever()
' &
trap "kill $!" EXIT
read -r word; echo "the word was $word"
"""


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("target", TARGETS)
def test_editor_with_a_server_on_the_target(cluster: Cluster, target: str, road: Road, tmp_path: Path) -> None:
    """``ssh -T -D port host bash``: several connections at once, all told with the ID of the one session."""
    client, place = cluster.client("editor", cluster.forwarder), cluster.place(target, road)
    port, output, witness = free_port(), tmp_path / "output", Witness(cluster)
    with (
        output.open("wb") as log,
        subprocess.Popen(
            client.argv("-T", "-D", str(port), place, "bash"),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_env(),
        ) as ssh,
    ):
        assert ssh.stdin is not None
        ssh.stdin.write(SCRIPT.encode())
        ssh.stdin.flush()
        found = poll_until(lambda: re.search(r"listeningOn==(\d+)==", output.read_text()), "server on the target")
        poll_until(lambda: accepts(LOOPBACK, port), "dynamic forward")
        there = int(found.group(1))
        [sid] = witness.wait_live()
        waiting = connect_by_socks((LOOPBACK, port), LOOPBACK, there)
        waiting.sendall(b"ping")
        assert waiting.recv(4) == b"ping"
        for host in (LOOPBACK, "localhost"):
            assert exchange(connect_by_socks((LOOPBACK, port), host, there), DATA) == DATA
        assert exchange(waiting, b"") == b""
        ssh.stdin.write(b"goodbye\n")
        ssh.stdin.close()
        assert ssh.wait(30) == 0
    assert "the word was goodbye" in output.read_text()
    witness.wait_settled([sid])
    closed = [e for e in cluster.events(sid) if e["code"] == "T3003S"]
    assert sorted((e["addr"], e["tx"]) for e in closed) == [
        (f"{LOOPBACK}:{there}", 4),
        (f"{LOOPBACK}:{there}", len(DATA)),
        (f"localhost:{there}", len(DATA)),
    ]
