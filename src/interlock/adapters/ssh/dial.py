"""Dialling a target with a permit: connect, verify its host key, log in with a certificate made for this once.

The user's key agent plays no part: a fresh key is certified by auth for exactly the permit's user, login and
target (design §4). The certificate is requested while the key exchange runs, so it costs no time of its own.
"""

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache

import asyncssh
import structlog

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.minted import MintedLogin
from interlock.adapters.ssh.seams.dialling import dial_options
from interlock.adapters.ssh.seams.relayed import TargetLegConnection
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.adapters.ssh.words import words
from interlock.core.errors import TargetError
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.domain.permit import Permit
from interlock.domain.target import SubKind, Target
from interlock.ports import TargetCredential, TargetIssuer

SSH_PORT = 22

_log = structlog.get_logger()

_NO_CERTIFICATES = "SSH-2.0-dropbear"
"""Version strings of servers that have no user certificates, whatever their administrator configures."""


class _Owner(MintedLogin):
    """Verdicts on the target's host key, and the key to log in with."""

    def __init__(self, dialler: "Dialler", permit: Permit, *, records: bool, client_addr: str) -> None:
        self._dialler = dialler
        self._permit = permit
        self._records = records
        self.client_addr = client_addr
        self._connection: TargetLegConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Keep the connection, to freeze it when it is authenticated."""
        if isinstance(conn, TargetLegConnection):
            self._connection = conn

    @property
    def software(self) -> str:
        """The target's version string; empty until it has sent one."""
        return str(self._connection.get_extra_info("server_version", "")) if self._connection else ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """A plain key counts only if it is pinned."""
        if any(key.public_data == _public_data(line) for line in self._permit.target.host_keys):
            return True
        self.problem = self.mismatch(f"it presented {key.get_fingerprint()}")
        return False

    def is_authority(self, public_data: bytes) -> bool:
        """Our host CA."""
        return public_data in self._dialler.host_authorities

    async def certify(self, public_key: str) -> TargetCredential:
        """For this dial."""
        return await self._dialler.issuer.issue_for_target(
            self._permit, public_key, records=self._records, client_addr=self.client_addr
        )

    def auth_completed(self) -> None:
        """What the target sends from now on is the leg's."""
        if self._connection is not None:
            self._connection.freeze()

    def mismatch(self, detail: str) -> TargetError:
        """A host that is not the target, or that nobody has told us of."""
        name = self._permit.target.hostname
        public = f"host key verification failed for {name}: it does not present the key that this gateway expects"
        return TargetError(public, reason=f"{public}; {detail}")


@lru_cache(maxsize=1024)
def _public_data(line: str) -> bytes:
    return bytes(asyncssh.import_public_key(line).public_data)


@dataclass(frozen=True, slots=True)
class Dialler:
    """Reaches targets over TCP, and nodes that have dialled out by their tunnels."""

    issuer: TargetIssuer
    host_authorities: Container[bytes]  # public data of the host CA's keys
    tunnels: TunnelEntrance
    ciphers: Sequence[str] = algorithms.FAST_CIPHERS
    timeout: float = DIAL_TIMEOUT_S

    async def dial(self, permit: Permit, *, records: bool, client_addr: str) -> TargetLegConnection:
        """An authenticated connection, frozen until a leg takes it over; else TargetError or Denied."""
        target = permit.target
        owner = _Owner(self, permit, records=records, client_addr=client_addr)
        try:
            async with asyncio.timeout(self.timeout):
                return await self._connect(permit, owner)
        except TimeoutError as error:
            raise _unreachable(target, "it does not answer", error) from error
        except asyncssh.DisconnectError as error:
            if owner.problem is not None:
                raise owner.problem from error
            raise _refused(permit, error, owner.software) from error
        except OSError as error:
            raise _unreachable(target, words(error), error) from error
        except ValueError as error:  # what asyncssh's decoders raise in its asynchronous handlers
            public = f"{target.hostname} violated the SSH protocol: {str(error)[:200]}"
            raise TargetError(public, reason=f"{public} (at {target.addr})") from error

    async def _connect(self, permit: Permit, owner: _Owner) -> TargetLegConnection:
        target = permit.target
        loop = asyncio.get_running_loop()
        options, waiter = dial_options(
            loop,
            owner,
            address=(target.host or target.hostname, target.port or SSH_PORT),
            alias=target.id if target.sub_kind is SubKind.NODE else target.hostname,  # nodes may share a name
            username=permit.login,
            ciphers=algorithms.ALL_CIPHERS if target.sub_kind is SubKind.AGENTLESS else self.ciphers,
            host_keys=algorithms.host_key_algorithms(target.host_keys),
            timeout=self.timeout,
        )

        def make() -> TargetLegConnection:
            return TargetLegConnection(loop, options, wait="auth")

        if target.tunnel:
            connection = await self.tunnels.connect(target, owner.client_addr, channel=make, stream=make)
        else:
            _, connection = await loop.create_connection(make, target.host, target.port)
        try:
            await waiter
        except BaseException:
            connection.abort()
            await connection.wait_closed()
            raise
        return connection


def _unreachable(target: Target, why: str, error: Exception) -> TargetError:
    _log.info("dial.unreachable", target=target.hostname, addr=target.addr, error=repr(error))
    return TargetError(
        f"{target.hostname} is unreachable: {why}", reason=f"{target.hostname} at {target.addr}: {error!r}"
    )


def _refused(permit: Permit, error: asyncssh.DisconnectError, software: str) -> TargetError:
    name, login = permit.target.hostname, permit.login
    match error:
        case asyncssh.PermissionDenied() if software.startswith(_NO_CERTIFICATES):
            public = f"{name} cannot be reached: its SSH server, Dropbear, knows no certificates"
        case asyncssh.HostKeyNotVerifiable():
            public = f"host key verification failed for {name}"
        case asyncssh.PermissionDenied():
            public = f"{name} refused the login {login}: no such account, or it does not trust this gateway"
        case _:
            public = f"{name} ended the connection: {error.reason[:200]}"
    return TargetError(public, reason=f"{name} at {permit.target.addr}: {error.code} {error.reason}")
