"""The two legs of a relayed connection."""

from enum import Enum


class Side(Enum):
    """Where a message comes from or goes to."""

    CLIENT = "client"
    TARGET = "target"

    @property
    def other(self) -> "Side":
        """The opposite leg."""
        return Side.TARGET if self is Side.CLIENT else Side.CLIENT
