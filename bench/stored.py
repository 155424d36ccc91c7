"""What a gateway has stored, read beside it: only to know when it has finished, never to measure it."""

import sqlite3
from pathlib import Path


class Stored:
    """The audit log in a gateway's database, read only."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)

    def last(self) -> int:
        """The number of the last event."""
        return self._one("select coalesce(max(seq), 0) from events")

    def since(self, seq: int, event: str) -> int:
        """How many events of this kind came after the one with that number."""
        return self._one("select count(*) from events where event = ? and seq > ?", event, seq)

    def _one(self, query: str, *values: str | int) -> int:
        return int(self._database.execute(query, values).fetchone()[0])
