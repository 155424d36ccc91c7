"""Targets: nodes that report themselves and expire, and agentless hosts that administrators register.

Names are kept in lower case: ssh lowers the host of a jump, so two names that differ in case would be one there.
"""

from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, delete, or_, select
from sqlalchemy.dialects.sqlite import insert

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_labels, dump_strings, load_labels, load_strings
from interlock.adapters.db.engine import Database
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId, parse_name
from interlock.domain.target import SubKind, Target
from interlock.ports import Clock

_log = structlog.get_logger(__name__)


class SqlInventory:
    """`ports.Inventory`, `ports.TargetSource` and `ports.TargetRegistry`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def heartbeat(self, node: Target) -> None:
        """Create or refresh a node; Denied if its hostname belongs to another live target.

        A name whose node has expired is free again: the host may have been installed anew.
        """
        row, now = _row(node), self._clock.now()
        await self._database.write(lambda connection: _refresh(connection, node, row, now))

    async def target(self, name: str) -> Target:
        """The live target with this hostname or ID; NotFound otherwise."""
        nodes = schema.nodes
        wanted = select(nodes).where(or_(nodes.c.hostname == name.lower(), nodes.c.id == name), self._live())
        rows = await self._database.rows(wanted)
        found = [target for row in rows if (target := _target(row)) is not None]
        if not found:
            raise NotFound(f"unknown node {name}: run `ilsh ls` to see the nodes you can reach")
        return next((target for target in found if target.id == name), found[0])  # nobody can shadow an ID

    async def targets(self) -> list[Target]:
        """All live targets, by hostname."""
        nodes = schema.nodes
        rows = await self._database.rows(select(nodes).where(self._live()).order_by(nodes.c.hostname))
        return [target for row in rows if (target := _target(row)) is not None]

    async def add_target(self, target: Target) -> bool:
        """Register a target; False if its hostname is taken by a live one."""
        nodes = schema.nodes
        stale = delete(nodes).where(
            nodes.c.hostname == target.hostname.lower(), nodes.c.expires <= self._clock.now()
        )
        fresh = insert(nodes).values(_row(target)).on_conflict_do_nothing()

        def add(connection: Connection) -> bool:
            connection.execute(stale)
            return connection.execute(fresh).rowcount == 1

        return await self._database.write(add)

    async def remove_target(self, name: str) -> None:
        """Forget the target with this hostname or ID, live or not; NotFound if there is none."""
        nodes = schema.nodes
        named = or_(nodes.c.hostname == name.lower(), nodes.c.id == name)
        if not await self._database.change(delete(nodes).where(named)):
            raise NotFound(f"there is no node called {name}")

    def _live(self) -> Any:
        return or_(schema.nodes.c.expires.is_(None), schema.nodes.c.expires > self._clock.now())


def _refresh(connection: Connection, node: Target, row: dict[str, object], now: datetime) -> None:
    nodes = schema.nodes
    holder = connection.execute(select(nodes).where(nodes.c.hostname == node.hostname.lower())).one_or_none()
    if holder is not None and holder.id != node.id:
        if holder.expires is None or holder.expires > now:
            public = f"another target is already called {node.hostname}"
            raise Denied(public, reason=f"{node.id} claims the name of {holder.id}")
        connection.execute(delete(nodes).where(nodes.c.id == holder.id))
    connection.execute(insert(nodes).values(row).on_conflict_do_update(index_elements=["id"], set_=row))


def _row(target: Target) -> dict[str, object]:
    return {
        "id": target.id,
        "hostname": parse_name(target.hostname).lower(),
        "host": target.host,
        "port": target.port,
        "sub_kind": target.sub_kind.value,
        "labels": dump_labels(target.labels),
        "host_keys": dump_strings(target.host_keys),
        "version": target.version,
        "expires": target.expires,
    }


def _target(row: Row[Any]) -> Target | None:
    """None, with a line in the log, for a row whose labels or pinned keys cannot be read: nobody reaches it."""
    try:
        return Target(
            id=DaemonId(row.id),
            hostname=row.hostname,
            host=row.host,
            port=row.port,
            sub_kind=SubKind(row.sub_kind),
            labels=load_labels(row.labels),
            host_keys=load_strings(row.host_keys),
            version=row.version,
            expires=row.expires,
        )
    except ValueError as error:
        _log.error("node.unreadable", node=row.hostname, error=str(error), consequence="it is not listed")
        return None
