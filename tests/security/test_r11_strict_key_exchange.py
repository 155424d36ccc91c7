"""R11: in the first key exchange only its own messages count, on both legs (Terrapin, rogue extension info)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.core import wire
from interlock.core.wire import string, uint32
from interlock.testing.hostile import ECDH_INIT, KEXINIT, Gone, HostKey, RawSsh, connect_raw, raw_server
from interlock.testing.node import node_world
from interlock.testing.offences import ask
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import Gateway, gateway

INSERTED: dict[str, bytes] = {
    "ignored": bytes([wire.IGNORE]) + string(b"x"),
    "debug": bytes([wire.DEBUG, 1]) + string("x") + string(""),
    "unimplemented": bytes([wire.UNIMPLEMENTED]) + uint32(0),
    "extension info": bytes([7]) + uint32(1) + string("server-sig-algs") + string("ssh-rsa"),
    "service": bytes([5]) + string("ssh-userauth"),
    "success": bytes([52]),
    "unknown": bytes([12]) + b"x",
    "another KEXINIT": bytes([KEXINIT]) + bytes(16) + uint32(0) * 10 + bytes(1) + uint32(0),
}


@pytest.fixture(params=["gateway", "node"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """Each of our servers."""
    if request.param == "node":
        async with node_world(tmp_path) as node:
            yield node.port
        return
    async with gateway(tmp_path) as world:
        yield world.port
        await world.wait_clean()


@pytest.mark.parametrize("where", ["before KEXINIT", "behind KEXINIT", "behind the keys"])
@pytest.mark.parametrize("what", INSERTED)
async def test_r11_nothing_is_slipped_into_the_first_exchange(port: int, what: str, where: str) -> None:
    """By whoever sits in between: the connection ends, and never by letting something be skipped."""
    async with await connect_raw(LOOPBACK, port) as client:
        await client.exchange_versions()
        if where == "before KEXINIT":
            client.send(INSERTED[what])
        client.begin_exchange()
        if where != "before KEXINIT":
            await client.expect(KEXINIT)
            client.send(INSERTED[what])
        if where == "behind the keys":
            client.send(bytes([ECDH_INIT]) + string(bytes(32)))
        async with asyncio.timeout(5):
            await client.wait_gone()
        assert "< NEWKEYS" not in client.log.lines


@pytest.mark.parametrize("what", [each for each in INSERTED if each != "another KEXINIT"])
async def test_r11_nothing_is_slipped_in_at_the_target(world: Gateway, what: str) -> None:
    """The same between us and a target, whose keys are not used then."""
    seen: list[str] = []

    async def script(peer: RawSsh) -> None:
        await peer.exchange_versions()
        peer.begin_exchange()
        await peer.expect(KEXINIT)
        peer.send(INSERTED[what])
        try:
            seen.append(await peer.wait_gone())
        except Gone:
            seen.append("")

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line])
        assert await ask(world)
    assert seen
    await world.wait_clean()
    assert not await world.events("session.start")
