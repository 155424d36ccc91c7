"""Examinations of a set-up: what is found, how bad it is, and what to do about it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from interlock.core.errors import InterlockError

PATIENCE_S = 30.0
"""Seconds for one part."""


class Verdict(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # works, but somebody should look
    PROBLEM = "problem"  # somebody cannot work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    part: str
    verdict: Verdict
    text: str
    advice: str = ""  # what to do, unless all is well


Examination = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one part. An InterlockError is a problem of that part."""


async def examine(parts: Mapping[str, Examination]) -> list[Finding]:
    """All findings, part by part in this order; a part that fails or hangs spoils no other."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_one(part, look)) for part, look in parts.items()]
    return [finding for each in running for finding in each.result()]


async def _one(part: str, look: Examination) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await look()
    except InterlockError as error:
        return [Finding(part, Verdict.PROBLEM, error.public)]
    except TimeoutError:
        return [Finding(part, Verdict.PROBLEM, f"no answer within {PATIENCE_S:g} s")]
