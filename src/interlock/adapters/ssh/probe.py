"""What an SSH server shows to anybody: its version, and the key by which it proves itself. Nobody logs in."""

import asyncio
from dataclasses import dataclass

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.seams.dialling import NO_KNOWN_HOSTS
from interlock.core.errors import TargetError
from interlock.domain.target import Target

PATIENCE_S = 5.0
"""Seconds for one host."""

_BANNER = 255  # bytes of a version line at most (RFC 4253 §4.2)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server showed."""

    key: str  # type and base64, as in known_hosts; of a certificate, the key of its authority
    fingerprint: str
    certified: bool


async def version(host: str, port: int) -> str:
    """The version line of whoever listens there; TargetError if nobody speaks SSH."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(host, port, limit=_BANNER)
            try:
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise TargetError("nobody answers there", reason=repr(error)) from error
    if not line.startswith(b"SSH-2.0-"):
        raise TargetError("whoever answers there does not speak SSH", reason=repr(line[:80]))
    return line.decode("ascii", "replace").strip()


async def host_key(target: Target) -> Shown:
    """By what it proves itself, asked as a dial would ask; TargetError if it cannot be reached."""
    wanted = list(algorithms.host_key_algorithms(target.host_keys))
    shown: list[Shown] = []

    class Owner(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            del host, addr, port
            shown.append(_shown(key, certified=False))
            return False

        def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            del host, addr, port
            shown.append(_shown(key, certified=True))
            return False

    try:
        async with asyncio.timeout(PATIENCE_S):
            connection = await asyncssh.connect(
                target.host,
                target.port,
                client_factory=Owner,
                config=None,
                known_hosts=NO_KNOWN_HOSTS,
                client_keys=None,
                agent_path=None,
                server_host_key_algs=wanted,
                kex_algs=list(algorithms.KEX),
            )
            connection.abort()
    except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
        if not shown:
            raise TargetError("it does not answer as an SSH server", reason=repr(error)) from error
    return shown[0]


def _shown(key: asyncssh.SSHKey, *, certified: bool) -> Shown:
    line = key.export_public_key().decode().split()
    return Shown(" ".join(line[:2]), key.get_fingerprint(), certified)
