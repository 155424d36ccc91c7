"""The gateway, stopped while its database fails."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.core.errors import StoreError
from interlock.core.ids import SessionId
from interlock.daemons import node, proxy
from interlock.daemons.config import AuthConfig, Config, NodeConfig, ProxyConfig
from interlock.daemons.gateway import run_gateway
from interlock.domain.container import BlockBuilder, preamble
from interlock.domain.recording import FrameKind, Header, to_payload
from interlock.testing.ports import free_ports

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
LOOPBACK = "127.0.0.1"


def config() -> Config:
    """A gateway on ports of its own."""
    service, join, proxy, own = (f"{LOOPBACK}:{port}" for port in free_ports(4))
    return Config(
        auth=AuthConfig(listen=service, join_listen=join),
        proxy=ProxyConfig(listen=proxy),
        node=NodeConfig(hostname="node1", listen=own),
    )


def died(directory: Path) -> None:
    """What a gateway leaves that was killed: the events of this session are written at the next start."""
    directory.parent.mkdir(mode=0o700)
    header = Header(
        sid=SID, user="jeff", login="root", hostname="web1", target_id="web1", sub_kind="interlock",
        recorded_by="proxy", mode="proxy", kind="shell", command="",
        start="2026-01-10T22:23:57.642Z", cluster="demo",
    )  # fmt: skip
    builder = BlockBuilder(b"saltsalt")
    builder.add(FrameKind.HEADER, 0, to_payload(header))
    part = FileRecordings(directory).create(SID)
    part.append(preamble(b"saltsalt") + builder.take())
    part.close()


async def test_a_database_that_fails_does_not_keep_the_gateway_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events and trackers that it does not take are given up after a while; nobody has to kill the process."""

    async def failing(_self: object, _what: Sequence[object] | object) -> None:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(SqlAuditLog, "append", failing)
    monkeypatch.setattr(SqlTrackerStore, "put_all", failing)
    for module, grace in ((proxy, "DELIVERY_GRACE_S"), (proxy, "STORING_GRACE_S"), (node, "DELIVERY_GRACE_S")):
        monkeypatch.setattr(module, grace, 0.05)
    died(tmp_path / "data" / "recordings")
    stopping = asyncio.Event()
    async with asyncio.timeout(20):
        await run_gateway(
            config(),
            tmp_path / "data",
            with_node=True,
            stopping=stopping,
            on_ready=lambda _listening: stopping.set(),
        )
