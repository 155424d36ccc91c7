"""A recorder's account of bytes: which are kept, which are not and why, so that nothing is left out silently.

Output and input have limits of their own: were they one, a client could type so much that the output is not kept.
"""

from collections import Counter
from collections.abc import Mapping

from interlock.domain.coverage import Covered, Level
from interlock.domain.recording import Marker, Stream

OF_TERMINALS = "what is typed at a terminal is never recorded: it contains passwords"
NOT_ASKED_FOR = "no role asks for it"
_LIMIT = "the limit for the {} of commands without a terminal was reached"
_NOTHING = "no role lets {} of commands without a terminal be kept"


class Account:
    """Of one recorder. ``limit``: bytes of output, and of input, that are kept; None for all."""

    def __init__(self, limit: int | None, *, keeps_input: bool, interactive: bool) -> None:
        self._limit = limit
        self._keeps_input = keeps_input
        self._interactive = interactive
        self._room = {"output": limit, "input": limit}
        self._truncated: Counter[Stream] = Counter()  # beyond the limit
        self._gap: Counter[Stream] = Counter()  # lost since the last block that was written
        self._gaps: Counter[Stream] = Counter()  # lost in all
        self.lapse = ""  # why nothing can be written now; empty: it can
        self._reasons: dict[str, None] = {}  # why anything was lost
        self._unsynced = ""  # why it was not on auth's storage as it happened

    def admit(self, stream: Stream, size: int) -> int:
        """How many of so many bytes are to be kept."""
        if stream is Stream.STDIN and not self._keeps_input:
            return 0
        kind = _kind(stream)
        room = self._room[kind]
        if room is None:
            return size
        admitted = min(size, room)
        self._room[kind] = room - admitted
        self._truncated[stream] += size - admitted
        return admitted

    def block_lost(self, why: str, sizes: Mapping[int, int]) -> None:
        """A block with so many bytes by kind of frame could not be written."""
        self.lapse = why
        self._reasons[why] = None
        for stream in Stream:
            if stream in sizes:
                self.lost(stream, sizes[stream])

    def lost(self, stream: Stream, size: int) -> None:
        """So many bytes are in no block."""
        self._gap[stream] += size
        self._gaps[stream] += size

    def resumed(self) -> None:
        """Blocks can be written again, and the gap is marked."""
        self.lapse = ""
        self._gap.clear()

    def unsynced(self, why: str) -> None:
        """It is kept, but not where it should be at once."""
        self._unsynced = why

    def gap(self) -> Marker | None:
        """What is to be marked once it can be."""
        return self._marker("gap", self.lapse, self._gap) if self.lapse else None

    def truncated(self) -> Marker | None:
        """What was beyond the limit."""
        if not self._truncated.total():
            return None
        words = " and ".join(sorted({_kind(each) for each, size in self._truncated.items() if size}, reverse=True))
        return self._marker("truncated", _LIMIT.format(words), self._truncated)

    def covered(self) -> tuple[Covered, ...]:
        """The rows of the manifest that are about the session's own bytes."""
        rows = [self._row("session", "output")]
        if self._keeps_input:
            rows.append(self._row("input", "input"))
        else:
            rows.append(Covered("input", Level.NONE, OF_TERMINALS if self._interactive else NOT_ASKED_FOR))
        if self._unsynced:
            rows.append(Covered("sync", Level.PARTIAL, self._unsynced))
        return tuple(rows)

    def _row(self, what: str, kind: str) -> Covered:
        beyond = sum(size for stream, size in self._truncated.items() if _kind(stream) == kind)
        lost = sum(size for stream, size in self._gaps.items() if _kind(stream) == kind)
        whys = [f"{beyond} bytes: {_LIMIT.format(kind)}"] if beyond else []
        if lost or self.lapse:
            whys.append(f"{lost} bytes: {', '.join(self._reasons)}")
        if self._limit == 0:
            return Covered(what, Level.METADATA, "; ".join([_NOTHING.format(kind), *whys]))
        return Covered(what, Level.PARTIAL if whys else Level.FULL, "; ".join(whys))

    def _marker(self, what: str, why: str, sizes: Counter[Stream]) -> Marker:
        return Marker(
            what, why, stdout=sizes[Stream.STDOUT], stderr=sizes[Stream.STDERR], stdin=sizes[Stream.STDIN]
        )


def _kind(stream: Stream) -> str:
    return "input" if stream is Stream.STDIN else "output"
