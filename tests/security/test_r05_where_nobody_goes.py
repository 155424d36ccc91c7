"""R5: through the gateway nobody reaches the gateway: its loopback, its ports, its sockets, metadata services."""

from collections.abc import Callable
from typing import Any

import asyncssh
import pytest

from interlock.domain.access import RoleOptions
from interlock.domain.rbac import Role
from interlock.domain.reach import forbidden, link_local
from interlock.testing.plain_target import Chatter, plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

LOOPBACKS = ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "0", "2130706433", "0x7f.1", "::ffff:127.0.0.1"]


class Everything(Chatter):
    """Connects to whatever it is asked for, and notes it."""

    asked: list[str]

    def connection_requested(self, dest_host: str, *_more: object) -> bool:
        self.asked.append(dest_host)
        return False

    def unix_connection_requested(self, dest_path: str) -> bool:
        self.asked.append(dest_path)
        return False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a target was asked to connect to."""
    found: list[str] = []
    monkeypatch.setattr(Everything, "asked", found, raising=False)
    return found


def allow(world: Gateway, **options: Any) -> None:
    """What everybody's role says."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(**options))


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_r05_a_jump_leads_to_no_place_of_the_gateways(world: Gateway, host: str) -> None:
    """Nodes by their names, and nothing else: neither its own port nor any other, however it is spelled."""
    allow(world, local_forwarding=True, remote_forwarding=True)
    async with await world.client("", user=USER) as portal:
        for port in (world.port, 22, 80):
            with pytest.raises(asyncssh.ChannelOpenError) as refused:
                await portal.open_connection(host, port)
            assert refused.value.code == asyncssh.OPEN_CONNECT_FAILED
            assert "unknown node" in str(refused.value)


@pytest.mark.parametrize("path", ["run/worker.sock", "/run/dbus/system_bus_socket", "\0abstract", "../x"])
async def test_r05_no_socket_is_reached_through_the_portal(world: Gateway, path: str) -> None:
    """Those of the gateway's own processes least of all."""
    allow(world, local_forwarding=True)
    where = path if path.startswith(("/", "\0")) else str(world.directory / path)
    async with await world.client("", user=USER) as portal:
        with pytest.raises(asyncssh.ChannelOpenError):
            await portal.open_unix_connection(where)
        with pytest.raises(asyncssh.ChannelListenError):
            await portal.forward_remote_path(str(world.directory / "mine"), "/tmp/x")


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_r05_what_a_client_asks_of_a_target_is_done_there(
    world: Gateway, asked: list[str], host: str
) -> None:
    """The gateway itself connects to nothing: a loopback address is the target's."""
    allow(world, local_forwarding=True)
    async with plain_target(world, server_factory=Everything), await world.client("plain1") as client:
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_connection(host, world.port)
    assert asked == [host]


CHANNELS: dict[str, tuple[str, Callable[[asyncssh.SSHClientConnection], Any]]] = {
    "direct-tcpip": ("local_forwarding", lambda client: client.open_connection(LOOPBACK, 9)),
    "direct-streamlocal": ("local_forwarding", lambda client: client.open_unix_connection("/run/x")),
    "tcpip-forward": ("remote_forwarding", lambda client: client.forward_remote_port("", 0, LOOPBACK, 9)),
    "streamlocal-forward": ("remote_forwarding", lambda client: client.forward_remote_path("/run/x", "/run/y")),
}
OPTIONS = ("local_forwarding", "remote_forwarding", "x11_forwarding", "agent_forwarding")


@pytest.mark.parametrize("channel", CHANNELS)
async def test_r05_each_kind_needs_its_own_option(world: Gateway, asked: list[str], channel: str) -> None:
    """All the others together do not open it, and the target hears nothing."""
    option, go = CHANNELS[channel]
    allow(world, **{each: each != option for each in OPTIONS})
    async with plain_target(world, server_factory=Everything), await world.client("plain1") as client:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError)):
            await go(client)
    assert asked == []


@pytest.mark.parametrize("kind", ["x11", "agent"])
async def test_r05_a_session_gets_no_display_and_no_agent_unasked(world: Gateway, kind: str) -> None:
    """Without the role's word the target is not told that somebody wanted it."""
    allow(world, **{each: not each.startswith(kind) for each in OPTIONS})
    async with plain_target(world), await world.client("plain1") as client:
        options = {"x11_forwarding": True, "x11_display": "127.0.0.1:99"} if kind == "x11" else {}
        if kind == "x11":
            with pytest.raises(asyncssh.ChannelOpenError):
                await client.create_process("cat", **options)
    await world.wait_clean()
    if kind == "x11":
        assert [each["code"] for each in await world.events("x11-forward")] == ["T3008W"]


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254 ",
        "169.254.169.254 x",
        " 169.254.169.254",
        "169.254.169.254.",
        "::ffff:0:a9fe:a9fe",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "64:ff9b:1::a9fe:a9fe",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "instance-data",
        "192.0.0.192",
        "168.63.129.16",
    ],
)
def test_r05_more_spellings_of_metadata_services(host: str) -> None:
    """What resolvers read before a blank, addresses that wrap others, and names that mean nothing else."""
    assert link_local(host) is not None
    assert forbidden([host], 80, ours=frozenset(), is_local=False) is not None
