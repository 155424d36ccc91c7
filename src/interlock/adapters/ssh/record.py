"""What a relayed connection carries beside its sessions, and that it was there at all: told to the audit log."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from interlock.core.effects import ForwardClosed, ForwardEffect, ForwardFailed, ForwardOpened, Granted, ListenBegan
from interlock.core.errors import InterlockError, RecordingError
from interlock.services.sessions.forwarding import GRANTED, RECORD_AFTER_S, Forward, ForwardJournal, Told

_log = structlog.get_logger()


class ConnectionRecord:
    """Performs the relay's `ForwardEffect`. ``begin``: a session for the connection itself; InterlockError.

    ``on_lost``: what is forwarded cannot be told any more, so the connection has to end; never called from within
    a call to this object. ``live``: the sessions of the connection by channel.
    """

    def __init__(
        self,
        *,
        live: Mapping[int, Told],
        begin: Callable[[], Told],
        on_lost: Callable[[InterlockError], None],
    ) -> None:
        self._live = live
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None  # from `watch` on, once
        self._journal = ForwardJournal(
            begin=begin,
            running=lambda: [session for session in live.values() if session.started],
            on_failure=self._lost,
        )

    @property
    def begun(self) -> bool:
        """Whether the connection itself is a session now."""
        return self._journal.record is not None

    def watch(self, quiet: Callable[[], bool]) -> None:
        """Make the connection a session if it is still ``quiet``, without any session, in a while (``-N``)."""
        self._timer = asyncio.get_running_loop().call_later(RECORD_AFTER_S, self._look, quiet)

    def session_began(self) -> None:
        """A session of the connection runs now."""
        try:
            self._journal.session_began()
        except InterlockError as error:
            self._lost(error)

    def granted(self, effect: Granted) -> None:
        """X11 or the agent, in a session."""
        self._live[effect.channel].tell(GRANTED[effect.what], {"success": True})

    def perform(self, effect: ForwardEffect) -> None:
        """Tell it."""
        try:
            self._tell(effect)
        except InterlockError as error:
            self._lost(error)

    def end(self, *, failure: str, quiet: bool) -> None:
        """The connection is over, and what was forwarded has ended; ``quiet``: nothing was told of it yet."""
        if self._timer is not None:
            self._timer.cancel()
        if quiet:
            with contextlib.suppress(InterlockError):  # the log says why nothing is told
                self._journal.ensure_record()
        self._journal.end(failure)

    def _tell(self, effect: ForwardEffect) -> None:
        match effect:
            case ForwardOpened(forward, kind, address, origin, channel):
                session = self._live.get(channel) if channel is not None else None
                self._journal.opened(forward, Forward(kind, address, origin), session)
            case ForwardClosed(forward, sent, received):
                self._journal.closed(forward, sent=sent, received=received)
            case ForwardFailed(what, address, public, reason):
                _log.info("forwarder.refused", what=what, reason=reason)
                self._journal.failed(Forward(what, address), public=public, reason=reason)
            case ListenBegan(what, address):
                self._journal.listening(Forward(what, address))

    def _look(self, quiet: Callable[[], bool]) -> None:
        self._timer = None
        if quiet() or self._journal.holds:
            try:
                self._journal.ensure_record()
            except InterlockError as error:
                self._on_lost(error)

    def _lost(self, error: InterlockError | RecordingError) -> None:
        asyncio.get_running_loop().call_soon(self._on_lost, error)
