"""Jumps (``ssh -J``): the proxy answers in the target's place over a channel, and records as on the other road."""

import asyncio
import hashlib
from pathlib import Path

import asyncssh
import pytest

from interlock.adapters.ssh import leg
from interlock.adapters.ssh.algorithms import ALL_CIPHERS
from interlock.domain.duties import RecordingMode
from interlock.domain.target import SubKind
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.plain_target import bulk, plain_target
from interlock.testing.ssh_pair import USER, Gateway, gateway

SIZE = 2_000_000


async def bulk_both_ways(client: asyncssh.SSHClientConnection) -> None:
    """Two commands at once: one sends, one takes."""
    data = bulk(SIZE)
    async with asyncio.TaskGroup() as tasks:
        sent = tasks.create_task(client.run(f"send {SIZE}", encoding=None))
        took = tasks.create_task(client.run("take", input=data, encoding=None))
    assert sent.result().stdout == data
    assert took.result().stdout == hashlib.sha256(data).hexdigest().encode()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"])
async def test_bulk_through_a_jump_while_keys_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cipher: str
) -> None:
    """A leg whose transport is a channel keeps every byte, with all three connections renewing keys."""
    monkeypatch.setattr(leg, "REKEY_BYTES", 250_000)
    exchanges: list[str] = []
    original = leg.Leg.keys_sent

    def keys_sent(self: leg.Leg) -> None:
        exchanges.append(self.side.value)
        original(self)

    monkeypatch.setattr(leg.Leg, "keys_sent", keys_sent)
    async with gateway(tmp_path, ciphers=ALL_CIPHERS) as world:
        async with (
            plain_target(world, rekey_bytes=200_000),
            await world.client("", user=USER, rekey_bytes=900_000) as outer,
            await world.jump(outer, "plain1", encryption_algs=[cipher], rekey_bytes=300_000) as client,
        ):
            assert client.get_extra_info("send_cipher") == cipher
            await bulk_both_ways(client)
            assert (await client.run("exit 4", check=False)).exit_status == 4
        await world.wait_clean()
        assert min(exchanges.count("client"), exchanges.count("target")) >= 4
        starts = await world.events("session.start")
        assert {each["server_hostname"] for each in starts} == {"plain1"}
        assert {str(each["addr.remote"]).rpartition(":")[0] for each in starts} == {"127.0.0.1"}


async def test_jumper_and_user_must_be_the_same(world: Gateway) -> None:
    """A certificate of somebody else is worth nothing at the end of my jump."""
    async with plain_target(world), await world.client("", user=USER) as outer:
        with pytest.raises(asyncssh.PermissionDenied):
            await world.jump(outer, "plain1", as_user="mallory")
    await world.wait_clean()
    denied = await world.events("auth")
    assert "mallory" in str(denied[0]["error"])
    assert "alice made the jump" in str(denied[0]["error"])


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("nosuch", 22, "unknown node nosuch"),
        ("plain1", 80, "only the SSH port"),
        ("127.0.0.1", 22, "unknown node"),
    ],
)
async def test_jump_to_where_nobody_may(world: Gateway, host: str, port: int, text: str) -> None:
    """R5: the channel is refused in words; only nodes can be reached, and only their SSH port."""
    async with plain_target(world), await world.client("", user=USER) as outer:
        with pytest.raises(asyncssh.ChannelOpenError, match=text):
            await world.jump(outer, host, port=port)
    await world.wait_clean()


async def test_lost_outer_connection_ends_the_session_inside(world: Gateway) -> None:
    """The person's one connection carries everything: without it the session ends, and its target is let go."""
    async with plain_target(world):
        outer = await world.client("", user=USER)
        client = await world.jump(outer, "plain1")
        process = await client.create_process("cat", encoding=None)
        process.stdin.write(b"x")
        assert await process.stdout.read(1) == b"x"
        outer.abort()
        await outer.wait_closed()
        await client.wait_closed()
        await world.wait_clean()
    assert len(await world.events("session.end")) == 1


async def test_stopping_tells_whoever_jumped(world: Gateway) -> None:
    """The text goes to the session inside the jump before the outer connection closes."""
    async with plain_target(world):
        outer = await world.client("", user=USER)
        client = await world.jump(outer, "plain1")
        process = await client.create_process("cat", encoding=None)
        await world.proxy.stop("closing time")
        assert b"closing time" in await process.stderr.read()
        await client.wait_closed()
        await outer.wait_closed()
        await world.wait_clean()


async def test_bridge_to_a_node_that_records_itself(world: Gateway) -> None:
    """In node mode the proxy passes bytes that it cannot read, and closes when either end does."""
    world.record_in(RecordingMode.NODE)
    versions: list[bytes] = []

    async def node(peer: RawSsh) -> None:
        await peer.exchange_versions()
        versions.append(peer.remote_version)
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(node, key) as port:
        world.add_target("node1", port, sub_kind=SubKind.NODE)
        async with await world.client("", user=USER) as outer:
            with pytest.raises(asyncssh.KeyExchangeFailed):
                await world.jump(outer, "node1", kex_algs=["ecdh-sha2-nistp256"])
    assert versions
    assert versions[0].startswith(b"SSH-2.0-AsyncSSH")
    await world.wait_clean()
