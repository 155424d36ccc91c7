"""Narrow protocols: the audit log as evidence, for whoever signs it and whoever verifies it (`domain.chain`)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from interlock.domain.chain import Head

T = TypeVar("T")

Sign = Callable[[str | None, tuple[Head, ...]], tuple[str, bytes]]
"""Makes a checkpoint of the encoded one before it and the heads with news: its encoded form and its signature."""


class CheckpointStore(Protocol):
    """Where checkpoints are kept."""

    async def unsigned(self) -> int:
        """How many stored events no checkpoint covers. StoreError."""
        ...

    async def sign(self, sign: Sign, key: bytes) -> tuple[str, bytes] | None:
        """Store one more checkpoint, durably, of what is stored; None if there is no news.

        It covers a bounded number of each writer's events, so after many of them there is more news. ``key``: the
        raw public key that signs. StoreError, also if another one has taken its place.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredHead:
    """How far a writer's chain goes, by the table of writers."""

    id: int
    writer: str
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in a chain, and the columns that repeat what its body says."""

    seq: int  # its place in the order of arrival
    writer: int
    number: int
    hash: bytes
    body: str
    hidden: bool
    uid: str
    sid: str | None
    event: str
    time: str  # UTC with microseconds and Z
    user: str | None
    ei: int
    synthesized: str | None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it is stored."""

    number: int
    body: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class StoredCut:
    """What policy has dropped of one chain, as it is stored."""

    writer: str
    body: str
    signature: bytes


class Evidence(Protocol):
    """All that is stored, at one moment. Synchronous: whoever reads it has a thread for it. StoreError."""

    def heads(self) -> list[StoredHead]:
        """All writers."""
        ...

    def events(self, writer: int) -> Iterator[StoredEvent]:
        """A writer's events by their numbers."""
        ...

    def hashes(self, writer: int) -> Iterator[tuple[int, bytes]]:
        """The numbers and hashes of the same."""
        ...

    def hash_at(self, writer: int, number: int) -> bytes | None:
        """The hash of one event."""
        ...

    def named(self, uid: str) -> list[StoredEvent]:
        """The events with this uid, in the order in which they came: one at most, unless the table was changed."""
        ...

    def checkpoints(self) -> Iterator[StoredCheckpoint]:
        """By their numbers."""
        ...

    def cuts(self) -> list[StoredCut]:
        """One for each chain that policy has shortened."""
        ...

    def repeated(self) -> Iterable[str]:
        """Each uid that more than one event has."""
        ...

    def of_nobody(self) -> Iterable[tuple[int, int]]:
        """Writer and number of events whose writer does not exist."""
        ...


class EvidenceStore(Protocol):
    """Opens the log as it is at one moment."""

    async def inspect(self, work: Callable[[Evidence], T]) -> T:
        """What ``work`` finds, in a thread. Nobody who writes waits for it."""
        ...
