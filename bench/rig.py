"""What the parts of one run share: the site, how much is measured, the results so far, and files in memory."""

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.figures import Road
from bench.measure import SetUps
from bench.results import Results
from bench.ways import Site, Way
from interlock.testing.procs import KitError


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is moved, typed and opened at once. Sizes in bytes."""

    bulk: int
    terminal: int
    strokes: int
    sessions: int


FULL = Scale(bulk=512_000_000, terminal=64_000_000, strokes=1000, sessions=30)
QUICK = Scale(bulk=200_000_000, terminal=16_000_000, strokes=300, sessions=20)


@dataclass(slots=True)
class Rig:
    """The bench of one run."""

    site: Site
    scale: Scale
    memory: Path  # a directory where files are in memory, as no disk is to be measured
    results: Results = field(default_factory=Results)
    set_ups: SetUps = field(default_factory=SetUps)

    def zeros(self) -> Path:
        """As many zeros as a bulk transfer moves, in a file that takes no room."""
        path = self.memory / "zeros"
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(self.scale.bulk)
        return path

    def add(self, way: Way, values: Mapping[str, float | None]) -> None:
        """Keep the results of one measurement; None: does not apply to this way."""
        for figure, value in values.items():
            if value is not None:
                self.results.add(figure, way.name, value)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory in memory, if this system has one."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="interlock-bench-", dir=base) as name:
        yield Path(name)


class Part(Protocol):
    """Something that can be asked for by its name.

    ``rounds``: how often, unless asked otherwise. ``quick``: the same of the quick run, 0 if it is not in it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class

    @property
    def rounds(self) -> int: ...  # noqa: D102

    @property
    def quick(self) -> int: ...  # noqa: D102

    def run(self, rig: Rig, rounds: int) -> None:
        """Measure, and add to the rig's results."""
        ...


@dataclass(frozen=True, slots=True)
class Interleaved:
    """All ways once per round, in an order shuffled anew."""

    name: str
    rounds: int
    quick: int
    roads: Sequence[Road]
    once: Callable[[Rig, Way], Mapping[str, float | None]]

    def run(self, rig: Rig, rounds: int) -> None:
        """Go round and round."""
        interleave(self.name, rig, self.roads, rounds, lambda way: self.once(rig, way))


def interleave(
    title: str, rig: Rig, roads: Sequence[Road], rounds: int, once: Callable[[Way], Mapping[str, float | None]]
) -> None:
    """Measure the ways of these roads once per round; the first set-ups, with cold caches, are not in it."""
    order = rig.site.ways(roads)
    for way in order:
        rig.set_ups.seconds(way)
    for number in range(1, rounds + 1):
        random.shuffle(order)
        progress(f"{title}: round {number} of {rounds}")
        for way in order.copy():
            try:
                rig.add(way, once(way))
            except KitError as error:
                if not way.foreign:
                    raise
                order.remove(way)
                progress(f"{title}: {way.name} is left out: {error}\n")
    progress("")


def progress(text: str) -> None:
    """Tell somebody who waits; at a terminal one line is written over again and again."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
