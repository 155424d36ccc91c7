"""What sees a session's bytes in passing: its recorder and, if files are moved, their observer."""

from typing import Protocol

from interlock.core import wire
from interlock.core.flows import Tap
from interlock.core.sides import Side
from interlock.domain.recording import Stream
from interlock.services.sessions.transfers import FileTransfers


class Session(Protocol):
    """What is tapped for."""

    @property
    def transfers(self) -> FileTransfers | None:
        """Who is to see what passes if files are moved."""
        ...

    @property
    def keeps_input(self) -> bool:
        """Whether anything of the input is recorded."""
        ...

    def input(self, data: bytes | memoryview) -> None:
        """Record it."""
        ...

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Record it."""
        ...


def make_taps(session: Session, *, records: bool) -> dict[Side, Tap]:
    """By the side that the bytes come from; for a session that has started. ``records``: whether it is ours to."""
    output, transfers = session.output, session.transfers
    record_input = session.input if records and session.keeps_input else None

    def from_target(kind: int, data: memoryview) -> None:
        output(Stream.STDERR if kind == wire.EXTENDED_DATA_STDERR else Stream.STDOUT, data)

    def input_only(_kind: int, data: memoryview) -> None:
        if record_input is not None:
            record_input(data)

    if transfers is None:
        taps: dict[Side, Tap] = {Side.TARGET: from_target} if records else {}
        return taps if record_input is None else taps | {Side.CLIENT: input_only}
    feed, strange = transfers.feed, transfers.strange

    def from_target_observed(kind: int, data: memoryview) -> None:
        from_target(kind, data)
        if kind == 0:
            feed(Side.TARGET, data)

    def from_client(kind: int, data: memoryview) -> None:
        if record_input is not None:
            record_input(data)
        if kind == 0:
            feed(Side.CLIENT, data)
        else:
            strange(data)

    return {Side.TARGET: from_target_observed, Side.CLIENT: from_client}
