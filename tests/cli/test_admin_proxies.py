"""``ilctl proxies`` as an administrator uses it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interlock.core.ids import DaemonId
from interlock.daemons.local import open_local
from interlock.ports import MemberProxy, TokenKind
from interlock.services.keys.joining import TokenText

Ilctl = Callable[..., Any]

GATE = MemberProxy(
    DaemonId("11111111-0000-4000-8000-000000000001"), ("gate.example.com",), datetime(2026, 1, 1, tzinfo=UTC)
)


def test_a_token_of_its_kind(ilctl: Ilctl) -> None:
    """It says what to do with it."""
    made = ilctl("tokens", "add", "--type", "proxy")
    assert TokenText.parse(made.out, TokenKind.PROXY).kind is TokenKind.PROXY
    assert "--roles proxy" in made.err


def test_a_proxy_is_listed_and_removed(ilctl: Ilctl, tmp_path: Path) -> None:
    """Whether it lives or not; and the log says who removed it."""
    assert ilctl("proxies", "ls", "--format", "json").json() == []
    [directory] = {path.parent for path in tmp_path.rglob("interlock.db")}

    async def join() -> None:
        async with open_local(directory) as local:
            await local.proxies.add_proxy(GATE)

    asyncio.run(join())
    [row] = ilctl("proxies", "ls", "--format", "json").json()
    assert not row["proves"]
    assert (row["id"], row["names"], row["lives"], row["tunnels"]) == (GATE.id, ["gate.example.com"], False, 0)
    assert ilctl("proxies", "rm", GATE.id).code == 0
    assert ilctl("proxies", "ls", "--format", "json").json() == []
    [event] = ilctl("events", "ls", "--type", "proxy.delete", "--format", "json").json()
    assert event["name"] == GATE.id
    gone = ilctl("proxies", "rm", GATE.id)
    assert (gone.code, "there is no proxy" in gone.err) == (3, True)
