"""Which of several processes on one database does what only one may do.

A file has one gateway, which does everything. In PostgreSQL a duty is an advisory lock of a transaction that does
nothing else, on a connection of its own: it ends with the connection, and the server ends it if nothing has been
asked in it for a while (`idle_in_transaction_session_timeout`). So a process that was killed gives its duties up
at once, and one that hangs, or whose network is cut, ten seconds later. No row is written, and none is kept from
being tidied up: the transaction holds no snapshot between two questions.
"""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from typing import Any

from interlock.adapters.db.backend import Backend, named_errors

_PREFIX = b"interlock.duty."
_TAKE = "SELECT pg_try_advisory_xact_lock(%s)"
_STILL = "SELECT 1"


class SqlLeads:
    """`ports.Leads`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._thread = ThreadPoolExecutor(1, "database-leads")  # of its own: an answer may take long
        self._connection: Any = None  # what follows is used by that thread only, until it has ended
        self._held: set[str] = set()

    async def hold(self, duties: Collection[str]) -> frozenset[str]:
        """`ports.Leads`."""
        if self._backend.apart is None:
            return frozenset(duties)
        loop, wanted = asyncio.get_running_loop(), tuple(duties)
        return await loop.run_in_executor(self._thread, self._hold, self._backend.apart, wanted)

    def close(self) -> None:
        """Give everything up. Blocks, not long."""
        self._thread.shutdown()  # it has nothing to do any more
        self._let_go()

    def _hold(self, connect: Callable[[], Any], duties: tuple[str, ...]) -> frozenset[str]:
        try:
            with named_errors(self._backend):
                if self._connection is None:
                    self._connection = connect()
                    self._connection.execute("BEGIN")
                self._connection.execute(_STILL)
                for duty in duties:
                    if duty not in self._held and self._connection.execute(_TAKE, [_key(duty)]).fetchone()[0]:
                        self._held.add(duty)
        except BaseException:
            self._let_go()
            raise
        return frozenset(self._held.intersection(duties))

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            with suppress(self._backend.error):
                connection.close()


def _key(duty: str) -> int:
    """64 bits with a sign, as advisory locks are named."""
    return int.from_bytes(sha256(_PREFIX + duty.encode()).digest()[:8], signed=True)
