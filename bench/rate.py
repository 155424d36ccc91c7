"""Short sessions in a row, by several openers at once."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from bench import measure
from bench.rig import Rig
from bench.ways import Way

OPENERS = 20


def session_rate(rig: Rig, way: Way) -> Mapping[str, float | None]:
    """How many `ssh host true` end per second when 20 begin at once, and as soon as one ends the next begins."""
    sessions = rig.scale.sessions * 4

    def one(_number: int) -> None:
        measure.run_client(way.argv("true"))

    with ThreadPoolExecutor(OPENERS) as openers:
        began = time.perf_counter()
        list(openers.map(one, range(sessions)))
        return {"sessions_per_s": sessions / (time.perf_counter() - began)}
