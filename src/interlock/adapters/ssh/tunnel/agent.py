"""The node's side of a reverse tunnel: dial the proxy's one port, let visitors in, and lead calls to auth out.

Visitors are connections that the proxy opens in the tunnel; they go straight into the node's own SSH server. Calls
to auth come from gRPC in this process by a socket in the file system, which nobody else may enter; what passes is
TLS between the node and auth, and the proxy sees ciphertext.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.pipe import ChannelEnd, StreamEnd, link
from interlock.adapters.ssh.seams.dialling import NO_KNOWN_HOSTS
from interlock.adapters.ssh.seams.node import NodeConnection
from interlock.adapters.ssh.seams.tunnel import AgentConnection, AgentHooks, ByteSession, TunnelChannel
from interlock.adapters.ssh.words import words
from interlock.core.address import format_address
from interlock.core.errors import RemoteProtocolError, TargetError
from interlock.core.extensions import SOFTWARE
from interlock.core.limits import DIAL_TIMEOUT_S, TUNNEL_KEEPALIVE_S, TUNNEL_MAX_MISSED
from interlock.core.tunnel import JOIN_USER, TUNNEL_USER, Listener, Visit

SOCKET = "auth"

NO_CREDENTIAL = "the node has no certificate for the tunnel"

Accept = Callable[[], NodeConnection]
"""Makes what takes one visitor: `NodeServer.accept`."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What the node shows, and by what it knows its proxy."""

    host_key: str  # private key, OpenSSH PEM
    certificate: str  # for the tunnel, OpenSSH one-line form
    host_cas: tuple[str, ...]  # one of them must vouch for the proxy under the name that was dialled


class TunnelAgent:
    """The node's tunnel, or the lack of it. `services.fleet.redialling` calls `dial` again and again.

    ``credential`` is asked at every attempt; None is for a node that joins: it cannot know the proxy yet, and says
    nothing to it that is not TLS between itself and the auth service that its join token pins.
    """

    def __init__(
        self,
        proxy: tuple[str, int],
        credential: Callable[[], Credential] | None,
        *,
        timeout: float = DIAL_TIMEOUT_S,
        keepalive_interval: float = TUNNEL_KEEPALIVE_S,
    ) -> None:
        self._proxy = proxy
        self._credential = credential
        self._timeout = timeout
        self._keepalive_interval = keepalive_interval
        self._accept: Accept | None = None  # set once the node's server is ready
        self._link: AgentLink | None = None  # the last one that was up

    def serve(self, accept: Accept | None) -> None:
        """From now on visitors are let in; with None they are refused."""
        self._accept = accept

    async def dial(self) -> "AgentLink":
        """Bring the tunnel up; TargetError with the reason if that fails."""
        where = format_address(*self._proxy)
        made = AgentLink(self._visit, self._credential)
        try:
            async with asyncio.timeout(self._timeout):
                await self._connect(made)
        except TimeoutError as error:
            raise TargetError(f"the proxy at {where} does not answer", reason=repr(error)) from error
        except asyncssh.HostKeyNotVerifiable as error:
            public = f"the proxy at {where} does not present a certificate of this cluster for that name"
            raise TargetError(f"{public}: is it in proxy.names?", reason=f"{public}: {error.reason}") from error
        except asyncssh.DisconnectError as error:
            public = f"the proxy at {where} ended the connection: {error.reason[:200]}"
            raise TargetError(public, reason=f"{error.code} {error.reason}") from error
        except OSError as error:
            raise TargetError(
                f"the proxy at {where} is unreachable: {words(error)}", reason=repr(error)
            ) from error
        except ValueError as error:  # what asyncssh's decoders raise in its asynchronous handlers
            raise TargetError(f"the proxy at {where} violated the SSH protocol", reason=str(error)) from error
        before, self._link = self._link, made
        if before is not None:
            before.leave()
        return made

    def retire(self) -> None:
        """The credential has changed: another tunnel is to be made, and takes this one's place once it is up."""
        if self._link is not None:
            self._link.retire()

    def close(self) -> None:
        """Drop the tunnel."""
        if self._link is not None:
            self._link.close()
            self._link = None

    @asynccontextmanager
    async def auth_socket(self, listener: Listener = Listener.SERVICE) -> AsyncIterator[Path]:
        """A UNIX socket that leads to one of auth's listeners while there is a tunnel; else it just closes."""
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="interlock-") as directory:  # mode 0700, and a short path
            path = Path(directory) / SOCKET
            server = await loop.create_unix_server(lambda: _Call(self._called, listener), str(path))
            try:
                yield path
            finally:
                server.close()
                self.close()

    async def _connect(self, made: "AgentLink") -> None:
        loop = asyncio.get_running_loop()
        host, port = self._proxy
        credential = self._credential() if self._credential is not None else None
        options = await asyncssh.SSHClientConnectionOptions.construct(
            client_factory=lambda: made,
            config=None,
            client_version=SOFTWARE,
            host=host,
            port=port,
            known_hosts=NO_KNOWN_HOSTS,
            username=TUNNEL_USER if credential is not None else JOIN_USER,
            client_keys=None if credential is None else [_key_pair(credential)],
            agent_path=None,
            gss_host=None,
            preferred_auth=["publickey"],
            kex_algs=list(algorithms.KEX),
            encryption_algs=list(algorithms.ALL_CIPHERS),
            mac_algs=list(algorithms.MACS),
            compression_algs=list(algorithms.COMPRESSION),
            server_host_key_algs=list(algorithms.HOST_CERTIFICATES),
            login_timeout=self._timeout,
            keepalive_interval=self._keepalive_interval,
            keepalive_count_max=TUNNEL_MAX_MISSED,
        )
        options.waiter = loop.create_future()
        _, connection = await loop.create_connection(
            lambda: AgentConnection(loop, options, wait="auth"), host, port
        )
        try:
            await options.waiter
        except BaseException:
            connection.abort()
            await connection.wait_closed()
            raise

    def _visit(self) -> NodeConnection:
        if self._accept is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the node is not ready")
        return self._accept()

    def _called(self, call: "_Call") -> None:
        """Lead a call to auth; without a tunnel it ends, and gRPC tries again."""
        if self._link is None or not self._link.forward(call):
            call.close()


