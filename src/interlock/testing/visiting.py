"""Who comes to a node: clients that ask for anything, as people and as forwarders."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import asyncssh
from asyncssh.channel import SSHChannel, SSHClientChannel
from asyncssh.packet import SSHPacket, String

from interlock.adapters.system import SystemClock
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims, Identity, Joining
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.testing.node import NODE_ID, World

PROXY_ID = DaemonId("99999999-2222-4333-8444-555555555555")


class Session(asyncssh.SSHClientSession[bytes]):
    """Collects what a channel shows."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Keep it, of whatever kind."""
        del datatype
        self.output += data

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        del exc
        self.closed.set()


class Channel(SSHClientChannel[bytes]):
    """A session channel that notes announcements as a forwarder does."""

    def __init__(self, connection: asyncssh.SSHClientConnection, window: int = 1 << 20) -> None:
        super().__init__(connection, asyncio.get_running_loop(), "strict", None, "strict", window, 32768)
        self.announced: list[bytes] = []
        self.heard = asyncio.Event()

    def _process_current_session_id_at_goteleport_dot_com_request(self, packet: SSHPacket) -> bool:
        self.announced.append(packet.get_remaining_payload())
        self.heard.set()
        return True

    async def open(self, extra: bytes = b"") -> Session:
        """Open with this extra data; ChannelOpenError if refused."""
        await SSHChannel._open(self, b"session", extra)  # noqa: SLF001 - the one way to open with extra data
        session = Session()
        self._session = session
        return session

    async def run(self, command: bytes) -> bool | None:
        """Ask for a command, which may be any bytes."""
        granted = await self._make_request(b"exec", String(command))
        self.resume_reading()
        return granted


@contextlib.asynccontextmanager
async def visit(world: World, certificate: str | None = None) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to the node, as alice or with another certificate for a key of hers."""
    key = await world.key()
    private = asyncssh.read_private_key(str(key.path))
    shown = asyncssh.import_certificate(certificate or key.certificate.read_text())
    async with asyncssh.connect(
        "127.0.0.1",
        world.port,
        username=world.login,
        client_keys=[(private, shown)],
        known_hosts=None,
        config=None,
    ) as connection:
        yield connection


@contextlib.asynccontextmanager
async def forwarder(
    world: World, *, records: bool, target: DaemonId = NODE_ID, client: str = "", joining: Joining | None = None
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection as a forwarding node makes it; to take part in a session alone, if ``joining`` says so."""
    now = SystemClock().now()
    identity = Identity("bob", ("access",), "test")
    claims = Claims(identity, (world.login,), now, now + timedelta(hours=1), 1)
    role = Role("access", (world.login,), {"*": "*"})
    there = replace(world.target, id=target)
    permit = Permit.decide(claims, [role], world.login, there, now=now)
    if joining is not None:
        permit = Permit.to_join(claims, [role], there, joining, now=now)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    credential = world.authority.sign_for_target(permit, public, by=PROXY_ID, records=records, client_addr=client)
    shown = asyncssh.import_certificate(credential.certificate)
    async with asyncssh.connect(
        "127.0.0.1", world.port, username=permit.login, client_keys=[(key, shown)], known_hosts=None, config=None
    ) as connection:
        yield connection


class Later:
    """The system's clock, but ahead."""

    def __init__(self, by: timedelta) -> None:
        self._by = by
        self._clock = SystemClock()

    def now(self) -> datetime:
        """`ports.Clock`."""
        return self._clock.now() + self._by

    def monotonic(self) -> float:
        """`ports.Clock`."""
        return self._clock.monotonic()
