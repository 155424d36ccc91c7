"""The authorities' keys while they are changed, and which daemon has heard of it."""

import hashlib
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.sealed import open_text, purpose_of, seal_text
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.rotation import Phase, RotatedKind, Rotation
from interlock.ports import AuthorityKey, FormerLine, Heard, KeyRing, Sealing

NEXT = ".next"
"""Behind an authority's kind: the key that is to take its place."""

_AUTHORITIES, _ROTATIONS, _HEARD = schema.authorities, schema.rotations, schema.heard
_FORMER = schema.former_keys

_NOTED = ("trust", "signer", "at", "roots", "issuer")

_PUBLIC = Prepared(select(_AUTHORITIES.c.kind, _AUTHORITIES.c.public).order_by(_AUTHORITIES.c.kind))
_PHASES = Prepared(select(_ROTATIONS.c.kind, _ROTATIONS.c.phase).order_by(_ROTATIONS.c.kind))


async def trust_digest(database: Database) -> str:
    """Another one than before when an authority has another key, or a rotation is in another phase."""
    rows = [*await database.look(_PUBLIC), *await database.look(_PHASES)]
    return "" if not rows else hashlib.sha256("\n".join(" ".join(row) for row in rows).encode()).hexdigest()[:16]


class SqlRotationStore:
    """`ports.RotationStore` and `ports.HeardStore`."""

    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def keyring(self) -> KeyRing:
        """`ports.KeyRingSource`."""

        def work(connection: Connection) -> tuple[list[Row[Any]], list[Row[Any]], list[Row[Any]]]:
            # one statement sees one state, two may not: a key that is promoted between them is there twice, or not
            for _ in range(3):
                rotations = list(connection.execute(select(_ROTATIONS)).all())
                keys = list(connection.execute(select(_AUTHORITIES)).all())
                if list(connection.execute(select(_ROTATIONS)).all()) == rotations:
                    former = select(_FORMER).order_by(_FORMER.c.until.desc())
                    return keys, rotations, list(connection.execute(former).all())
            raise StoreError("the authorities are being changed: try again")

        keys, rotations, rows = await self._database.read(work)
        found = {_rotation(row).kind: _rotation(row) for row in rotations}
        current = {row.kind: self._key(row, row.kind) for row in keys if not row.kind.endswith(NEXT)}
        coming = {kind: self._key(row, kind) for row in keys if (kind := row.kind.removesuffix(NEXT)) != row.kind}
        former: dict[str, tuple[FormerLine, ...]] = {}
        for row in rows:
            former[row.kind] = (*former.get(row.kind, ()), FormerLine(row.public, row.until))
        return KeyRing(current, {each.stored: coming[each.stored] for each in found}, found, former)

    async def begin_rotation(self, rotation: Rotation, key: AuthorityKey) -> None:
        """`ports.RotationStore`."""
        kind = key.kind + NEXT
        private = seal_text(self._sealing, _purpose(kind), key.private_key)
        row = {"kind": kind, "private_key": private, "public": key.public, "created": key.created}

        def work(connection: Connection) -> None:
            wanted = select(_ROTATIONS.c.kind).where(_ROTATIONS.c.kind == rotation.kind.value)
            if connection.execute(wanted).first() is not None:
                raise Denied(
                    f"the {rotation.kind.value} authority is being changed already: see ilctl auth status"
                )
            connection.execute(insert(_AUTHORITIES).values(row))
            connection.execute(insert(_ROTATIONS).values(_row(rotation)))

        await self._database.write(work)

    async def move_rotation(self, rotation: Rotation, before: Phase) -> None:
        """`ports.RotationStore`."""
        kind = rotation.kind.value
        this = (_ROTATIONS.c.kind == kind, _ROTATIONS.c.phase == before.value)

        def work(connection: Connection) -> None:
            if rotation.phase is not Phase.STANDBY:
                changed = connection.execute(update(_ROTATIONS).where(*this).values(_row(rotation))).rowcount
            else:
                changed = connection.execute(delete(_ROTATIONS).where(*this)).rowcount
            if not changed:
                raise Denied(f"somebody else has changed the {kind} authority meanwhile: see ilctl auth status")
            if rotation.phase is Phase.STANDBY:
                self._finish(connection, rotation.kind.stored, promote=before is Phase.UPDATE_SERVERS)

        await self._database.write(work)

    def _finish(self, connection: Connection, kind: str, *, promote: bool) -> None:
        coming = _AUTHORITIES.c.kind == kind + NEXT
        row = connection.execute(select(_AUTHORITIES).where(coming)).first()
        if row is None:
            raise NotFound(f"the new key of the {kind} authority is missing")
        connection.execute(delete(_AUTHORITIES).where(coming))
        if promote:
            secret = open_text(self._sealing, _purpose(row.kind), row.private_key)
            fresh = {
                "private_key": seal_text(self._sealing, _purpose(kind), secret),
                "public": row.public,
                "created": row.created,
            }
            connection.execute(update(_AUTHORITIES).where(_AUTHORITIES.c.kind == kind).values(fresh))

    async def heard(self) -> list[Heard]:
        """`ports.HeardStore`."""
        rows = await self._database.rows(select(_HEARD))
        return [Heard(DaemonId(row.daemon), row.trust, row.signer, row.at, row.roots, row.issuer) for row in rows]

    async def note_heard(self, heard: Heard) -> None:
        """`ports.HeardStore`."""
        fresh = {name: value for name in _NOTED if (value := getattr(heard, name)) != ""}
        row = {name: getattr(heard, name) for name in ("daemon", *_NOTED)}
        await self._database.change(
            insert(_HEARD).values(row).on_conflict_do_update(index_elements=["daemon"], set_=fresh)
        )

    def _key(self, row: Row[Any], kind: str) -> AuthorityKey:
        private = open_text(self._sealing, _purpose(row.kind), row.private_key)
        return AuthorityKey(kind, private, row.public, row.created)


def _purpose(kind: str) -> str:
    return purpose_of(_AUTHORITIES.c.private_key, kind)


def _row(rotation: Rotation) -> dict[str, object]:
    return {
        "kind": rotation.kind.value,
        "phase": rotation.phase.value,
        "began": rotation.began,
        "since": rotation.since,
        "signing": rotation.signing,
        "grace_s": int(rotation.grace.total_seconds()),
        "compromised": rotation.compromised,
    }


def _rotation(row: Row[Any]) -> Rotation:
    try:
        kind, phase = RotatedKind(row.kind), Phase(row.phase)
    except ValueError as error:
        public = "the authorities are being changed in a way that this version does not know"
        raise StoreError(public, reason=f"{public}: {error}") from error
    grace = timedelta(seconds=row.grace_s)
    return Rotation(kind, phase, row.began, row.since, row.signing, grace, row.compromised)
