"""asyncssh's log at the cost of a log that nobody reads: what would not be written is not made ready to be.

It dresses every packet and every argument in words first and asks for the level last, 50 times per session.
"""

from typing import Any

from asyncssh.logging import SSHLogger
from asyncssh.packet import SSHPacketLogger

_PACKETS = 3
"""The debug level from which on packets are logged."""

_write = SSHLogger.log
_write_sent, _write_received = SSHPacketLogger.log_sent_packet, SSHPacketLogger.log_received_packet


def _log(self: SSHLogger, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
    if self._logger.isEnabledFor(level):
        _write(self, level, msg, *args, **kwargs)


def _log_sent(self: SSHPacketLogger, *args: Any) -> None:
    if SSHLogger._debug_level >= _PACKETS:
        _write_sent(self, *args)


def _log_received(self: SSHPacketLogger, *args: Any) -> None:
    if SSHLogger._debug_level >= _PACKETS:
        _write_received(self, *args)


def hush() -> None:
    """From now on, in this process. Idempotent."""
    setattr(SSHLogger, "log", _log)  # noqa: B010 - mypy knows no other way to replace a method
    setattr(SSHPacketLogger, "log_sent_packet", _log_sent)  # noqa: B010
    setattr(SSHPacketLogger, "log_received_packet", _log_received)  # noqa: B010
