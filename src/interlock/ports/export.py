"""Narrow protocols: how the audit log leaves, and how far it has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.domain.export import Batch, Cursor, Record


@dataclass(frozen=True, slots=True)
class ExportState:
    """How far one export has come."""

    name: str
    cursor: Cursor  # up to where the receiver has everything
    pending: Cursor | None  # up to where the batch goes that may be on its way
    changed: datetime


class ExportSource(Protocol):
    """The audit log as exports read it."""

    async def after(self, cursor: Cursor, *, limit: int, until: Cursor | None = None) -> list[Record]:
        """What comes next, in an order that is always the same; with ``until``, nothing beyond it.

        Checkpoints come when no event is left. StoreError.
        """
        ...


class ExportCursors(Protocol):
    """Where the cursors are kept."""

    async def state(self, name: str, *, now: datetime) -> ExportState:
        """How far it is; a new export begins at the beginning."""
        ...

    async def states(self) -> list[ExportState]:
        """All that ever ran here."""
        ...

    async def move(
        self, before: ExportState, *, cursor: Cursor, pending: Cursor | None, now: datetime
    ) -> ExportState:
        """Keep where it is now, durably. StoreError if somebody else has moved it since ``before``."""
        ...

    async def taken(self, names: Iterable[str]) -> Mapping[str, int] | None:
        """Of each writer, the number up to which all exports have everything; None if there are none.

        Those count that ever ran here, for whichever auth they run, and ``names``, which perhaps have not yet.
        """
        ...


class Receiver(Protocol):
    """Where a batch goes."""

    async def send(self, batch: Batch) -> None:
        """Return when it is acknowledged, as far as the protocol knows that. ExportError: send it again."""
        ...

    async def close(self) -> None:
        """Let go of it; never fails."""
        ...
