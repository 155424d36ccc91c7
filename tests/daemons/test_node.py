"""A node in auth's own process: the same node, without joining and without a network in between."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.local import Local, open_local
from interlock.daemons.node import NodePorts, NodeSettings, run_local_node
from interlock.daemons.node_identity import IdentityFile
from interlock.domain.rbac import Role
from interlock.ports import EventFilter, User
from interlock.testing.openssh import SshClient, current_login, make_key
from interlock.testing.procs import Completed

LOOPBACK = "127.0.0.1"


async def run_with(local: Local, directory: Path, command: str) -> Completed:
    """Start the node, run a command on it with the stock client, stop it."""
    login, key = current_login(), make_key(directory / f"id-{local.entropy.uuid()}")
    certificate = await local.authority.issue_user("alice", ["access"], [login], key.public, timedelta(hours=1))
    key.certificate.write_text(certificate)
    client = SshClient(directory / "client", [key], [f"@cert-authority * {local.authority.export('host')}"])
    stopping, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    ports = NodePorts(
        local.audit,
        local.trackers,
        local.recordings,
        local.inventory,
        local.admission,
        local.lock_feed(strict=False),
        local.leases,
        local.admission,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_local_node(
                NodeSettings(directory / "node", "node1", host=LOOPBACK, port=0, labels={"env": "test"}),
                cluster=local.cluster.name,
                auth=local.authority,
                ports=ports,
                clock=local.clock,
                entropy=local.entropy,
                stopping=stopping,
                on_ready=lambda _host, bound: port.set_result(bound),
            )
        )
        address = ("-p", str(await port), "-o", "HostKeyAlias=node1", f"{login}@{LOOPBACK}")
        done = await asyncio.to_thread(client.run, *address, command)
        stopping.set()
    return done


async def test_a_node_beside_auth_serves_and_delivers(tmp_path: Path) -> None:
    """Events and recording are in auth's stores when the node has stopped; it is the same node after a restart."""
    async with open_local(tmp_path / "data") as local:
        await local.roles.add_role(Role("access", (current_login(),), {"env": "test"}))
        await local.users.add_user(User("alice", ("access",), None, False, local.clock.now()))
        first = (await run_with(local, tmp_path, "echo $SSH_SESSION_ID")).check().stdout.strip()
        identity = IdentityFile(tmp_path / "node").load()
        second = (await run_with(local, tmp_path, "echo $SSH_SESSION_ID")).check().stdout.strip()
        ends = await local.audit.events(EventFilter(event="session.end"))
        assert [end["sid"] for end in ends] == [first, second]
        assert identity is not None
        assert {end["recorded_by"] for end in ends} == {identity.id}
        assert {info.sid for info in await local.recordings.recordings()} == {first, second}
        assert await local.trackers.live() == []


async def test_an_address_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    """Not a traceback."""

    async def nobody(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with open_local(tmp_path / "data") as local, await asyncio.start_server(nobody, LOOPBACK, 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen on"):
            await run_local_node(
                NodeSettings(tmp_path / "node", "node1", host=LOOPBACK, port=port),
                cluster=local.cluster.name,
                auth=local.authority,
                ports=NodePorts(
                    local.audit,
                    local.trackers,
                    local.recordings,
                    local.inventory,
                    local.admission,
                    local.lock_feed(strict=False),
                    local.leases,
                    local.admission,
                ),
                clock=local.clock,
                entropy=local.entropy,
                stopping=asyncio.Event(),
            )
