"""``ilctl doctor`` on a real cluster: all is well, and then one thing after the other is not."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.core.ids import DaemonId
from interlock.daemons.local import open_local
from interlock.ports import MemberProxy
from interlock.testing.gateway import BIN, Cluster
from interlock.testing.openssh import make_key
from interlock.testing.procs import run

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("monitor"),
]


APART = DaemonId("99999999-1111-4333-8444-555555555555")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With a monitor."""
    with Cluster(tmp_path_factory.mktemp("doctor"), monitored=True) as made:
        yield made


def command(cluster: Cluster) -> list[str | Path]:
    """As an administrator types it."""
    return [BIN / "ilctl", "--data-dir", cluster.data, "doctor", "-c", cluster.directory / "gateway.toml"]


def doctor(cluster: Cluster) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and what is not well."""
    done = run([*command(cluster), "--format", "json"], env=cluster.env())
    return done.rc, [row for row in json.loads(done.stdout) if row["verdict"] != "ok"]


def test_a_cluster_that_is_well(cluster: Cluster) -> None:
    """Nothing to do; every host proved itself."""
    done = run(command(cluster), env=cluster.env()).check()
    assert doctor(cluster) == (0, [])
    for name in Cluster.targets:
        assert name in done.stdout
    assert "by its pinned key" in done.stdout
    assert "by a certificate of our host CA" in done.stdout


def test_proxies_apart_beside_a_gateway_that_is_one_itself(cluster: Cluster) -> None:
    """What is not shared between them, and what to do."""

    async def join() -> None:
        async with open_local(cluster.data) as local:
            await local.proxies.add_proxy(MemberProxy(APART, ("gate2",), local.clock.now()))

    async def leave() -> None:
        async with open_local(cluster.data) as local:
            await local.proxies.remove_proxy(APART)

    asyncio.run(join())
    try:
        code, (found,) = doctor(cluster)
    finally:
        asyncio.run(leave())
    assert (code, found["part"], found["verdict"]) == (0, "proxies", "warning")
    assert "--roles auth" in found["advice"]


def test_a_host_that_changed_its_key_and_one_that_is_down(cluster: Cluster, tmp_path: Path) -> None:
    """Each is named, with what to do, and the exit code says that somebody cannot work."""
    other = make_key(tmp_path / "other").public
    cluster.admin("nodes", "add", "moved1", "--addr", cluster.agentless.addr, "--host-key", other)
    cluster.node.stop()
    try:
        code, found = doctor(cluster)
    finally:
        cluster.node = cluster.start_node()
        cluster.admin("nodes", "rm", "moved1")
    assert code == 1
    texts = {row["text"].split()[0]: row["text"] for row in found}
    assert "which is not what is expected" in texts["moved1"]
    assert "does not answer" in texts[Cluster.node_name]
    assert all(row["advice"] for row in found)


def test_a_gateway_that_does_not_run(cluster: Cluster, tmp_path: Path) -> None:
    """A warning, since it may be meant; and a file that is wrong is said to be."""
    cluster.gateway.stop()
    try:
        _, found = doctor(cluster)
    finally:
        cluster.gateway = cluster.start_gateway()
    assert {"gateway", "monitor"} <= {row["part"] for row in found if row["verdict"] == "warning"}
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[proxi]\n")
    done = run([BIN / "ilctl", "--data-dir", cluster.data, "doctor", "-c", wrong], env=cluster.env())
    assert (done.rc, "proxi" in done.stderr) == (1, True)
