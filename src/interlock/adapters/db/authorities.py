"""The installation's record and its private keys, each made once however many daemons start at the same time."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Row, delete, select, true, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_labels, load_labels
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.sealed import open_text, purpose_of, seal_text
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound, StoreError
from interlock.domain.duties import RecordingMode
from interlock.domain.lock import MAX_OFFLINE_S
from interlock.domain.modes import ModePolicy, ModeRule
from interlock.ports import AuthorityKey, Clock, Cluster, DaemonCaKeys, Sealing

_X509 = "x509"
_NOT_SET_UP = "this data directory has not been set up: run interlock start"

_MODES = Prepared(
    select(schema.cluster.c.recording_mode, schema.mode_rules)
    .outerjoin_from(schema.cluster, schema.mode_rules, true())
    .order_by(schema.mode_rules.c.labels)
)
_OFFLINE = Prepared(select(schema.cluster.c.offline_s))


class SqlClusterStore:
    """`ports.ClusterStore` and `ports.ModeStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_cluster(self, cluster: Cluster) -> Cluster:
        """Store the record unless there is one; the stored one."""
        with suppress(NotFound):
            return await self.cluster()
        row = {
            "only": 1,
            "id": cluster.id,
            "name": cluster.name,
            "recording_mode": cluster.recording_mode.value,
            "offline_s": 0,
            "created": cluster.created,
        }
        await self._database.change(insert(schema.cluster).values(row).on_conflict_do_nothing())
        return await self.cluster()

    async def cluster(self) -> Cluster:
        """The record; NotFound before the first start."""
        rows = await self._database.rows(select(schema.cluster))
        if not rows:
            raise NotFound(_NOT_SET_UP)
        [row] = rows
        return Cluster(row.id, row.name, RecordingMode(row.recording_mode), row.created)

    async def set_recording_mode(self, mode: RecordingMode) -> None:
        """Change where sessions with our own nodes are recorded."""
        await self._database.change(update(schema.cluster).values(recording_mode=mode.value))

    async def offline_s(self) -> int:
        """`ports.ClusterStore`."""
        rows = await self._database.look(_OFFLINE)
        return min(max(0, int(rows[0].offline_s)), MAX_OFFLINE_S) if rows else 0

    async def set_offline_s(self, seconds: int) -> None:
        """`ports.ClusterStore`."""
        await self._database.change(update(schema.cluster).values(offline_s=seconds))

    async def mode_policy(self) -> ModePolicy:
        """`ports.ModeSource`: default and rules in one read, since every session waits for it."""
        rows = await self._database.look(_MODES)
        if not rows:
            raise NotFound(_NOT_SET_UP)
        try:
            rules = tuple(
                ModeRule(load_labels(row.labels), RecordingMode(row.mode))
                for row in rows
                if row.labels is not None
            )
            return ModePolicy(RecordingMode(rows[0].recording_mode), rules)
        except ValueError as error:
            public = "the recording rules cannot be read"
            raise StoreError(public, reason=f"{public}: {error}") from error

    async def put_mode_rule(self, rule: ModeRule) -> None:
        """`ports.ModeStore`."""
        row = {"labels": _key(rule.labels), "mode": rule.mode.value}
        await self._database.change(
            insert(schema.mode_rules)
            .values(row)
            .on_conflict_do_update(index_elements=["labels"], set_={"mode": row["mode"]})
        )

    async def remove_mode_rule(self, labels: Mapping[str, str]) -> None:
        """`ports.ModeStore`."""
        rules = schema.mode_rules
        if not await self._database.change(delete(rules).where(rules.c.labels == _key(labels))):
            words = ",".join(f"{key}={value}" for key, value in labels.items())
            raise NotFound(f"there is no rule for the labels {words}: see ilctl mode rule ls")


def _key(labels: Mapping[str, str]) -> str:
    return dump_labels(dict(sorted(labels.items())))


class SqlAuthorityStore:
    """`ports.AuthorityStore` and `ports.DaemonCaStore`."""

    def __init__(self, database: Database, clock: Clock, sealing: Sealing) -> None:
        self._database = database
        self._clock = clock
        self._sealing = sealing

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        """Store the key unless one of its kind is there; the stored one."""
        with suppress(NotFound):
            return await self.authority(key.kind)
        private = seal_text(self._sealing, _purpose(key.kind), key.private_key)
        row = {"kind": key.kind, "private_key": private, "public": key.public, "created": key.created}
        await self._database.change(insert(schema.authorities).values(row).on_conflict_do_nothing())
        return await self.authority(key.kind)

    async def authority(self, kind: str) -> AuthorityKey:
        """The key of this kind; NotFound if there is none yet."""
        row = await self._find(kind)
        if row is None:
            raise NotFound(f"there is no {kind} authority yet: run interlock start")
        return AuthorityKey(row.kind, self._private(row), row.public, row.created)

    async def daemon_ca(self) -> DaemonCaKeys | None:
        """The X.509 authority of daemons; None before the first start."""
        row = await self._find(_X509)
        return None if row is None else DaemonCaKeys(self._private(row), row.public)

    async def keep_daemon_ca(self, keys: DaemonCaKeys) -> DaemonCaKeys:
        """Store the X.509 authority unless there is one already; returns the one that counts."""
        kept = await self.ensure_authority(
            AuthorityKey(_X509, keys.private_key, keys.certificate, self._clock.now())
        )
        return DaemonCaKeys(kept.private_key, kept.public)

    async def _find(self, kind: str) -> Row[Any] | None:
        wanted = select(schema.authorities).where(schema.authorities.c.kind == kind)
        return next(iter(await self._database.rows(wanted)), None)

    def _private(self, row: Row[Any]) -> str:
        return open_text(self._sealing, _purpose(row.kind), row.private_key)


def _purpose(kind: str) -> str:
    return purpose_of(schema.authorities.c.private_key, kind)
