"""The doctor, on directories that are well and that are not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.db import check
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.config import Config, ProxyConfig
from interlock.daemons.database import DATABASE
from interlock.daemons.doctor import examine_gateway
from interlock.daemons.local import Local, open_local
from interlock.daemons.supervise import sole_user
from interlock.domain.target import SubKind, Target
from interlock.ports import MemberProxy, User
from interlock.services.operation.doctor import Finding, Verdict
from interlock.testing.ports import LOOPBACK, free_port

SID = SessionId("3a1b3ee8-e1a6-4bbe-8cbb-5b1d3a8f4a11")


def bad(found: Sequence[Finding]) -> list[tuple[str, Verdict, str]]:
    """All that is not well."""
    return [(each.part, each.verdict, each.text) for each in found if each.verdict is not Verdict.OK]


async def user(local: Local, name: str, *roles: str) -> None:
    """An account."""
    await local.users.add_user(User(name, roles, None, must_change=False, created=local.clock.now()))


async def test_where_there_is_no_gateway_nothing_is_made(tmp_path: Path) -> None:
    """A mistyped directory is not made a new gateway's."""
    found = await examine_gateway(Config(), tmp_path / "typo")
    assert bad(found) == [("directory", Verdict.PROBLEM, f"there is no gateway in {tmp_path / 'typo'}")]
    assert not (tmp_path / "typo").exists()


async def test_a_new_gateway_needs_people_and_hosts(tmp_path: Path) -> None:
    """And to be started; each with what to do."""
    async with open_local(tmp_path / "data"):
        pass
    found = await examine_gateway(Config(), tmp_path / "data")
    assert {(part, verdict) for part, verdict, _ in bad(found)} == {
        ("gateway", Verdict.WARNING),
        ("people", Verdict.WARNING),
        ("nodes", Verdict.WARNING),
    }
    assert all(each.advice for each in found if each.verdict is not Verdict.OK)


async def test_a_directory_that_others_may_read(tmp_path: Path) -> None:
    """Is all that is said: it holds the keys of everything."""
    data = tmp_path / "data"
    async with open_local(data):
        pass
    data.chmod(0o755)
    [finding] = await examine_gateway(Config(), data)
    assert (finding.verdict, "chmod 700" in finding.text) == (Verdict.PROBLEM, True)


async def test_people_without_roles_and_with_unknown_ones(tmp_path: Path) -> None:
    """Both are named."""
    data = tmp_path / "data"
    async with open_local(data) as local:
        await user(local, "alice")
        await user(local, "bob", "gone")
    texts = [text for part, _, text in bad(await examine_gateway(Config(), data)) if part == "people"]
    assert texts == ["alice has no role, and so may go nowhere", "bob has roles that do not exist: gone"]


async def test_hosts_that_do_not_answer_and_tunnels(tmp_path: Path) -> None:
    """A host is asked by its port; a node that dials out is listed while it lives."""
    data = tmp_path / "data"
    async with open_local(data) as local:
        host = Target(
            DaemonId("t"), "web1", LOOPBACK, free_port(), SubKind.AGENTLESS, host_keys=("ssh-ed25519 AA",)
        )
        await local.inventory.add_target(host)
        await local.inventory.add_target(replace(host, id=DaemonId("n"), hostname="nat1", tunnel=True))
    found = await examine_gateway(Config(), data)
    [problem] = [text for part, verdict, text in bad(found) if part == "nodes"]
    assert problem == f"web1 at {host.addr}: it does not answer as an SSH server"
    assert "nat1: listed, reached by its tunnel" in [each.text for each in found]


async def test_what_lies_in_quarantine_and_what_was_not_finished(tmp_path: Path) -> None:
    """Are named by session."""
    data = tmp_path / "data"
    async with open_local(data) as local:
        local.recordings.create(SID).close()
        (local.recordings.quarantined / f"{SID[:-1]}2.part").write_bytes(b"x")
    texts = [text for part, _, text in bad(await examine_gateway(Config(), data)) if part == "recordings"]
    assert len(texts) == 2
    assert any(text.startswith(f"{SID} was not finished") for text in texts)
    assert any("quarantine" in text for text in texts)


async def test_a_database_that_takes_too_long_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is large, which is nobody's fault; its check does not go on behind our back."""
    async with open_local(tmp_path / "data") as local:
        await user(local, "alice")
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        monkeypatch.setattr(check, "_CHECK", endless)
        assert await check.damage(local.database, within=0.05) is None
    monkeypatch.setattr("interlock.daemons.doctor.CHECK_S", 0.05)
    found = await examine_gateway(Config(), tmp_path / "data")
    assert [(verdict, "integrity_check" in text) for part, verdict, text in bad(found) if part == "database"] == [
        (Verdict.WARNING, False)
    ]


async def test_a_damaged_database_is_found(tmp_path: Path) -> None:
    """Whether it can be opened or not."""
    data = tmp_path / "data"
    async with open_local(data) as local:
        for n in range(200):
            await user(local, f"user{n}", "role" * 20)
    path = data / DATABASE
    whole = path.read_bytes()
    pages = len(whole) // 4096
    path.write_bytes(whole[: (pages - 8) * 4096] + b"\xff" * 8 * 4096)
    assert ("database", Verdict.PROBLEM) in {(p, v) for p, v, _ in bad(await examine_gateway(Config(), data))}
    path.write_bytes(b"nothing like a database" * 500)
    assert ("database", Verdict.PROBLEM) in {(p, v) for p, v, _ in bad(await examine_gateway(Config(), data))}


async def test_an_auth_alone_is_well_while_a_proxy_is_heard_of(tmp_path: Path) -> None:
    """People come to the proxies; nothing listens for them here."""
    data, config = tmp_path / "data", Config(proxy=ProxyConfig(listen=f"{LOOPBACK}:{free_port()}"))
    with sole_user(data):
        async with open_local(data) as local:
            now = local.clock.now()
            await local.proxies.add_proxy(MemberProxy(DaemonId("proxy-1"), ("gw",), now))
        [before] = [each for each in await examine_gateway(config, data) if each.part == "gateway"]
        assert (before.verdict, "nobody can connect" in before.text) == (Verdict.PROBLEM, True)
        async with open_local(data) as local:
            soon = now + timedelta(minutes=5)
            await local.proxies.report_proxy(DaemonId("proxy-1"), peer="", tunnels=(), expires=soon)
        [after] = [each for each in await examine_gateway(config, data) if each.part == "gateway"]
        assert after.verdict is Verdict.OK
