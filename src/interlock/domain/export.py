"""What leaves the audit log: records in an order that never skips one, and cursors of how far somebody has them.

A cursor is a number for each writer, not one for all: within a writer's chain, numbers are in the order of commits
and have no gaps, whatever the database. One number for all would skip an event whose transaction commits later
than one that got a higher number.

::

    cursor = CHECKPOINT [ "." WRITER ":" NUMBER ]...        for example  7.1:5321.2:87
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock.core.errors import NotFound
from interlock.domain.audit import derived_uid

_FORM = re.compile(r"(\d{1,18})((?:\.\d{1,9}:\d{1,18})*)", re.ASCII)
_DECODER = msgspec.json.Decoder(dict[str, Any])

CHECKPOINT_EVENT, CHECKPOINT_CODE = "audit.checkpoint", "ILA02I"

BATCH_BYTES = 1_000_000
"""Of the records of one batch, unless a single one is larger."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has everything."""

    checkpoint: int = 0
    numbers: Mapping[int, int] = field(default_factory=dict)  # by the writer's place in its table

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read it; NotFound if it is none."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise NotFound("this is no cursor of an export", reason=f"{text[:100]!r} is no cursor of an export")
        pairs = [each.split(":") for each in match[2].split(".") if each]
        return cls(int(match[1]), {int(writer): int(number) for writer, number in pairs})

    def __str__(self) -> str:
        """The text form."""
        return ".".join([str(self.checkpoint), *(f"{each}:{self.numbers[each]}" for each in sorted(self.numbers))])

    def of(self, writer: int) -> int:
        """The number up to which there is everything of this writer."""
        return self.numbers.get(writer, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that leaves: an event, or a checkpoint."""

    uid: str
    json: str  # an object, on one line: an event's body as it is stored
    writer: str  # empty: a checkpoint
    place: int  # of the writer, in its table
    number: int
    hash: str
    cursor: Cursor  # for whoever has this one

    @property
    def line(self) -> str:
        """The JSON with what proves its place: the stored body is what stands before the last ``,"audit":``."""
        chain = {"writer": self.writer, "number": self.number, "hash": self.hash, "cursor": str(self.cursor)}
        return f'{self.json[:-1]},"audit":{msgspec.json.encode(chain).decode()}}}'

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON, decoded."""
        found: dict[str, Any] = _DECODER.decode(self.json)
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at once, and again exactly so until it is acknowledged."""

    name: str  # of the export
    begin: Cursor
    records: tuple[Record, ...]

    @property
    def end(self) -> Cursor:
        """The cursor when all of it has arrived."""
        return self.records[-1].cursor

    @property
    def key(self) -> str:
        """The same for the same records, and for no others.

        Not of the cursors alone: a log that was restored from a backup counts on from there, with other events.
        """
        told = hashlib.sha256()
        for record in self.records:
            told.update(record.line.encode())
        return derived_uid(f"{self.name} {told.hexdigest()}", "batch")


def in_order(
    begin: Cursor,
    events: Iterable[tuple[int, str, int, str, str, bytes]],
    checkpoints: Iterable[tuple[int, str, bytes]],
) -> list[Record]:
    """Records with their cursors: events (place, writer, number, uid, body, hash), then checkpoints."""
    records, numbers, checkpoint = [], dict(begin.numbers), begin.checkpoint
    for place, writer, number, uid, body, hash_ in events:
        numbers[place] = number
        records.append(Record(uid, body, writer, place, number, hash_.hex(), Cursor(checkpoint, dict(numbers))))
    for number, body, signature in checkpoints:
        checkpoint = number
        uid, json = _checkpoint(body, signature)
        records.append(Record(uid, json, "", 0, number, "", Cursor(checkpoint, dict(numbers))))
    return records


def fitting(records: list[Record], size: int = BATCH_BYTES) -> list[Record]:
    """The first of them that are not too large together; one at least."""
    for place, record in enumerate(records):
        size -= len(record.json)
        if size < 0 and place:
            return records[:place]
    return records


def _checkpoint(body: str, signature: bytes) -> tuple[str, str]:
    said = _DECODER.decode(body)
    told = {
        "ei": 0,
        "event": CHECKPOINT_EVENT,
        "code": CHECKPOINT_CODE,
        "time": said.get("time", ""),
        "uid": derived_uid(f"{said.get('cluster')} {said.get('number')} {signature.hex()}", "checkpoint"),
        "cluster_name": said.get("cluster", ""),
        "body": body,
        "signature": signature.hex(),
    }
    return str(told["uid"]), msgspec.json.encode(told).decode()
