"""The proxy's front: who is led where, what goes wrong on the way, and that it ends in order."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock.adapters.ssh import forwarder, proxy
from interlock.core import wire
from interlock.core.errors import StoreError
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.offences import ask, open_session, start
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import USER, Gateway, gateway


async def test_unknown_node(world: Gateway) -> None:
    """The channel is refused with the name, and the audit log has it."""
    assert "unknown node evil1" in await ask(world)
    await world.wait_clean()
    assert len(await world.events("session.rejected")) == 1


async def test_forbidden_login(world: Gateway) -> None:
    """Who may not log in is told so; the target never hears of it."""
    world.users.known_roles["access"] = Role("access", ("nobody",), {"*": "*"})
    async with plain_target(world, "evil1"):
        assert "you may not log in as root on evil1" in await ask(world)
    await world.wait_clean()


async def test_store_that_fails(world: Gateway) -> None:
    """An inventory that cannot be read refuses in words, as everything else does."""

    async def broken(name: str) -> list[Target]:
        raise StoreError("the inventory cannot be read", reason=f"disk, looking for {name}")

    world.users.named = broken  # type: ignore[method-assign]
    assert await ask(world) == "the inventory cannot be read"
    await world.wait_clean()
    assert "disk" in str((await world.events("session.rejected"))[0]["reason"])


async def test_bug_on_the_way_ends_one_connection(world: Gateway) -> None:
    """An error that nobody expects costs one client its connection, and the others nothing."""

    async def broken(name: str) -> list[Target]:
        raise RuntimeError(name)

    async with plain_target(world), await world.client("plain1") as other:
        found = world.users.named
        world.users.named = broken  # type: ignore[method-assign]
        assert await ask(world) == "internal error of the gateway: its log has the details"
        world.users.named = found  # type: ignore[method-assign]
        assert (await other.run("exit 3", check=False)).exit_status == 3
    await world.wait_clean()
    assert len(await world.events("session.rejected")) == 1


async def silent(peer: RawSsh) -> None:
    """A target that never answers."""
    await peer.reader.read()


async def test_client_that_leaves_during_the_dial(tmp_path: Path) -> None:
    """The dial ends in time, and nothing is left."""
    key = HostKey()
    async with gateway(tmp_path, dial_timeout=0.5) as world:
        async with raw_server(silent, key) as port:
            world.add_target("slow1", port, host_keys=[key.line])
            async with await world.raw_client("slow1") as client:
                client.send(open_session())
                await client.flush()
        await world.wait_clean()


async def test_stopping_during_the_dial(tmp_path: Path) -> None:
    """A dial that hangs does not hold up the end; its client reads why."""
    key = HostKey()
    async with gateway(tmp_path, dial_timeout=30) as world:
        async with raw_server(silent, key) as port:
            world.add_target("slow1", port, host_keys=[key.line])
            async with await world.raw_client("slow1") as client:
                client.send(open_session())
                await client.flush()
                async with asyncio.timeout(5):
                    await world.proxy.stop("closing time")
                    await client.wait_gone()
        await world.wait_clean()


async def test_stopping_ends_portals_and_strangers(world: Gateway) -> None:
    """Whoever is connected reads why; nobody new gets in."""
    portal = await world.client("", user=USER)
    await world.proxy.stop("closing time")
    await portal.wait_closed()
    with pytest.raises(OSError, match=r"refused|Connect"):
        await world.client("plain1")
    await world.wait_clean()


async def test_session_after_session_on_one_connection(world: Gateway) -> None:
    """Numbers are used again, every session has its own ID and events numbered from 0."""
    async with plain_target(world), await world.client("plain1") as client:
        for n in range(10):
            assert (await client.run(f"exit {n}", check=False)).exit_status == n
    await world.wait_clean()
    events = await world.events()
    assert len({each["sid"] for each in events if each["event"] == "session.start"}) == 10
    for sid in {each["sid"] for each in events if "sid" in each}:
        numbers = [each["ei"] for each in events if each.get("sid") == sid]
        assert numbers == list(range(len(numbers)))


@pytest.mark.slow
async def test_twenty_connections_at_once(world: Gateway) -> None:
    """Each with its own session; one start, one end, one recording each."""

    async def visit(n: int) -> None:
        async with await world.client("plain1") as client:
            assert (await client.run(f"exit {n}", check=False)).exit_status == n

    async with plain_target(world), asyncio.TaskGroup() as tasks:
        for n in range(20):
            tasks.create_task(visit(n))
    await world.wait_clean()
    for name in ("session.start", "session.end"):
        assert len({each["sid"] for each in await world.events(name)}) == 20


async def test_target_that_dies_takes_only_its_own_sessions(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two targets; one vanishes."""
    monkeypatch.setattr(forwarder, "CLOSE_GRACE_S", 0.5)

    async def dies(peer: RawSsh) -> None:
        await peer.admit()
        await peer.expect(wire.CHANNEL_OPEN)

    key = HostKey()
    async with plain_target(world):
        first, _ = await start(world)
        async with raw_server(dies, key) as port, first:
            world.add_target("evil1", port, host_keys=[key.line])
            assert "the target closed the connection" in await ask(world)
            first.send(bytes([wire.CHANNEL_DATA]) + bytes([0, 0, 0, 0]) + wire.string("alive"))
            assert b"alive" in await first.expect(wire.CHANNEL_DATA)


async def test_host_certificates_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway outlives its host certificate: new connections see a younger one."""
    monkeypatch.setattr(proxy, "RENEWAL_S", 0.05)
    async with gateway(tmp_path) as world:
        renewed = asyncio.Event()
        original = world.authority.issue_host

        async def issue_host(public_key: str, principals: Sequence[str]) -> str:
            renewed.set()
            return await original(public_key, principals)

        monkeypatch.setattr(world.authority, "issue_host", issue_host)
        async with asyncio.timeout(5), plain_target(world):
            await renewed.wait()
            async with await world.client("plain1") as client:
                assert (await client.run("exit 3", check=False)).exit_status == 3
        await world.wait_clean()
