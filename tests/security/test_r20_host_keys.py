"""R20: each hop proves itself, no hop speaks for another one, and nobody's key is learnt by being shown."""

import asyncssh
import pytest

from interlock.core import wire
from interlock.core.messages import Open, global_request
from interlock.core.wire import string
from interlock.domain.target import SubKind
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.offences import ask, confirm, data, open_session
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import USER, Gateway


async def admit(peer: RawSsh) -> None:
    """A server that lets anybody in."""
    await peer.admit()
    await peer.wait_gone()


@pytest.mark.parametrize("kind", [SubKind.AGENTLESS, SubKind.NODE])
@pytest.mark.parametrize("pinned", ["another", "none"])
async def test_r20_a_target_with_another_key_gets_nobody(world: Gateway, kind: SubKind, pinned: str) -> None:
    """Neither is a key believed that nobody pinned: nothing is trusted on first use."""
    async with raw_server(admit, HostKey()) as port:
        keys = [HostKey().line] if pinned == "another" else []
        world.add_target("evil1", port, host_keys=keys, sub_kind=kind)
        assert "host key" in await ask(world)
    await world.wait_clean()
    assert not await world.events("session.start")


async def test_r20_one_targets_key_is_not_anothers(world: Gateway) -> None:
    """Two targets with each other's keys, as if somebody had moved an address."""
    one, other = HostKey(), HostKey()
    async with raw_server(admit, one) as first, raw_server(admit, other) as second:
        world.add_target("evil1", second, host_keys=[one.line])
        world.add_target("evil2", first, host_keys=[other.line])
        assert "host key" in await ask(world, "evil1")
        assert "host key" in await ask(world, "evil2")


async def test_r20_the_gateways_key_is_not_the_targets(world: Gateway) -> None:
    """At the end of a jump a client sees a certificate for the target, by name, and not for another one."""
    async with plain_target(world), plain_target(world, "plain2"), await world.client("", user=USER) as outer:
        async with await world.jump(outer, "plain1") as inner:
            key = inner.get_server_host_key()
            assert key is not None
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await world.jump(outer, "plain2", host_key_alias="plain1")


@pytest.mark.parametrize("name", [b"hostkeys-00@openssh.com", b"hostkeys-prove-00@openssh.com"])
async def test_r20_a_target_teaches_the_client_no_keys(world: Gateway, name: bytes) -> None:
    """They would be stored under the gateway's name (CVE-2026-91166)."""

    async def script(peer: RawSsh) -> None:
        await peer.admit()
        opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
        peer.send(global_request(name, want_reply=False) + string(HostKey().blob))
        peer.send(confirm(opened))
        peer.send(data(opened.sender, b"x"))
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line])
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            assert not [line for line in client.log.lines if name.decode() in line]
