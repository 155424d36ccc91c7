"""The coverage manifest: of every channel and forward of a session, whether it was recorded, and if not, why.

It is the last thing in a recording and in the session's end, so that what is missing is known to be missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from interlock.core.limits import MAX_COVERED, MAX_COVERED_TEXT
from interlock.domain.audit import JsonValue
from interlock.domain.session import shortened


class Level(Enum):
    """How much of something is kept."""

    FULL = "full"  # every byte
    PARTIAL = "partial"  # bytes up to a limit, or with a gap
    METADATA = "metadata"  # that it happened: peers, byte counts, times
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Covered:
    """One row. ``what``: session, input, or the type of a forward's channel; ``why`` it is not more."""

    what: str
    level: Level
    why: str = ""
    where: str = ""  # the address of a forward
    count: int = 1  # how many of the kind, once there are too many to list each

    def row(self) -> dict[str, str | int]:
        """As events show it: what is empty is left out."""
        texts: dict[str, str | int] = {
            name: text for name, text in (("why", self.why), ("where", self.where)) if text
        }
        return {"what": self.what, "level": self.level.value, **texts, **_counted(self.count)}


def _counted(count: int) -> dict[str, str | int]:
    return {"count": count} if count > 1 else {}


class Manifest:
    """Collects rows in bounded memory: beyond so many, those alike are only counted."""

    def __init__(self) -> None:
        self._each: list[Covered] = []
        self._counted: dict[tuple[str, Level, str], Covered] = {}

    def add(self, covered: Covered) -> Covered:
        """Note one more; the row, with texts of bounded length."""
        row = replace(
            covered,
            what=shortened(covered.what, MAX_COVERED_TEXT),
            why=shortened(covered.why, MAX_COVERED_TEXT),
            where=shortened(covered.where, MAX_COVERED_TEXT),
        )
        if len(self._each) < MAX_COVERED:
            self._each.append(row)
            return row
        key = (row.what, row.level, row.why)
        if key not in self._counted and len(self._counted) >= MAX_COVERED:
            key = ("other", Level.METADATA, "too many kinds to list")
        before = self._counted.get(key, Covered(*key, count=0))
        self._counted[key] = replace(before, count=before.count + row.count)
        return row

    @property
    def rows(self) -> tuple[Covered, ...]:
        """All of it, in order."""
        return (*self._each, *self._counted.values())


def coverage_field(rows: Iterable[Covered]) -> dict[str, JsonValue]:
    """The field ``coverage`` of ``session.end``."""
    return {"coverage": [each.row() for each in rows]}


def cut_off(rows: Iterable[Covered], why: str) -> tuple[Covered, ...]:
    """The rows of a session whose recorder did not get to write its end: nothing of it is known to be whole."""
    found = tuple(rows) or (Covered("session", Level.FULL),)
    return tuple(replace(row, level=Level.PARTIAL, why=why) if row.level is Level.FULL else row for row in found)
