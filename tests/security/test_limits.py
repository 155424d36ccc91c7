"""What a peer can make us hold is bounded, and each bound has a test that goes beyond it: some are here."""

import asyncio
import re
from pathlib import Path

import pytest

from interlock.adapters.ssh import entrance, proxy
from interlock.adapters.ssh.seams import patience
from interlock.core.extensions import JoinMode
from interlock.core.messages import global_request
from interlock.domain.access import RoleOptions
from interlock.testing.hostile import connect_raw
from interlock.testing.offences import open_session
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import USER, Gateway, gateway

ROOT = Path(__file__).parents[2]
BY_OTHER_NAMES = {
    "DIAL_TIMEOUT_S": "tests/adapters/ssh/test_dial.py",
    "KEEPALIVE_INTERVAL_S": "tests/security/test_hostile_target.py::test_silent_target_is_found_dead",
    "LEAF_TIMEOUT_S": "tests/adapters/ssh/test_leaf.py::test_a_leaf_that_never_answers",
    "MAX_CONNECTIONS_PREAUTH": "tests/security/test_hostile_client.py::test_r17_more_connections_than_may_wait",
    "MAX_SFTP_HANDLE": "tests/core/transfer/test_sftp.py",
    "MAX_SUMMARY_PATHS": "tests/services/sessions/test_transfers.py::test_the_summary_is_bounded",
    "MAX_TUNNEL_CALLS": "tests/adapters/ssh/tunnel/test_entrance.py::test_calls_have_a_limit",
    "STORAGE_RESERVE": "tests/adapters/blob/test_arriving.py::test_a_full_disk_is_told_before_it_is_full",
    "TUNNEL_KEEPALIVE_S": "tests/adapters/ssh/tunnel/test_agent.py",
    "TUNNEL_MAX_MISSED": "tests/adapters/ssh/tunnel/test_agent.py",
    "TUNNEL_WINDOW": "tests/adapters/ssh/tunnel/test_entrance.py::test_one_who_does_not_read_holds_up_nobody_else",
}
"""Tests that go beyond a limit which they give another value, as an argument."""

OURS = {"READ_BUFFER", "REKEY_SECONDS"}
"""What no peer can go beyond: how much we read at once, and how soon we change keys."""


def test_each_limit_has_a_test_that_goes_beyond_it() -> None:
    """By its name, or by another one that stands above."""
    limits = set(
        re.findall(r"^([A-Z][A-Z_]+) =", (ROOT / "src/interlock/core/limits.py").read_text(), re.MULTILINE)
    )
    own = Path(__file__).read_text().split("\ndef test_each_limit")[1]
    tests = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path.name != "test_limits.py")
    named = {word for text in (own, *tests) for word in re.findall(r"[A-Z][A-Z_]+", text)}
    assert limits - named - BY_OTHER_NAMES.keys() - OURS == set()
    for where in BY_OTHER_NAMES.values():
        path, _, name = where.partition("::")
        assert not name or f"def {name}(" in (ROOT / path).read_text(), where


async def test_who_does_not_log_in_is_gone_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOGIN_TIMEOUT_S: whatever it says meanwhile, as long as it does not get in."""
    monkeypatch.setattr(proxy, "LOGIN_TIMEOUT_S", 0.5)
    async with gateway(tmp_path) as world:
        async with (
            await connect_raw(LOOPBACK, world.port) as silent,
            await connect_raw(LOOPBACK, world.port) as half,
        ):
            await half.handshake()
            await half.request_service()
            async with asyncio.timeout(5):
                await half.wait_gone()
                await silent.wait_gone()
        await world.wait_clean()


async def test_answers_behind_a_key_exchange_that_never_ends(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAX_DEFERRED_PACKETS: who makes them wait is cut off."""
    monkeypatch.setattr(patience, "MAX_DEFERRED_PACKETS", 100)
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        client.follows = False
        client.begin_exchange()
        for _ in range(300):
            client.send(global_request(b"x@example.com", want_reply=True))
        async with asyncio.timeout(5):
            await client.wait_gone()
        assert client.log.lines.count("< REQUEST_FAILURE") == 0


async def test_a_party_that_answers_nothing_leaves(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """PARTY_KEEPALIVE_S and PARTY_KEEPALIVE_MISSED: a moderator who has gone must be missed."""
    monkeypatch.setattr(entrance, "PARTY_KEEPALIVE_S", 0.2)
    world.add_person("bob", RoleOptions(join_sessions=(JoinMode.OBSERVER,)))
    async with (
        plain_target(world),
        await world.client("plain1") as owner,
        owner.create_process("cat", term_type="xterm") as running,
        await connect_raw(LOOPBACK, world.port) as bob,
    ):
        [live] = world.sessions.live
        await bob.log_in(f"join%{live.sid}", await world.credential("bob"))
        bob.send(open_session())
        await bob.expect(91)
        async with asyncio.timeout(5):
            await bob.wait_gone()
        running.close()
