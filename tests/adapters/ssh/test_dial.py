"""Dialling a target that is not what it should be: one refusal in words, one audit event with the cause."""

from pathlib import Path

import asyncssh
import pytest

from interlock.core import wire
from interlock.core.wire import string, uint32
from interlock.domain.target import SubKind
from interlock.testing.hostile import RawSsh, Script
from interlock.testing.offences import open_session, refused
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import LOGIN, gateway


async def silence(peer: RawSsh) -> None:
    """Accept and say nothing."""
    await peer.reader.read()


async def garbage(peer: RawSsh) -> None:
    """Not SSH."""
    peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await peer.reader.read()


async def endless_banner(peer: RawSsh) -> None:
    """Lines before the version, without end."""
    for _ in range(100_000):
        peer.write(b"welcome\r\n" * 100)
        await peer.flush()
        if peer.writer.transport.is_closing():
            return


async def leaves_at_once(peer: RawSsh) -> None:
    """Close."""
    await peer.close()


async def no_kexinit(peer: RawSsh) -> None:
    """Stop after the versions."""
    await peer.exchange_versions()
    await peer.wait_gone()


async def kexinit_only(peer: RawSsh) -> None:
    """Stop in the middle of the key exchange."""
    peer.follows = False
    await peer.exchange_versions()
    peer.begin_exchange()
    await peer.wait_gone()


async def no_common_cipher(peer: RawSsh) -> None:
    """Offer what nobody has."""
    await peer.exchange_versions()
    lists = ("curve25519-sha256", "ssh-ed25519", "none", "none", "none", "none", "none", "none", "", "")
    peer.send(bytes([wire.KEXINIT]) + bytes(16) + b"".join(map(string, lists)) + bytes(5))
    peer.follows = False
    await peer.wait_gone()


async def broken_kexinit(peer: RawSsh) -> None:
    """A KEXINIT that ends early."""
    await peer.exchange_versions()
    peer.send(bytes([wire.KEXINIT]) + bytes(20))
    peer.follows = False
    await peer.wait_gone()


async def zero_point(peer: RawSsh) -> None:
    """A public key that makes the shared secret zero (RFC 7748 §6.1)."""
    await peer.exchange_versions()
    peer.begin_exchange()
    await peer.expect(30)
    assert peer.host_key is not None
    peer.send(bytes([31]) + string(peer.host_key.blob) + string(bytes(32)) + string(peer.host_key.sign(b"")))
    await peer.wait_gone()


async def forged_signature(peer: RawSsh) -> None:
    """The right host key, but not its signature."""
    await peer.exchange_versions()
    peer.begin_exchange()
    await peer.expect(30)
    assert peer.host_key is not None
    point = bytes([9]) + bytes(31)
    peer.send(bytes([31]) + string(peer.host_key.blob) + string(point) + string(peer.host_key.sign(b"x")))
    await peer.wait_gone()


async def broken_host_key(peer: RawSsh) -> None:
    """A host key that is none."""
    await peer.exchange_versions()
    peer.begin_exchange()
    await peer.expect(30)
    peer.send(bytes([31]) + string(b"\0\0\0\x0bssh-ed25519") + string(bytes(32)) + string(b"x"))
    await peer.wait_gone()


async def refuses_login(peer: RawSsh) -> None:
    """No such account."""
    await peer.handshake()
    await peer.expect(5)
    peer.send(bytes([6]) + string("ssh-userauth"))
    while True:
        await peer.expect(50)
        peer.send(bytes([51]) + string("publickey") + bytes(1))


async def dropbear(peer: RawSsh) -> None:
    """A server that has no certificates."""
    peer._version = b"SSH-2.0-dropbear_2022.83"
    await refuses_login(peer)


async def silent_login(peer: RawSsh) -> None:
    """Never answers the login."""
    await peer.handshake()
    await peer.expect(5)
    peer.send(bytes([6]) + string("ssh-userauth"))
    await peer.wait_gone()


async def goodbye_at_login(peer: RawSsh) -> None:
    """Ends the connection with a text."""
    await peer.handshake()
    await peer.expect(5)
    peer.send(bytes([1]) + uint32(11) + string("maintenance until noon") + string(""))
    await peer.wait_gone()


async def session_before_login(peer: RawSsh) -> None:
    """Connection messages before anybody is logged in (R11)."""
    await peer.handshake()
    await peer.expect(5)
    peer.send(open_session())
    await peer.wait_gone()


async def bad_mac_at_login(peer: RawSsh) -> None:
    """A damaged packet."""
    await peer.handshake()
    await peer.expect(5)
    peer.write(uint32(32) + bytes(64))
    await peer.wait_gone()


async def huge_packet_at_login(peer: RawSsh) -> None:
    """Four GiB."""
    await peer.handshake()
    peer.write(b"\xff" * 64)
    await peer.wait_gone()


DIALS: dict[str, tuple[Script, str]] = {
    "silence": (silence, "unreachable: it does not answer"),
    "garbage": (garbage, "evil1"),
    "endless banner": (endless_banner, "evil1"),
    "leaves at once": (leaves_at_once, "evil1 is unreachable: connection reset"),
    "no KEXINIT": (no_kexinit, "unreachable: it does not answer"),
    "KEXINIT only": (kexinit_only, "unreachable: it does not answer"),
    "no common cipher": (no_common_cipher, "evil1 ended the connection"),
    "broken KEXINIT": (broken_kexinit, "evil1 violated the SSH protocol"),
    "zero point": (zero_point, "evil1 ended the connection"),
    "forged signature": (forged_signature, "evil1 ended the connection"),
    "broken host key": (broken_host_key, "evil1"),
    "refuses login": (refuses_login, "evil1 refused the login root"),
    "Dropbear": (dropbear, "evil1 cannot be reached: its SSH server, Dropbear, knows no certificates"),
    "silent login": (silent_login, "unreachable: it does not answer"),
    "goodbye at login": (goodbye_at_login, "maintenance until noon"),
    "session before login": (session_before_login, "evil1 ended the connection"),
    "bad MAC at login": (bad_mac_at_login, "evil1 ended the connection"),
    "huge packet at login": (huge_packet_at_login, "evil1 ended the connection"),
}


@pytest.mark.parametrize("name", DIALS)
async def test_offence_before_the_target_is_up(tmp_path: Path, name: str) -> None:
    """The client's channel is refused with words that name the target, and the audit log has the cause."""
    script, words = DIALS[name]
    async with gateway(tmp_path, dial_timeout=0.5) as world:
        shown, reason = await refused(world, script, kind=SubKind.AGENTLESS)
    assert words in shown
    assert "evil1" in reason


async def test_the_accounts_own_known_hosts_vouch_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the account that runs the gateway has once trusted at a terminal is no pinned key."""
    own = tmp_path / "home" / ".ssh"
    own.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(own.parent))
    async with gateway(tmp_path) as world, plain_target(world) as target:
        key = target.host_keys[0].strip()
        world.add_target(target.hostname, target.port, host_keys=[world.authority.export("user")])
        names = f"{target.hostname},[{target.hostname}]:{target.port}"
        (own / "known_hosts").write_text(f"{names} {key}\n@cert-authority {names} {key}\n")
        client = await world.client(target.hostname, user=f"{LOGIN}%{target.hostname}")
        with pytest.raises(asyncssh.ChannelOpenError, match="host key verification failed for plain1"):
            await client.run("exit 0")
        client.abort()
        await client.wait_closed()
