"""The log of a process is for people; what it is about does not depend on whether a line can be written."""

import io
import json
import sys

import pytest
import structlog

from interlock.core.errors import ConfigError
from interlock.daemons.log import set_up_log


class Disk(io.StringIO):
    """Where the lines go; full for as long as ``full`` is true."""

    full = False

    def write(self, text: str) -> int:
        """As a file does."""
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_each_line_has_the_process_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, if nobody sits at a terminal."""
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    set_up_log("info", worker="w1")
    structlog.get_logger().info("a.thing", sid="s")
    structlog.get_logger().debug("too.little")
    line = json.loads(disk.getvalue())
    assert (line["event"], line["worker"], line["sid"], line["level"]) == ("a.thing", "w1", "s", "info")


@pytest.mark.parametrize("level", ["info", "warning", "error", "exception", "critical"])
def test_a_line_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """A full disk under the log must not end a gateway and everybody's sessions."""
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    set_up_log("info")
    log = structlog.get_logger()
    disk.full = True
    getattr(log, level)("lost")
    getattr(log.bind(sid="s"), level)("lost")
    disk.full = False
    getattr(log, level)("kept")
    assert [json.loads(line)["event"] for line in disk.getvalue().splitlines()] == ["kept"]


def test_an_unknown_level_is_said() -> None:
    """It is a setting."""
    with pytest.raises(ConfigError, match="log_level"):
        set_up_log("loud")
