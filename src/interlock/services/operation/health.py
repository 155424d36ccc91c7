"""Whether a daemon can do its work now, asked part by part, each with a time limit of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from interlock.core.errors import InterlockError

PATIENCE_S = 3.0
"""Seconds after which a part that does not answer counts as failed."""

Check = Callable[[], Awaitable[None]]
"""Returns if all is well; InterlockError, whose public text says what is not."""


class Health:
    """The checks of one daemon."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    async def problems(self) -> dict[str, str]:
        """Of each part what is wrong with it; empty if nothing is."""
        async with asyncio.TaskGroup() as tasks:
            asked = {name: tasks.create_task(_ask(check)) for name, check in self._checks.items()}
        return {name: task.result() for name, task in asked.items()}


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await check()
    except InterlockError as error:
        return error.public
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    return ""
