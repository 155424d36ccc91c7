"""Every recording mode with the real ssh, our node and a plain sshd; what sync modes promise when one dies."""

from collections.abc import Iterator
from typing import Any

import pytest

from interlock.domain.duties import RecordingMode
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, kept
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

SETTLE_S = 30.0
DEAD_S = 90.0  # until a silent daemon counts as dead, and what it left is completed
ONCE = ("session.start", "session.end", "session.leave")


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of this module's own, whose mode the tests change."""
    with Cluster(tmp_path_factory.mktemp("modes"), mode="node") as cluster:
        yield cluster


@pytest.fixture
def client(modes: Cluster) -> SshClient:
    """The stock client with the user's certificate."""
    return modes.client("modes", modes.person)


def past_the_proxy(cluster: Cluster) -> tuple[str, ...]:
    """Arguments that lead to our node without the gateway."""
    alias = f"HostKeyAlias={cluster.node_name}"
    return ("-p", str(cluster.node_port), "-o", alias, f"{cluster.login_name}@{cluster.host}")


def counts(cluster: Cluster, sid: str) -> dict[str, int]:
    """How often each event of a session is stored."""
    names = [event["event"] for event in cluster.events(sid)]
    return {name: names.count(name) for name in names}


def settled(cluster: Cluster, sid: str, last: str) -> list[dict[str, Any]]:
    """The events of a session, once the last one is there."""

    def found() -> list[dict[str, Any]] | None:
        events = cluster.events(sid)
        return events if any(event["event"] == last for event in events) else None

    return poll_until(found, f"{last} of {sid}", SETTLE_S)


def recorded(cluster: Cluster) -> list[str]:
    """The sessions whose recordings are stored."""
    rows = cluster.json("recordings", "ls")
    return [row["sid"] for row in rows if row["state"] in ("complete", "cut off")]


CELLS = [
    (Cluster.node_name, "route", True),
    (Cluster.node_name, "jump", False),
    (Cluster.node_name, "past the proxy", False),
    (Cluster.agentless_name, "route", False),
    (Cluster.agentless_name, "jump", True),
]


@pytest.mark.parametrize(("target", "road", "pty"), CELLS)
@pytest.mark.parametrize("mode", RecordingMode)
def test_every_mode_everywhere(
    modes: Cluster, client: SshClient, mode: RecordingMode, target: str, road: str, pty: bool
) -> None:
    """One ID, one set of events, one recording or, if it is off, none; who recorded and how is in the events."""
    modes.admin("mode", "set", mode.value)
    to = {"route": modes.route(target), "jump": modes.jump(target), "past the proxy": past_the_proxy(modes)}[road]
    witness = Witness(modes)
    argv = client.argv("-tt" if pty else "-T", *to, "echo evi''dence; read go")
    with Terminal(argv, env=clean_env()) as terminal:
        terminal.expect("evidence")
        [sid] = witness.wait_live()
        terminal.send("go\r")
        assert terminal.wait() == 0
    off, node = mode is RecordingMode.OFF, target == Cluster.node_name
    kept_by_node = node and (road == "past the proxy" or not mode.at_proxy)
    effective = mode.at_node if kept_by_node else mode
    events = settled(modes, sid, "session.data" if off else "session.upload")
    names = [event["event"] for event in events]
    assert {name: names.count(name) for name in ONCE} == dict.fromkeys(ONCE, 1)
    start, end = (next(event for event in events if event["event"] == name) for name in ONCE[:2])
    assert start.get("session_recording") == (None if effective is RecordingMode.NODE else effective.value)
    assert ("forwarded_by" in start) is (mode.at_proxy and not kept_by_node)
    assert (start["recorded_by"] == start["server_id"]) is kept_by_node
    assert [row["level"] for row in end["coverage"]] == ["none" if off else "full", "none"]
    shown = modes.json("recordings", "show", sid)
    assert shown["coverage"] == end["coverage"]
    assert shown["recorded"] is not off
    if not off:
        assert shown["mode"] == effective.value
        assert "evidence" in modes.recording_text(sid)


def test_a_rule_and_a_role_choose_the_mode(modes: Cluster, client: SshClient) -> None:
    """By the labels of the node, from the next session on; the strictest wins."""
    modes.admin("mode", "set", "node")
    modes.admin("mode", "rule", "add", "--labels", "env=test", "off")
    try:
        assert recording_of(modes, client) == "off"
        modes.admin("roles", "set", "access", "--option", "recording=proxy")
        assert recording_of(modes, client) == "proxy"
    finally:
        modes.admin("mode", "rule", "rm", "--labels", "env=test")
        modes.admin("roles", "set", "access", "--option", "recording=")
    assert recording_of(modes, client) is None


def recording_of(cluster: Cluster, client: SshClient) -> str | None:
    """What the next session says of its mode."""
    witness = Witness(cluster)
    client.run(*cluster.route(cluster.node_name), "true").check()
    return witness.wait_event("session.start").get("session_recording")


def test_an_auth_that_dies_ends_a_session_that_it_must_have(modes: Cluster, client: SshClient) -> None:
    """R10, node-sync: with a message, within seconds; what was not there yet follows when auth is back, once."""
    modes.admin("mode", "set", "node-sync")
    witness = Witness(modes)
    with Terminal(client.argv("-tt", *past_the_proxy(modes)), env=clean_env()) as terminal:
        terminal.send("echo be''fore\r")
        terminal.expect("before")
        [sid] = witness.wait_live()
        modes.gateway.kill()
        try:
            terminal.send("echo af''ter\r")
            terminal.expect("Session terminated: recording failed", timeout=20)
            assert terminal.wait() == 254
        finally:
            modes.gateway = modes.start_gateway()
            modes.wait_listed()
    settled(modes, sid, "session.upload")
    assert counts(modes, sid)["session.end"] == counts(modes, sid)["session.upload"] == 1
    assert recorded(modes).count(sid) == 1
    text = modes.recording_text(sid)
    assert "before" in text
    assert "after" in text


def test_nobody_waits_for_a_node_that_died(modes: Cluster, client: SshClient) -> None:
    """Node-sync: auth makes the recording of what it has; the node's own copy, later, is no second one."""
    modes.admin("mode", "set", "node-sync")
    witness = Witness(modes)
    with Terminal(client.argv("-tt", *modes.route(modes.node_name)), env=clean_env()) as terminal:
        terminal.send("echo evi''dence\r")
        terminal.expect("evidence")
        [sid] = witness.wait_live()
        arrived = modes.data / "recordings" / "sync"
        poll_until(lambda: any(kept(part, "evidence") for part in arrived.glob(f"*/{sid}.part")), "it at auth")
        modes.node.kill()
        assert terminal.wait() != 0
    try:
        poll_until(lambda: sid in recorded(modes), f"recording of {sid} without its node", DEAD_S)
        assert "evidence" in modes.recording_text(sid)
        settled(modes, sid, "session.upload")
    finally:
        modes.node = modes.start_node()
        modes.wait_listed()
    left = modes.directory / "node" / "recordings" / "live"
    poll_until(lambda: not list(left.glob("*.part")), "the node's own copy is delivered", SETTLE_S)
    assert recorded(modes).count(sid) == 1
    assert {name: counts(modes, sid)[name] for name in (*ONCE, "session.upload")} == dict.fromkeys(
        (*ONCE, "session.upload"), 1
    )
    assert not list((modes.data / "recordings" / "quarantine").glob(f"{sid}*"))
    assert "evidence" in modes.recording_text(sid)
    assert modes.json("recordings", "show", sid)["coverage"][0]["level"] == "partial"
