"""One writer's chain of events, while a transaction appends to it (`domain.chain`).

The row of the writer is read and written in the transaction that appends: whoever else appends in its name waits,
so its numbers are in the order of the commits, without gaps, on any database.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.domain.chain import genesis, link

_EVENTS, _WRITERS = schema.events, schema.writers

_HEAD = Prepared(select(_WRITERS).where(_WRITERS.c.name == bindparam("name")).with_for_update())
_NEW = Prepared(
    insert(_WRITERS).values({each.name: bindparam(each.name) for each in _WRITERS.c if each is not _WRITERS.c.id})
)
_MOVE = Prepared(
    update(_WRITERS)
    .where(_WRITERS.c.id == bindparam("id"))
    .values(number=bindparam("last"), hash=bindparam("latest"), bytes=_WRITERS.c.bytes + bindparam("added"))
)
_STORE = Prepared(
    insert(_EVENTS)
    .values({each.name: bindparam(each.name) for each in _EVENTS.c if each is not _EVENTS.c.seq})
    .on_conflict_do_nothing()
)


class Chain:
    """The end of the chain; `close` it in the same transaction."""

    def __init__(self, connection: Connection, writer: str) -> None:
        self.connection = connection
        self._added = 0
        found = _HEAD.rows(self.connection, name=writer)
        if not found:
            _NEW.run(self.connection, name=writer, number=0, hash=genesis(writer), bytes=0)
            found = _HEAD.rows(self.connection, name=writer)
        [head] = found
        self._id, self._number, self._hash = head.id, head.number, bytes(head.hash)

    def add(self, row: Mapping[str, Any], *, hidden: bool = False) -> bool:
        """Store an event, given by its columns but those of the chain; False if it is stored already."""
        body = row["body"].encode()
        number, latest = self._number + 1, link(self._hash, body)
        place = {"writer": self._id, "number": number, "hash": latest, "hidden": hidden}
        if not _STORE.run(self.connection, **row, **place):
            return False
        self._number, self._hash = number, latest
        self._added += len(body)
        return True

    def close(self) -> None:
        """Note how far the chain goes now."""
        if self._added:
            _MOVE.run(self.connection, id=self._id, last=self._number, latest=self._hash, added=self._added)
