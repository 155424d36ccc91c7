"""What may be wrong with a stored audit log."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

_DECODER = msgspec.json.Decoder(dict[str, Any])


class Fault(Enum):
    """One member per thing that may have been done to it; the value is for people."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    INSERTED = "inserted"
    REPLAYED = "replayed"
    TRUNCATED = "cut off at the end"
    MISLABELLED = "filed under other values than its own"
    HIDDEN = "hidden"
    SHOWN = "shown again"
    CHECKPOINT = "bad checkpoint"
    BAD_CUT = "dropped without proof"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: of these events of a writer, or of a checkpoint, which has no writer."""

    fault: Fault
    writer: str
    first: int
    last: int
    detail: str = ""


def decode_body(body: str) -> dict[str, Any]:
    """A stored event; empty if it is none."""
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError:
        return {}
