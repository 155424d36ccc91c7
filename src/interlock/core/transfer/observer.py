"""What every observer of a channel can do, and which one a command needs."""

from collections.abc import Sequence
from typing import Protocol

from interlock.core.sides import Side
from interlock.core.transfer.command import ScpCommand, SftpCommand
from interlock.core.transfer.operations import Allowed, Operation
from interlock.core.transfer.scp import ScpObserver
from interlock.core.transfer.sftp import SftpObserver


class Observer(Protocol):
    """Sees a channel's bytes in passing. Nothing it is shown makes it raise."""

    def feed(self, side: Side, data: memoryview) -> Sequence[Operation]:
        """The next bytes from ``side``, in the order in which both directions pass; what is known since."""
        ...

    def stop(self, reason: str) -> Sequence[Operation]:
        """Observe nothing more, for a reason that the bytes do not show."""
        ...

    def finish(self) -> Sequence[Operation]:
        """The channel is over."""
        ...


def observer_for(command: SftpCommand | ScpCommand, allowed: Allowed) -> Observer:
    """A new observer. What ``allowed`` says of scp is to be judged by its command, before it runs."""
    return ScpObserver(command) if isinstance(command, ScpCommand) else SftpObserver(allowed)
