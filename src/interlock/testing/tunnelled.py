"""A real node behind a real proxy that it has dialled: the tunnel's two ends in the test's own process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from interlock.adapters.ssh.tunnel.agent import AgentLink, Credential, TunnelAgent
from interlock.core.ids import DaemonId
from interlock.domain.target import SubKind, Target
from interlock.services.keys.certificates import CertificateReader
from interlock.testing.node import HOSTNAME, NODE_ID, World
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import Footprint, Gateway


async def credential(gateway: Gateway, node: DaemonId = NODE_ID, *, host_ca: str = "") -> Credential:
    """A new host key with the certificate that a node gets when it joins; ``host_ca`` instead of the gateway's."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    certificate = await gateway.authority.issue_tunnel(public, node)
    return Credential(private, certificate, (host_ca or gateway.authority.export("host"),))


@contextlib.asynccontextmanager
async def agent(gateway: Gateway, shown: Credential | None, **options: float) -> AsyncIterator[TunnelAgent]:
    """A node's agent, which has not dialled yet."""
    made = TunnelAgent((LOOPBACK, gateway.port), None if shown is None else lambda: shown, **options)
    try:
        yield made
    finally:
        made.close()


@contextlib.asynccontextmanager
async def tunnelled_node(gateway: Gateway, name: str = HOSTNAME) -> AsyncIterator[tuple[World, AgentLink]]:
    """A node of ours that listens nowhere, listed under ``name`` and connected to the gateway."""
    target = Target(NODE_ID, name, "", 0, SubKind.NODE, tunnel=True)
    reader = CertificateReader([gateway.authority.export("user")])
    node = World(gateway.directory, gateway.authority, reader, target)
    await node.start()
    idle = gateway.idle
    async with agent(gateway, await credential(gateway)) as dialler:
        assert node.server is not None
        dialler.serve(node.server.accept)
        link = await dialler.dial()
        await wait_tunnel(gateway)
        gateway.users.known_targets[name] = replace(target)
        gateway.idle = Footprint.take()
        try:
            yield node, link
        finally:
            gateway.idle = idle
            await node.stop()


async def wait_tunnel(gateway: Gateway, node: DaemonId = NODE_ID, count: int = 1) -> None:
    """Return when the node has so many tunnels; the proxy may learn of one a moment after the node."""
    while len(gateway.tunnels.registry.of(node)) != count:  # noqa: ASYNC110 - the test's time limit ends it
        await asyncio.sleep(0.005)
