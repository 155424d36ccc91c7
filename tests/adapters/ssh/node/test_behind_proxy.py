"""A real node behind the real proxy: what one must tell the other for the node's own records to be right."""

from pathlib import Path

import asyncssh
import pytest

from interlock.domain.duties import RecordingMode
from interlock.domain.target import SubKind, Target
from interlock.services.certificates import CertificateReader
from interlock.testing import ssh_pair
from interlock.testing.node import HOSTNAME, NODE_ID, World
from interlock.testing.openssh import current_login


@pytest.mark.parametrize("mode", RecordingMode)
async def test_the_node_knows_where_the_person_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: RecordingMode
) -> None:
    """The address in the node's events and in the session's environment is not the proxy's."""
    monkeypatch.setattr(ssh_pair, "LOGIN", current_login())
    async with ssh_pair.gateway(tmp_path) as gateway:
        gateway.record_in(mode)
        target = Target(NODE_ID, HOSTNAME, "127.0.0.1", 22, SubKind.NODE)
        node = World(tmp_path, gateway.authority, CertificateReader([gateway.authority.export("user")]), target)
        await node.start()
        gateway.users.known_targets[HOSTNAME] = Target(NODE_ID, HOSTNAME, "127.0.0.1", node.port, SubKind.NODE)
        try:
            async with await gateway.client(HOSTNAME) as client:
                host, port = client.get_extra_info("sockname")[:2]
                said = await client.run("echo $SSH_CLIENT", encoding="utf-8")
        finally:
            await node.stop()
        assert said.stdout == f"{host} {port} {node.port}\n"
        assert node.sessions.all[0].ctx.client_addr == f"{host}:{port}"


async def test_a_node_of_the_same_name_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    """Its certificate is genuine and names that host; the ID tells them apart, so it gets nobody's sessions."""
    async with ssh_pair.gateway(tmp_path) as gateway:
        target = Target(NODE_ID, HOSTNAME, "127.0.0.1", 22, SubKind.NODE)
        node = World(tmp_path, gateway.authority, CertificateReader([gateway.authority.export("user")]), target)
        await node.start()
        meant = Target(ssh_pair.DAEMON_ID, HOSTNAME, "127.0.0.1", node.port, SubKind.NODE)
        gateway.users.known_targets[HOSTNAME] = meant
        try:
            async with await gateway.client(HOSTNAME) as client:
                with pytest.raises(asyncssh.ChannelOpenError, match="host key verification failed for web1"):
                    await client.run("true")
        finally:
            await node.stop()
        assert node.sessions.all == []