class AgentLink(AgentHooks):
    """One connection to the proxy. `services.fleet.redialling.Link`."""

    def __init__(self, accept: Callable[[], NodeConnection], credential: Callable[[], Credential] | None) -> None:
        self._accept = accept
        self._credential = credential
        self._connection: AgentConnection | None = None
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._leaving = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Keep the connection."""
        if isinstance(conn, AgentConnection):
            self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """The tunnel is down."""
        self._connection = None
        self._over(str(exc) if exc is not None else "the connection was closed")

    def retire(self) -> None:
        """Count as lost, so that another one is made."""
        self._over("the certificate was renewed")

    def leave(self) -> None:
        """There is a newer one: end as soon as no visitor is left."""
        self._leaving = True
        self.visitor_left()

    def visitor_left(self) -> None:
        """See `AgentHooks.visitor_left`."""
        if self._leaving and self._connection is not None and not self._connection.visits:
            self._connection.close()

    def _over(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """The proxy's certificate counts if our host CA signed it; asyncssh checks name and time."""
        del host, addr, port
        if self._credential is None:
            return True
        trusted = map(asyncssh.import_public_key, self._credential().host_cas)
        return any(key.public_data == each.public_data for each in trusted)

    def visited(self, payload: bytes, channel: TunnelChannel) -> ByteSession:
        """The proxy brings a visitor."""
        try:
            visit = Visit.decode(payload)
        except RemoteProtocolError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, error.public) from None
        channel.set_extra_info(peername=(visit.host, visit.port))
        return cast(ByteSession, self._accept())

    async def call(self, listener: Listener) -> ChannelEnd:
        """Open a connection to auth; ChannelOpenError if that fails."""
        if self._connection is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the tunnel is down")
        return await self._connection.call(listener.encode(), ChannelEnd)

    def forward(self, call: "_Call") -> bool:
        """Lead gRPC's call to auth; False if the tunnel is down. Its task is the connection's."""
        if self._connection is None:
            return False
        self._connection.keep(self._forward(call))
        return True

    async def _forward(self, call: "_Call") -> None:
        try:
            end = await self.call(call.listener)
        except asyncssh.ChannelOpenError:
            call.close()
            return
        link(call, end)
        call.resume()
        end.resume()

    async def wait_lost(self) -> str:
        """Return when the connection has ended or was retired, with the reason."""
        return await asyncio.shield(self._lost)

    def close(self) -> None:
        """End it."""
        if self._connection is not None:
            self._connection.close()


class _Call(StreamEnd):
    """gRPC's connection to auth."""

    def __init__(self, made: Callable[["_Call"], None], listener: Listener) -> None:
        super().__init__()
        self._made = made
        self.listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the way."""
        super().connection_made(transport)
        self._made(self)


def _key_pair(credential: Credential) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
    try:
        key = asyncssh.import_private_key(credential.host_key)
        return key, asyncssh.import_certificate(credential.certificate)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise TargetError(NO_CREDENTIAL, reason=str(error)) from None
