"""When a fault can still come about, and when not any more."""

from itertools import chain, repeat
from pathlib import Path
from typing import cast

from interlock.testing.aftermath import Aftermath
from interlock.testing.gateway import Cluster


class Idle:
    """A cluster about which there is nothing to say."""

    def __init__(self, directory: Path) -> None:
        self.directory = self.data = directory

    def json(self, *_arguments: str) -> list[object]:
        """No sessions, events and recordings."""
        return []


def test_a_session_is_over_when_what_it_wrote_is_gone(tmp_path: Path) -> None:
    """The last calls that a fault may strike at are about that."""
    (tmp_path / "x.part").touch()
    aftermath = Aftermath(cast("Cluster", Idle(tmp_path)))
    answers = chain([False, False], repeat(True))
    assert aftermath.wait_either(lambda: next(answers))


def test_a_fault_that_does_not_come_about_is_not_waited_for(tmp_path: Path) -> None:
    """All is in order."""
    assert not Aftermath(cast("Cluster", Idle(tmp_path))).wait_either(lambda: False)
