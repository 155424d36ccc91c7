"""Who takes part in a session, and what each side of it can be asked for."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from interlock.domain.party import Participant
from interlock.domain.session import Window


class Host(Protocol):
    """The session's own SSH server."""

    def hold(self) -> None:
        """What was asked for must wait, until `begin`."""
        ...

    def begin(self) -> None:
        """Start what was held: enough moderators are there."""
        ...

    def type(self, data: bytes) -> int:
        """Put what a peer typed into the session: how much was taken. `Parties.hungry` tells when to go on."""
        ...

    def tell(self, data: bytes) -> None:
        """Show the owner a notice, as far as there is room."""
        ...

    def pause(self) -> None:
        """Let neither input nor output pass."""
        ...

    def resume(self) -> None:
        """Let both pass again."""
        ...

    def terminate(self, text: str) -> None:
        """End the session; the owner reads the text."""
        ...


class Seat(Protocol):
    """A party's channel."""

    @property
    def full(self) -> bool:
        """Whether it takes no more for now."""
        ...

    async def taken(self) -> None:
        """Return when it is not full any more."""
        ...

    def show(self, data: bytes) -> None:
        """Send to the party's terminal."""
        ...

    def listen(self, wanted: bool) -> None:
        """Go on, or stop for now, to bring what the party types."""
        ...

    def close(self, data: bytes, status: int) -> None:
        """Send the last bytes, and end."""
        ...


@dataclass(eq=False)
class Party:
    """Somebody who takes part now."""

    participant: Participant
    seat: Seat
    window: Window | None
    in_sync: bool = False  # what is written now may be shown: it follows what the party has seen
    unsent: bytes = b""  # typed by a peer and not taken yet

    def __post_init__(self) -> None:
        """The first thing to do is to show the screen."""
        self.stale = asyncio.Event()
        self.stale.set()

    def lose(self) -> None:
        """It missed something: the screen must be shown anew."""
        self.in_sync = False
        self.stale.set()
