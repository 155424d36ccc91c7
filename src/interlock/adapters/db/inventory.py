"""Targets: nodes that report themselves and expire, and agentless hosts that administrators register.

Names are kept in lower case: ssh lowers the host of a jump, so two names that differ in case would be one there.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, and_, bindparam, delete, or_, select

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_labels, dump_strings, load_labels, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId, parse_name
from interlock.domain.target import SubKind, Target, removed_node, unknown_node
from interlock.ports import Clock

_log = structlog.get_logger(__name__)

_NODES, _REMOVED = schema.nodes, schema.removed_nodes
_NAMED = Prepared(
    select(_NODES)
    .where(
        or_(_NODES.c.hostname == bindparam("hostname"), _NODES.c.id == bindparam("id")),
        or_(_NODES.c.expires.is_(None), _NODES.c.expires > bindparam("now")),
    )
    .order_by(_NODES.c.id)
)


class SqlInventory:
    """`ports.Inventory`, `TargetSource`, `TargetRegistry` and `RemovedSource`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def heartbeat(self, node: Target) -> None:
        """Create or refresh a node; Denied if it was removed, or its hostname is that of a registered host.

        Nodes may share a hostname. Of those that have expired, only the one that reports itself again stays.
        """
        row, now = _row(node), self._clock.now()
        await self._database.write(lambda connection: _refresh(connection, node, row, now))

    async def target(self, name: str) -> Target:
        """The live target with this hostname or ID; NotFound if there is none, or several of this hostname."""
        found = await self.named(name)
        if not found:
            raise unknown_node(name)
        if len(found) > 1:
            raise NotFound(f"{len(found)} nodes are called {name}: use the ID of one")
        return found[0]

    async def named(self, name: str) -> list[Target]:
        """The live targets with this hostname, by ID, or the one with this ID: nobody can shadow an ID."""
        rows = await self._database.look(_NAMED, hostname=name.lower(), id=name, now=self._clock.now())
        found = [target for row in rows if (target := _target(row)) is not None]
        return [target for target in found if target.id == name] or found

    async def targets(self) -> list[Target]:
        """All live targets, by hostname and ID."""
        nodes = schema.nodes
        live = select(nodes).where(self._live()).order_by(nodes.c.hostname, nodes.c.id)
        rows = await self._database.rows(live)
        return [target for row in rows if (target := _target(row)) is not None]

    async def add_target(self, target: Target) -> bool:
        """Register a target; False if its hostname is taken by a live one."""
        nodes, now = schema.nodes, self._clock.now()
        fresh = insert(nodes).values(_row(target)).on_conflict_do_nothing()

        def add(connection: Connection) -> bool:
            if _holders(connection, target, now):
                return False
            return connection.execute(fresh).rowcount == 1

        return await self._database.write(add)

    async def meant(self, name: str) -> tuple[DaemonId, ...]:
        """`ports.TargetRegistry`."""
        live = await self.named(name)
        if len(live) > 1:
            ids = ", ".join(target.id for target in live)
            raise NotFound(f"{len(live)} nodes are called {name}: say which one by its ID: {ids}")
        shadowed = any(target.id == name for target in live)
        named = _NODES.c.id == name if shadowed else or_(_NODES.c.hostname == name.lower(), _NODES.c.id == name)
        found = await self._database.rows(select(_NODES.c.id).where(named).order_by(_NODES.c.id))
        if not found:
            raise NotFound(f"there is no node called {name}")
        return tuple(DaemonId(row.id) for row in found)

    async def remove_targets(self, ids: Sequence[DaemonId]) -> None:
        """`ports.TargetRegistry`: one that has joined cannot report itself again."""
        now = self._clock.now()
        known = select(_NODES.c.id, _NODES.c.sub_kind).where(_NODES.c.id.in_(ids))

        def remove(connection: Connection) -> None:
            kinds = {row.id: row.sub_kind for row in connection.execute(known)}
            ours = [each for each in ids if kinds.get(each, SubKind.NODE.value) == SubKind.NODE.value]
            rows = [{"id": each, "removed": now} for each in ours]
            connection.execute(delete(_NODES).where(_NODES.c.id.in_(ids)))
            if rows:
                connection.execute(insert(_REMOVED).on_conflict_do_nothing(), rows)

        await self._database.write(remove)

    async def removed_nodes(self) -> dict[DaemonId, datetime]:
        """`ports.RemovedSource`."""
        rows = await self._database.rows(select(_REMOVED))
        return {DaemonId(row.id): row.removed for row in rows}

    def _live(self) -> Any:
        return or_(schema.nodes.c.expires.is_(None), schema.nodes.c.expires > self._clock.now())


def _refresh(connection: Connection, node: Target, row: dict[str, object], now: datetime) -> None:
    nodes = schema.nodes
    if connection.execute(select(_REMOVED.c.id).where(_REMOVED.c.id == node.id)).first() is not None:
        raise removed_node(node.id)
    for holder in _holders(connection, node, now):
        if holder.sub_kind != SubKind.NODE.value:
            public = f"another target is already called {node.hostname}"
            raise Denied(public, reason=f"{node.id} claims the name of {holder.id}")
    connection.execute(insert(nodes).values(row).on_conflict_do_update(index_elements=["id"], set_=row))


def _holders(connection: Connection, target: Target, now: datetime) -> Sequence[Row[Any]]:
    """The other live targets of the same hostname; those that have expired are forgotten."""
    nodes = schema.nodes
    others = and_(nodes.c.hostname == target.hostname.lower(), nodes.c.id != target.id)
    connection.execute(delete(nodes).where(others, nodes.c.expires <= now))
    return connection.execute(select(nodes).where(others)).all()


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
        "tunnel": target.tunnel,
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
            tunnel=row.tunnel,
        )
    except ValueError as error:
        _log.error("node.unreadable", node=row.hostname, error=str(error), consequence="it is not listed")
        return None
