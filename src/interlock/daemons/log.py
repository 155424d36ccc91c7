"""The log of a process: structured lines on stderr, which nothing depends on."""

import contextlib
import logging
import sys

import structlog

from interlock.core.errors import ConfigError


class _Lines(structlog.PrintLogger):
    """Whoever has something to say goes on if it cannot be written, as the disk under the log is full or ill."""

    def msg(self, message: str) -> None:
        """Write a line, if that is possible."""
        with contextlib.suppress(OSError):
            super().msg(message)

    debug = info = warning = error = critical = msg


def set_up_log(level: str, **facts: object) -> None:
    """Structured lines on stderr, each with these facts. ConfigError for an unknown level."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"log_level must be debug, info, warning or error, not {level!r}")
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            lambda _logger, _method, event: {**event, **facts},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(sys.stderr),
    )
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
