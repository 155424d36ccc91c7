"""The clusters that this one trusts or sends people to. A record that cannot be read counts for nothing (R6)."""

from typing import Any

import structlog
from sqlalchemy import Connection, Row, delete, select

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_role_map, dump_strings, load_role_map, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.policy import change_policy, count_change
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import parse_name
from interlock.domain.cluster import Relation, TrustedCluster

_log = structlog.get_logger(__name__)


class SqlTrustStore:
    """`ports.TrustStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """All of them, or those that are this to us, by name."""
        table = schema.trusted_clusters
        wanted = select(table).order_by(table.c.name, table.c.relation)
        if relation is not None:
            wanted = wanted.where(table.c.relation == relation.value)
        rows = await self._database.rows(wanted)
        return [cluster for row in rows if (cluster := _cluster(row)) is not None]

    async def trusted_cluster(self, relation: Relation, name: str) -> TrustedCluster:
        """The one with this name; NotFound otherwise."""
        table = schema.trusted_clusters
        wanted = select(table).where(table.c.relation == relation.value, table.c.name == name.lower())
        for row in await self._database.rows(wanted):
            if (cluster := _cluster(row)) is not None:
                return cluster
        raise _none(relation, name)

    async def put_trust(self, cluster: TrustedCluster) -> None:
        """Store the record, in the place of an older one of the same cluster; Denied if another has the name."""
        table, row = schema.trusted_clusters, _row(cluster)
        same = (table.c.relation == row["relation"], table.c.id == row["id"])

        def put(connection: Connection) -> None:
            connection.execute(delete(table).where(*same))
            if not connection.execute(insert(table).values(row).on_conflict_do_nothing()).rowcount:
                raise Denied(f"another {cluster.relation.value} cluster is called {cluster.name} already")
            count_change(connection)

        await self._database.write(put)

    async def remove_trust(self, relation: Relation, name: str) -> None:
        """Forget the cluster; NotFound if there is none."""
        table = schema.trusted_clusters
        gone = delete(table).where(table.c.relation == relation.value, table.c.name == name.lower())
        if not await change_policy(self._database, gone):
            raise _none(relation, name)


def _none(relation: Relation, name: str) -> NotFound:
    return NotFound(f"there is no {relation.value} cluster called {name[:128]}")


def _row(cluster: TrustedCluster) -> dict[str, object]:
    return {
        "relation": cluster.relation.value,
        "name": parse_name(cluster.name).lower(),
        "id": cluster.id,
        "user_cas": dump_strings(cluster.user_cas),
        "host_cas": dump_strings(cluster.host_cas),
        "proxy": cluster.proxy,
        "roles": dump_role_map(cluster.roles),
        "insists": cluster.insists,
        "enabled": cluster.enabled,
        "created": cluster.created,
    }


def _cluster(row: Row[Any]) -> TrustedCluster | None:
    try:
        return TrustedCluster(
            name=row.name,
            id=row.id,
            relation=Relation(row.relation),
            created=row.created,
            user_cas=load_strings(row.user_cas),
            host_cas=load_strings(row.host_cas),
            proxy=row.proxy,
            roles=load_role_map(row.roles),
            insists=row.insists,
            enabled=row.enabled,
        )
    except ValueError as error:
        _log.error("cluster.unreadable", cluster=row.name, error=str(error), consequence="it is not trusted")
        return None
