"""Narrow protocols: what one of several processes does for all of them."""

from collections.abc import Collection
from typing import Protocol

HELD_S = 8.0
"""Seconds for which what was given counts, from the moment at which it was asked for."""


class Leads(Protocol):
    """Gives duties of the cluster to one process at a time."""

    async def hold(self, duties: Collection[str]) -> frozenset[str]:
        """Those of them that are this process's now, and nobody else's for the next `HELD_S`.

        To be asked again in time; what is this process's stays so as long as it asks. StoreError: none of them.
        """
        ...
