"""The gateway as a whole process: start, a session that is live when it is stopped, and what is left then."""

import asyncio
import signal
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.config import Config
from interlock.daemons.gateway import run_gateway
from interlock.daemons.local import open_local
from interlock.testing.gateway import BIN, Cluster
from interlock.testing.procs import poll_until, run
from interlock.testing.terminal import Terminal


async def test_a_cluster_keeps_its_name(tmp_path: Path) -> None:
    """Certificates carry it, so a configuration that says otherwise is refused, not ignored."""
    directory = tmp_path / "data"
    async with open_local(directory, cluster_name="first") as local:
        assert local.cluster.name == "first"
    with pytest.raises(ConfigError, match="belongs to the cluster first"):
        await run_gateway(Config(cluster="second"), directory, with_node=False, stopping=asyncio.Event())


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["proxy", "node"])
def test_a_stopped_gateway_ends_its_sessions_properly(tmp_path: Path, mode: str) -> None:
    """SIGTERM: the person reads why, and the session has one end, one recording and no tracker left."""
    with Cluster(tmp_path, mode="proxy" if mode == "proxy" else "node", with_node=False) as cluster:
        client = cluster.client("stop", cluster.login())
        with Terminal(client.argv("-tt", *cluster.route(cluster.agentless_name)), env=client.env()) as terminal:
            terminal.send("echo ready-$((6*7))\n")
            terminal.expect("ready-42")
            (live,) = poll_until(lambda: cluster.json("sessions", "ls"), "the session in the list")
            cluster.gateway.signal(signal.SIGTERM)
            terminal.expect("shutting down")
            assert terminal.wait() == 255
        assert cluster.gateway.wait(15) == 0
        events = [event["event"] for event in cluster.events(live["sid"])]
        assert events.count("session.start") == 1
        assert events.count("session.end") == 1
        assert events[-1] == "session.upload"
        assert "ready-42" in cluster.recording_text(live["sid"])
        assert cluster.json("sessions", "ls") == []


@pytest.mark.interop
@pytest.mark.slow
def test_a_second_gateway_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    """One sentence on stderr, exit code 1, and the first one goes on."""
    with Cluster(tmp_path, with_node=False) as cluster:
        second = run([BIN / "interlock", "start", "-c", tmp_path / "gateway.toml"], env=cluster.env())
        assert second.rc == 1
        assert "another interlock runs on" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        poll_until(lambda: cluster.json("nodes", "ls"), "the first gateway's nodes")
