"""A node in auth's own process (``--roles auth,proxy,node``) and one that joined over gRPC behave the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.daemons.config import AuthConfig, Config, NodeConfig, ProxyConfig
from interlock.daemons.gateway import Listening, run_gateway
from interlock.daemons.local import Local, open_local
from interlock.daemons.membership import JoinBy
from interlock.daemons.node import NodeSettings
from interlock.daemons.node_remote import run_node
from interlock.domain.audit import JsonValue
from interlock.domain.duties import RecordingMode
from interlock.domain.rbac import Role
from interlock.ports import EventFilter, User
from interlock.services.keys.joining import TokenText
from interlock.testing.gateway import BIN
from interlock.testing.openssh import SshClient, clean_env, current_login, make_key
from interlock.testing.procs import run
from interlock.testing.terminal import Terminal

pytestmark = pytest.mark.interop

LOOPBACK = "127.0.0.1"
LABELS = {"env": "test"}
SHOW = "echo sid=$SSH_SESSION_ID as $SSH_TELEPORT_USER; echo err >&2; exit 6"

OWN = {"uid", "time", "sid", "session_start", "session_stop", "url", "tx", "rx", "addr.local", "addr.remote"}
"""Fields that differ between any two sessions."""

NODES_OWN = {"server_id", "server_hostname", "server_addr", "recorded_by"}
"""Fields that differ between any two nodes."""


@dataclass
class Both:
    """A gateway with a node inside and a node apart, seen from a person's machine and from auth's stores."""

    local: Local
    client: SshClient
    port: str

    def to(self, node: str) -> tuple[str, ...]:
        """The arguments of ssh that lead to a node."""
        return ("-p", self.port, f"{current_login()}%{node}@{LOOPBACK}")

    async def told(self, sid: str, last: str) -> list[dict[str, JsonValue]]:
        """A session's events, once the last one is there, without what is the session's or the node's own."""
        while True:
            events = await self.local.audit.events(EventFilter(sid=sid))
            if any(event["event"] == last for event in events):
                shared = [{name: event[name] for name in event if name not in OWN | NODES_OWN} for event in events]
                return [each | {"fields": sorted(event)} for each, event in zip(shared, events, strict=True)]
            await asyncio.sleep(0.05)

    async def listed(self, *nodes: str) -> None:
        """Return when the inventory has them."""
        while not set(nodes) <= {target.hostname for target in await self.local.inventory.targets()}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def both(tmp_path: Path, mode: RecordingMode) -> AsyncIterator[Both]:
    """Everything in this process."""
    data = tmp_path / "data"
    config = Config(
        recording_mode=mode.value,
        auth=AuthConfig(listen=f"{LOOPBACK}:0", join_listen=f"{LOOPBACK}:0"),
        proxy=ProxyConfig(listen=f"{LOOPBACK}:0"),
        node=NodeConfig(hostname="inside", listen=f"{LOOPBACK}:0", labels=LABELS),
    )
    login, key = current_login(), make_key(tmp_path / "id")
    async with open_local(data) as local:
        await local.roles.add_role(Role("access", (login,), LABELS))
        await local.users.add_user(User("alice", ("access",), None, False, local.clock.now()))
        line = await local.authority.issue_user("alice", ["access"], [login], key.public, timedelta(hours=1))
        key.certificate.write_text(line)
        client = SshClient(tmp_path / "client", [key], [f"@cert-authority * {local.authority.export('host')}"])
        token = await asyncio.to_thread(
            run, [BIN / "ilctl", "tokens", "add"], env={**clean_env(), "INTERLOCK_DATA_DIR": str(data)}
        )
        stopping, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                run_gateway(config, data, with_node=True, stopping=stopping, on_ready=ready.set_result)
            )
            listening: Listening = await ready
            node_stopping = asyncio.Event()
            node = tasks.create_task(
                run_node(
                    NodeSettings(tmp_path / "node", "apart", host=LOOPBACK, port=0, labels=LABELS),
                    join_by=JoinBy(listening.join, TokenText.parse(token.check().stdout.split()[-1])),
                    clock=local.clock,
                    entropy=local.entropy,
                    stopping=node_stopping,
                )
            )
            world = Both(local, client, listening.proxy.rpartition(":")[2])
            try:
                await world.listed("inside", "apart")
                yield world
            finally:
                node_stopping.set()
                await node
                stopping.set()


def talk(world: Both, node: str) -> str:
    """A shell that shows its session's ID."""
    with Terminal(world.client.argv("-tt", *world.to(node)), env=clean_env()) as terminal:
        terminal.send(f"{SHOW}\r")
        sid = terminal.expect(r"sid=([0-9a-f-]{36}) as alice").group(1).decode()
        assert terminal.wait() == 6
    return sid


@pytest.mark.parametrize("mode", RecordingMode)
async def test_inside_or_apart_makes_no_difference(tmp_path: Path, mode: RecordingMode) -> None:
    """Shell and exec: same output, same exit, same events with the same fields, one recording each."""
    told = {}
    last = "session.data" if mode is RecordingMode.OFF else "session.upload"
    async with both(tmp_path, mode) as world:
        sids = []
        for node in ("inside", "apart"):
            done = await asyncio.to_thread(world.client.run, *world.to(node), SHOW)
            assert (done.rc, done.stderr) == (6, "err\n")
            executed = done.stdout.removeprefix("sid=").removesuffix(" as alice\n")
            shell = await asyncio.to_thread(talk, world, node)
            sids += [executed, shell]
            told[node] = [await world.told(executed, last), await world.told(shell, last)]
        recorded = sids if mode is not RecordingMode.OFF else []
        assert {info.sid for info in await world.local.recordings.recordings()} == set(recorded)
    assert told["inside"] == told["apart"]
    assert [event["event"] for event in told["inside"][0]][:3] == ["session.start", "exec", "session.end"]
