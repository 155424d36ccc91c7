"""The two legs of a relayed connection."""

from enum import Enum


class Side(Enum):
    """Where a message comes from or goes to."""

    CLIENT = "client"
    TARGET = "target"

    __hash__ = object.__hash__  # by identity, as members compare: Enum's own is a call for each look-up

    @property
    def other(self) -> "Side":
        """The opposite leg."""
        return Side.TARGET if self is Side.CLIENT else Side.CLIENT
