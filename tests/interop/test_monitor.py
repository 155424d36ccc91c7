"""What a gateway and a node tell of themselves, while real ssh goes through them."""

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from prometheus_client.parser import text_string_to_metric_families

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until
from interlock.testing.workers import Workers

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("monitor"),
]

Samples = dict[str, float]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with monitors, and two workers."""
    with Cluster(tmp_path_factory.mktemp("monitor"), workers=2, monitored=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(watched: Cluster) -> SshClient:
    """Of a person who may go everywhere."""
    return watched.client("watched", watched.person)


def get(cluster: Cluster, port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://{cluster.host}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(cluster: Cluster, port: int) -> Samples:
    """Name and labels, as text, of each."""
    status, text = get(cluster, port, "/metrics")
    assert status == HTTPStatus.OK
    return {
        s.name + "".join(sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_sessions_are_counted_wherever_they_ran(watched: Cluster, client: SshClient) -> None:
    """Two workers and the gateway's own process add up; the numbers are those of the audit log."""
    before = samples(watched, watched.monitor_port)
    witness = Witness(watched)
    for n in range(6):
        target = Cluster.targets[n % len(Cluster.targets)]
        assert client.run(*watched.route(target), "head -c 100000 /dev/zero | tr '\\0' x").rc == 0
    assert client.run(*watched.route(Cluster.agentless_name, "nobody"), "true").rc == 255
    witness.wait_event("session.rejected")

    def grown(name: str) -> float:
        return samples(watched, watched.monitor_port).get(name, 0) - before.get(name, 0)

    poll_until(lambda: grown("interlock_audit_events_totalsession.upload") == 6 or None, "six uploads counted")
    assert grown("interlock_sessions_totalproxy") == 6
    assert grown("interlock_session_setup_seconds_count") == 6
    assert grown("interlock_relay_bytes_totalto_client") >= 600_000
    assert grown("interlock_refused_totalsession") == 1
    assert samples(watched, watched.monitor_port)["interlock_processes"] == 3
    poll_until(lambda: samples(watched, watched.monitor_port)["interlock_sessions_live"] == 0 or None, "none live")
    now = samples(watched, watched.monitor_port)
    assert (now["interlock_audit_backlog"], now["interlock_upload_backlog"]) == (0, 0)
    node = samples(watched, watched.node_monitor_port)
    assert node["interlock_sessions_totalproxy"] >= 2


def test_counters_survive_a_worker(watched: Cluster, client: SshClient) -> None:
    """Killed: what was read of it stays in the sum, and the gateway is ready again."""
    workers = Workers(watched)
    workers.wait(2)
    assert client.run(*watched.route(Cluster.agentless_name), "true").rc == 0
    before = samples(watched, watched.monitor_port)["interlock_sessions_totalproxy"]
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    poll_until(lambda: get(watched, watched.monitor_port, "/readyz")[0] != HTTPStatus.OK or None, "not ready")
    assert get(watched, watched.monitor_port, "/healthz") == (HTTPStatus.OK, "ok\n")
    workers.wait(2)
    poll_until(lambda: get(watched, watched.monitor_port, "/readyz")[0] == HTTPStatus.OK or None, "ready")
    assert samples(watched, watched.monitor_port)["interlock_sessions_totalproxy"] >= before


def test_readiness_names_its_parts(watched: Cluster) -> None:
    """For whoever looks at it; the node has a page of its own."""
    status, text = get(watched, watched.monitor_port, "/readyz")
    assert (status, json.loads(text)) == (
        HTTPStatus.OK,
        {"ready": True, "checks": dict.fromkeys(("proxy", "database", "audit", "recordings"), "ok")},
    )
    status, text = get(watched, watched.node_monitor_port, "/readyz")
    assert (status, set(json.loads(text)["checks"])) == (HTTPStatus.OK, {"node", "audit", "recordings"})
    assert get(watched, watched.monitor_port, "/")[0] == HTTPStatus.NOT_FOUND


def test_the_monitor_ends_with_its_daemon(watched: Cluster) -> None:
    """And comes back with it."""
    watched.gateway.stop()
    with socket.socket() as client:
        assert client.connect_ex((watched.host, watched.monitor_port)) != 0
    watched.gateway = watched.start_gateway()
    poll_until(lambda: get(watched, watched.monitor_port, "/readyz")[0] == HTTPStatus.OK or None, "ready again")
