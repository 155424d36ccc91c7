"""Threads for requests that may hang: a process that ends does not wait for them as it does for a pool's."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """So many calls at one time; what is more waits in order. The threads begin with the first call."""

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._started = False
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()

    async def run(self, call: Callable[[*Ts], T], *values: *Ts) -> T:
        """What the call returns or raises. If nobody waits any more it still happens, unless it has not begun."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]  # T may be None itself

        def work() -> None:
            if answer.cancelled():
                return
            result, error = None, None
            try:
                result = call(*values)
            except BaseException as caught:  # noqa: BLE001 - whoever waits gets it
                error = caught
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # the loop is closed: the process ends
                return

        self._start()
        self._waiting.put(work)
        return await answer

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        for number in range(self._number):
            threading.Thread(target=self._serve, name=f"{self._name}.{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._waiting.get()()
