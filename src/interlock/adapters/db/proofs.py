"""Which proofs of presence were used, for all auths on the database: one row decides."""

from datetime import datetime

from sqlalchemy import BindParameter, Connection, bindparam, delete, select

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert

_PROOFS = schema.proofs
_PROOF: BindParameter[str] = bindparam("proof")
_USED_BY = select(_PROOFS.c.used_by).where(_PROOFS.c.proof == _PROOF)


class SqlProofUses:
    """`ports.ProofUses`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._forgotten: datetime | None = None  # what was used before has gone

    async def use_proof(self, proof: str, by: str, *, now: datetime, forget: datetime) -> bool:
        """See `ports.ProofUses`."""
        tidies = self._forgotten is None or forget - self._forgotten > now - forget

        def first(connection: Connection) -> bool:
            if tidies:
                connection.execute(delete(_PROOFS).where(_PROOFS.c.used < forget))
            row = {"proof": proof, "used_by": by, "used": now}
            if connection.execute(insert(_PROOFS).values(row).on_conflict_do_nothing()).rowcount:
                return True
            return bool(connection.execute(_USED_BY, {"proof": proof}).scalar_one() == by)

        answer = await self._database.write(first)
        if tidies:
            self._forgotten = forget
        return answer
