"""R22: whose connection a load balancer says that it is counts only from where load balancers are."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from interlock.adapters.ssh import fronted
from interlock.core.proxy_header import SIGNATURE
from interlock.testing.gateway import Cluster
from interlock.testing.generations import credential_of
from interlock.testing.hostile import RawSsh, connect_raw
from interlock.testing.offences import begin
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.procs import poll_until
from interlock.testing.ssh_pair import LOGIN, Gateway, gateway

CLIENT = "203.0.113.9"
TEXT = f"PROXY TCP4 {CLIENT} 192.0.2.2 4711 22\r\n".encode()
BINARY = (
    SIGNATURE + b"\x21\x11\x00\x0c" + bytes([203, 0, 113, 9, 192, 0, 2, 2]) + (4711).to_bytes(2, "big") + bytes(2)
)
OWN = b"PROXY UNKNOWN\r\n"
BALANCER = "127.0.0.9"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway behind load balancers, which are on this machine."""
    async with gateway(tmp_path, fronts=[ip_network("127.0.0.0/8"), ip_network("2001:db8::/32")]) as running:
        async with plain_target(running):
            yield running
        await running.wait_clean()


async def log_in(world: Gateway, header: bytes, *, whole: bool = True) -> RawSsh:
    """A client that logs in behind a header, maybe byte by byte."""
    client = await connect_raw(LOOPBACK, world.port)
    for part in [header] if whole else [header[at : at + 1] for at in range(len(header))]:
        client.write(part)
        await client.flush()
        await asyncio.sleep(0)
    await client.log_in(f"{LOGIN}%plain1", await world.credential())
    return client


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["text", "binary"])
async def test_r22_the_audit_log_has_the_clients_address(world: Gateway, header: bytes, whole: bool) -> None:
    """By either version, in one piece or in many."""
    async with await log_in(world, header, whole=whole) as client:
        await begin(client)
    [started] = await world.events("session.start")
    assert started["addr.remote"] == f"{CLIENT}:4711"


async def test_r22_a_question_of_the_load_balancers_own_has_its_address(world: Gateway) -> None:
    """A health check is nobody's connection."""
    async with await log_in(world, OWN) as client:
        await begin(client)
    [started] = await world.events("session.start")
    assert str(started["addr.remote"]).startswith(f"{LOOPBACK}:")


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"PROXY TCP4 evil\r\n", b"\0" * 5000, b"A" * 107])
async def test_r22_who_should_send_a_header_and_does_not_is_cut_off(world: Gateway, said: bytes) -> None:
    """It is not guessed whose connection it may be."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        client.write(said)
        async with asyncio.timeout(10):
            assert await client.wait_gone() == ""


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["text", "binary"])
async def test_r22_a_header_from_anywhere_else_is_none(tmp_path: Path, header: bytes) -> None:
    """Nobody chooses their own address: it is no SSH, and the connection ends."""
    async with gateway(tmp_path, fronts=[ip_network("10.0.0.0/8")]) as world, plain_target(world):
        async with await connect_raw(LOOPBACK, world.port) as client:
            client.write(header + b"SSH-2.0-x\r\n")
            async with asyncio.timeout(10):
                await client.wait_gone()
        async with await world.client("plain1") as other:
            assert (await other.run("exit 7", check=False)).exit_status == 7
        [started] = await world.events("session.start")
        assert str(started["addr.remote"]).startswith(f"{LOOPBACK}:")
        await world.wait_clean()


async def test_r22_the_header_decides_where_a_certificate_is_used(world: Gateway) -> None:
    """What counts by address goes by the client's: the brake, source networks, who is a stranger too many."""
    first = await connect_raw(LOOPBACK, world.port)
    first.write(TEXT)
    await first.exchange_versions()
    assert set(world.proxy._strangers._by_source) == {CLIENT}
    await first.close()


async def test_r17_a_header_that_does_not_come_costs_nobody_else(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are served meanwhile; after its time the connection ends (GHSA-78rf-vg74-7cr8)."""
    monkeypatch.setattr(fronted, "PROXY_HEADER_WAIT_S", 1.5)
    silent = [await connect_raw(LOOPBACK, world.port) for _ in range(20)]
    for client in silent[::2]:
        client.write(TEXT[:10])
    async with await log_in(world, TEXT) as client:
        await begin(client)
    async with asyncio.timeout(15):
        for client in silent:
            assert await client.wait_gone() == ""
            await client.close()


class Balanced(Cluster):
    """A gateway of two processes behind a load balancer, which comes from another address of this machine."""

    def _gateway_config(self) -> str:
        return super()._gateway_config().replace("[proxy]\n", f'[proxy]\nproxy_protocol = ["{BALANCER}/32"]\n')


@pytest.mark.slow
@pytest.mark.interop
def test_r22_with_real_daemons(tmp_path: Path) -> None:
    """From the file to the audit log, at whichever worker; people who come by themselves need no header."""
    with Balanced(tmp_path / "cluster", with_node=False, workers=2) as cluster:
        credential = credential_of(cluster.person)

        async def balanced() -> None:
            reader, writer = await asyncio.open_connection(LOOPBACK, cluster.port, local_addr=(BALANCER, 0))
            async with RawSsh(reader, writer) as client:
                client.write(BINARY)
                await client.log_in(f"{cluster.login_name}%{cluster.agentless_name}", credential)
                await begin(client, "true")

        for _ in range(3):
            asyncio.run(balanced())

        def seen() -> list[str]:
            return [each["addr.remote"] for each in cluster.json("events", "ls", "--type", "session.start")]

        poll_until(lambda: len(seen()) == 3, "three sessions")
        assert set(seen()) == {f"{CLIENT}:4711"}
        [login] = cluster.json("events", "ls", "--type", "user.login")
        assert login["addr.remote"].startswith(f"{LOOPBACK}:")
