"""The keys that sign what is kept: one takes another's place at once, and the other's public key stays."""

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.sealed import purpose_of, seal_text
from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied, StoreError
from interlock.domain.chain import Checkpoint
from interlock.ports import AuthorityKey, LastWord, Sealing

AUDIT = "audit"

_AUTHORITIES, _FORMER, _CHECKPOINTS, _CUTS = (
    schema.authorities,
    schema.former_keys,
    schema.checkpoints,
    schema.cuts,
)


def check_key(connection: Connection, key: bytes) -> None:
    """StoreError if the audit log has another key than this raw public one, which stays while this write lasts."""
    wanted = select(_AUTHORITIES.c.public).where(_AUTHORITIES.c.kind == AUDIT).with_for_update(read=True)
    found = connection.execute(wanted).scalar()
    if found is not None and PublicKey.parse(found).fields != (key,):
        raise StoreError("the audit log's key was changed a moment ago: try again")


class SqlSuccessionStore:
    """`ports.SuccessionStore`."""

    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def succeed(self, before: AuthorityKey, key: AuthorityKey, last_word: LastWord | None) -> None:
        """`ports.SuccessionStore`."""
        purpose = purpose_of(_AUTHORITIES.c.private_key, key.kind)
        fresh = {
            "private_key": seal_text(self._sealing, purpose, key.private_key),
            "public": key.public,
            "created": key.created,
        }
        this = (_AUTHORITIES.c.kind == key.kind, _AUTHORITIES.c.public == before.public)
        former = {"public": before.public, "kind": key.kind, "since": before.created, "until": key.created}

        def work(connection: Connection) -> None:
            if not connection.execute(update(_AUTHORITIES).where(*this).values(fresh)).rowcount:
                raise Denied(f"somebody else has changed the {key.kind} key meanwhile: see ilctl events ls")
            connection.execute(insert(_FORMER).values(former))
            if last_word is not None:
                _say(connection, last_word)
                _cut_anew(connection, last_word.cut)

        await self._database.write(work)


def _say(connection: Connection, last_word: LastWord) -> None:
    newest = select(_CHECKPOINTS.c.body).order_by(_CHECKPOINTS.c.number.desc()).limit(1)
    body, signature = last_word.checkpoint(connection.execute(newest).scalar(), ())
    number = Checkpoint.decode(body).number
    connection.execute(insert(_CHECKPOINTS).values(number=number, body=body, signature=signature))


def _cut_anew(connection: Connection, sign: Callable[[str, bytes], bytes | None]) -> None:
    for row in connection.execute(select(_CUTS)).all():
        signature = sign(row.body, bytes(row.signature))
        if signature is not None:
            connection.execute(update(_CUTS).where(_CUTS.c.writer == row.writer).values(signature=signature))
