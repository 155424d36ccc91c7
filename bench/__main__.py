"""Run the bench: ``python -m bench [--quick] [--out FILE]``."""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import measure, report
from bench.paths import OPTIONS, Way, ways

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. Sizes in bytes."""

    set_up_rounds: int
    bulk_rounds: int
    bulk_size: int
    echo_rounds: int
    strokes: int


FULL = Plan(set_up_rounds=25, bulk_rounds=9, bulk_size=512_000_000, echo_rounds=9, strokes=1000)
QUICK = Plan(set_up_rounds=8, bulk_rounds=3, bulk_size=200_000_000, echo_rounds=3, strokes=300)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, under 50 seconds")
    parser.add_argument("--out", type=Path, help="where to write the JSON result")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    out = options.out or HERE / ("results-quick.json" if options.quick else "results.json")
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as name, ways(Path(name)) as compared:
        figures = measure_all(compared, plan, Path(name))
    report.show(figures)
    report.write(out, figures, {**asdict(plan), **OPTIONS})
    print(f"written: {out}")


def measure_all(compared: list[Way], plan: Plan, directory: Path) -> report.Figures:
    """Every figure of every way, interleaved by round."""
    figures = report.Figures()
    source = directory / "zeros"
    with source.open("wb") as file:
        file.truncate(plan.bulk_size)
    for way in compared:
        measure.set_up_ms(way)  # the first connection of each pays for cold caches

    def set_up(way: Way) -> None:
        figures.add("setup_ms", way.name, measure.set_up_ms(way))

    def bulk(way: Way) -> None:
        taken = figures.median("setup_ms", way.name) / 1000
        down = measure.download(way, plan.bulk_size, taken)
        up = measure.upload(way, plan.bulk_size, taken, source)
        for figure, result in (("down", down), ("up", up)):
            figures.add(f"bulk_{figure}_mb_s", way.name, result.mb_per_s)
            if result.relay_cpu_s_per_gb is not None:
                figures.add(f"cpu_{figure}_s_gb", way.name, result.relay_cpu_s_per_gb)

    def echo(way: Way) -> None:
        times = sorted(measure.echo_us(way, plan.strokes))
        figures.add("echo_p50_us", way.name, statistics.median(times))
        figures.add("echo_p99_us", way.name, times[int(len(times) * 0.99)])

    interleave("set-up", compared, plan.set_up_rounds, set_up)
    interleave("bulk", compared, plan.bulk_rounds, bulk)
    interleave("key echo", compared, plan.echo_rounds, echo)
    return figures


def interleave(title: str, compared: Iterable[Way], rounds: int, once: Callable[[Way], None]) -> None:
    """Measure all ways once per round, in a new order each time."""
    order = list(compared)
    for number in range(1, rounds + 1):
        random.shuffle(order)
        sys.stderr.write(f"\r{title}: round {number} of {rounds}   ")
        sys.stderr.flush()
        for way in order:
            once(way)
    sys.stderr.write("\n")


main()
