"""Proxies that are daemons of their own: who they are, and what they said of themselves last."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_strings, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId
from interlock.ports import MemberProxy


class SqlProxyStore:
    """`ports.ProxyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_proxy(self, proxy: MemberProxy) -> None:
        """It has joined."""
        row = {
            "id": proxy.id,
            "names": dump_strings(proxy.names),
            "joined": proxy.joined,
            "peer": proxy.peer,
            "tunnels": dump_strings(proxy.tunnels),
            "expires": proxy.expires,
            "host_key": proxy.host_key,
        }
        await self._database.change(insert(schema.proxies).values(row))

    async def proxies(self) -> list[MemberProxy]:
        """All of them, by name."""
        wanted = select(schema.proxies).order_by(schema.proxies.c.names, schema.proxies.c.id)
        return [_proxy(row) for row in await self._database.rows(wanted)]

    async def report_proxy(
        self, proxy: DaemonId, *, peer: str, tunnels: Iterable[DaemonId], expires: datetime
    ) -> None:
        """What a proxy says of itself; Denied if it was removed."""
        table = schema.proxies
        said = {"peer": peer, "tunnels": dump_strings(tunnels), "expires": expires}
        if not await self._database.change(update(table).where(table.c.id == proxy).values(said)):
            raise Denied("this proxy was removed from the cluster", reason=f"there is no proxy {proxy}")

    async def pin_host_key(self, proxy: DaemonId, host_key: str) -> None:
        """Keep what it says its SSH host key is, unless there is one already."""
        table = schema.proxies
        new = table.c.id == proxy, table.c.host_key == ""
        await self._database.change(update(table).where(*new).values(host_key=host_key))

    async def remove_proxy(self, proxy: DaemonId) -> None:
        """Forget it; NotFound if there is none."""
        if not await self._database.change(delete(schema.proxies).where(schema.proxies.c.id == proxy)):
            raise NotFound(f"there is no proxy {proxy}: ilctl proxies ls shows their IDs")


def _proxy(row: Row[Any]) -> MemberProxy:
    tunnels = tuple(map(DaemonId, load_strings(row.tunnels)))
    names = load_strings(row.names)
    return MemberProxy(DaemonId(row.id), names, row.joined, row.peer, tunnels, row.expires, row.host_key)
