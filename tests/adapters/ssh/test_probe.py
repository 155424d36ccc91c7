"""What a server shows, asked of real ones."""

import asyncio
from pathlib import Path

import asyncssh
import pytest

from interlock.adapters.ssh.probe import host_key, version
from interlock.core.errors import TargetError
from interlock.core.ids import DaemonId
from interlock.domain.target import SubKind, Target
from interlock.testing.ports import LOOPBACK, free_port


def target(port: int, *host_keys: str) -> Target:
    """An agentless host of that port."""
    return Target(DaemonId("t"), "web1", LOOPBACK, port, SubKind.AGENTLESS, host_keys=host_keys)


async def test_a_plain_key_is_shown() -> None:
    """By its line and fingerprint, whatever was pinned of this type."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen(LOOPBACK, 0, server_host_keys=[key], config=None) as server:
        port = server.get_port()
        line = key.export_public_key().decode().strip()
        shown = await host_key(target(port, "ssh-ed25519 AAAA"))
        assert (shown.key, shown.certified) == (" ".join(line.split()[:2]), False)
        assert shown.fingerprint == key.get_fingerprint()
        assert (await version(LOOPBACK, port)).startswith("SSH-2.0-AsyncSSH")


async def test_of_a_certificate_the_authority_is_shown() -> None:
    """Where none is pinned, a certificate is asked for."""
    key, authority = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    certificate = authority.generate_host_certificate(key, "web1", principals=[LOOPBACK])
    async with asyncssh.listen(LOOPBACK, 0, server_host_keys=[(key, certificate)], config=None) as server:
        shown = await host_key(target(server.get_port()))
    assert (shown.certified, shown.fingerprint) == (True, authority.get_fingerprint())


async def test_what_the_gateways_own_account_trusts_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its known_hosts would answer in our place: nothing would be shown, or the file's errors be the host's."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen(LOOPBACK, 0, server_host_keys=[key], config=None) as server:
        line = key.export_public_key().decode()
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "known_hosts").write_text(f"[{LOOPBACK}]:{server.get_port()} {line}")
        monkeypatch.setenv("HOME", str(tmp_path))
        shown = await host_key(target(server.get_port(), "ssh-ed25519 AAAA"))
    assert shown.fingerprint == key.get_fingerprint()


async def test_who_does_not_answer_or_is_no_ssh_server() -> None:
    """Is told from whoever shows a key."""
    port = free_port()
    with pytest.raises(TargetError, match="nobody answers"):
        await version(LOOPBACK, port)
    with pytest.raises(TargetError, match="does not answer as an SSH server"):
        await host_key(target(port))

    async def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 100_000)
        writer.close()

    server = await asyncio.start_server(web, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(TargetError, match="does not speak SSH"):
            await version(LOOPBACK, port)
        with pytest.raises(TargetError, match="does not answer as an SSH server"):
            await host_key(target(port))
