"""Single results, what is made of them, and how they compare with what is demanded. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Bound, Demand, Ratio

Summary = dict[str, dict[str, dict[str, float | int]]]
"""Figure → way → median, min, max, n."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One value beside its target."""

    name: str
    value: float
    bound: Bound

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.bound.met_by(self.value)


@dataclass(slots=True)
class Results:
    """All single results: figure → way → values in the order they were taken."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, figure: str, way: str, value: float) -> None:
        """Keep one result."""
        self.values.setdefault(figure, {}).setdefault(way, []).append(value)

    def median(self, figure: str, way: str) -> float | None:
        """The median of one figure of one way; None if it was not measured."""
        values = self.values.get(figure, {}).get(way)
        return statistics.median(values) if values else None

    def summary(self) -> Summary:
        """What is printed and written."""
        return {
            figure: {way: describe(values) for way, values in by_way.items()}
            for figure, by_way in self.values.items()
        }

    def ratios(self, table: Sequence[Ratio], subject: str) -> dict[str, float]:
        """The named ratios of medians of a gateway or another relay; those that were measured."""
        found = {}
        for ratio in table:
            ours, theirs = (self.median(ratio.figure, name) for name in ratio.names(subject))
            if ours is not None and theirs:
                found[ratio.name] = round(ours / theirs, 3)
        return found

    def verdicts(self, ratios: Sequence[Ratio], demands: Sequence[Demand], subject: str) -> list[Verdict]:
        """Everything that is demanded and was measured."""
        values = self.ratios(ratios, subject)
        found = [
            Verdict(ratio.name, values[ratio.name], ratio.bound)
            for ratio in ratios
            if ratio.bound is not None and ratio.name in values
        ]
        for demand in demands:
            value = self.median(demand.figure, demand.name(subject))
            if value is not None:
                found.append(Verdict(demand.figure, round(value, 3), demand.bound))
        return found

    def against(self, subject: str, other: str) -> dict[str, float]:
        """Every figure that both have: the subject's median over the other's, for comparing two checkouts.

        The roads of the two are told apart by what follows their names.
        """
        found = {}
        for figure, by_way in self.values.items():
            for way in by_way:
                rest = way.removeprefix(other)
                if way == rest or (rest and rest[0] not in "_@"):
                    continue
                ours, theirs = self.median(figure, subject + rest), self.median(figure, way)
                if ours is not None and theirs:
                    found[figure + rest] = round(ours / theirs, 3)
        return found


def describe(values: Sequence[float]) -> dict[str, float | int]:
    """Median, extremes and number of some values."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "n": len(values),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def cell(stats: Mapping[str, float | int] | None) -> str:
    """Median and extremes for a table."""
    if stats is None:
        return "-"
    digits = 2 if stats["max"] < 20 else 1 if stats["max"] < 100 else 0
    return f"{stats['median']:.{digits}f} [{stats['min']:.{digits}f}-{stats['max']:.{digits}f}]"
