"""What a live session needs of a recorder, and the one that keeps nothing; the real one is `recorder`."""

from collections.abc import Sequence
from typing import Protocol

from interlock.domain.container import ContentKey, Unsealed
from interlock.domain.coverage import Covered, Level
from interlock.domain.recording import Marker, Stream
from interlock.domain.session import Exit, Window


class SessionRecorder(Protocol):
    """What a live session needs of a recorder."""

    @property
    def failed(self) -> bool:
        """Whether the recording stopped before the session's end."""
        ...

    @property
    def kept(self) -> bool:
        """Whether there is something to store."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the recording has its end and is sealed, so that nothing is to be added."""
        ...

    @property
    def key(self) -> ContentKey | None:
        """With which the recording can be read back, if its contents are encrypted."""
        ...

    @property
    def unsealed(self) -> Unsealed | None:
        """What has its end and lacks the seek index and the seal, if the recorder left them to others."""
        ...

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Keep a copy of the bytes."""
        ...

    def resize(self, window: Window) -> None:
        """Note the terminal's new size."""
        ...

    def flush(self) -> None:
        """Write what is held back, for somebody who reads the part now."""
        ...

    @property
    def size(self) -> int:
        """Bytes that the recording has on this disk so far."""
        ...

    @property
    def lag(self) -> float:
        """Seconds for which the oldest output has waited to be written; 0 if nothing waits."""
        ...

    def cover(self, row: Covered) -> None:
        """Note what else there is in the session, and how it is kept."""
        ...

    def covered(self) -> tuple[Covered, ...]:
        """How the session's own bytes are kept; final after `finish`."""
        ...

    def gaps(self) -> tuple[Marker, ...]:
        """What was not kept and is not marked in the recording, if it failed."""
        ...

    def alive(self) -> int | None:
        """The session still runs: how long the recording has lasted, in microseconds, for a note beside it.

        None if there is nothing to note, or if the recording itself notes it.
        """
        ...

    def finish(self, ended: Exit, others: Sequence[Covered] = ()) -> None:
        """Write the rest, what is covered, and close. Only the first call counts."""
        ...


class NoRecorder:
    """Of a session that is not recorded here; ``why``: in the manifest, if that is ours to write."""

    def __init__(self, why: str = "another daemon records it") -> None:
        self._why = why

    @property
    def failed(self) -> bool:
        """Nothing can fail."""
        return False

    @property
    def kept(self) -> bool:
        """Nothing."""
        return False

    @property
    def closed(self) -> bool:
        """There is nothing to add to."""
        return True

    @property
    def key(self) -> None:
        """There is nothing to read."""

    @property
    def unsealed(self) -> None:
        """There is nothing to add to."""

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Forget the bytes."""

    def resize(self, window: Window) -> None:
        """Forget the size."""

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def size(self) -> int:
        """Nothing is on the disk."""
        return 0

    @property
    def lag(self) -> float:
        """Nothing waits."""
        return 0.0

    def cover(self, row: Covered) -> None:
        """Forget it."""

    def covered(self) -> tuple[Covered, ...]:
        """Nothing is kept."""
        return (Covered("session", Level.NONE, self._why), Covered("input", Level.NONE, self._why))

    def gaps(self) -> tuple[Marker, ...]:
        """There is nothing that could have any."""
        return ()

    def alive(self) -> None:
        """Nothing to note."""

    def finish(self, ended: Exit, others: Sequence[Covered] = ()) -> None:
        """Nothing to close."""
