"""How often a test struck, and where: a sweep over steps is worth what it has really reached."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

PROPERTY = "strikes"
"""Under this name a test's report has the number."""


@dataclass
class Strikes:
    """Of one test."""

    count: int = 0

    @contextlib.contextmanager
    def at(self, where: str) -> Iterator[None]:
        """What happens within is about this step, and an error says so."""
        try:
            yield
        except Exception as error:
            error.add_note(f"struck {where}")
            raise

    def happened(self, *, really: bool = True) -> None:
        """A fault has come about."""
        self.count += really
