"""What one connection was refused, told to the audit log: each with its private reason, and not without end.

ssh shows its user little of a refused request, so the audit log is where the cause can be found. Whether something
is refused is decided elsewhere.
"""

from collections.abc import Mapping
from typing import Protocol

from interlock.core.errors import InterlockError, LimitReached
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.session import SessionContext

_LAST = " (later refusals on this connection are not reported)"


class Reporter(Protocol):
    """Who emits the events."""

    def report(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Emit an audit event that belongs to no session."""
        ...

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Emit ``session.rejected``, of a session or of whom the fields describe."""
        ...


class Refusable(Protocol):
    """A live session that may tell of refusals itself, so that they are counted with its other events."""

    @property
    def ctx(self) -> SessionContext:
        """Whose it is, and whether its events are our duty."""
        ...

    def refused(self, what: str, *, public: str, reason: str) -> None:
        """Something was refused within the session; ``what`` is the request's name."""
        ...


class Refusals:
    """The refusals of one connection."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._told = 0

    @property
    def told(self) -> bool:
        """Whether there were any."""
        return self._told > 0

    def before_session(self, ctx: SessionContext, error: InterlockError) -> None:
        """A session was refused."""
        if (reason := self._counted(error)) is not None and isinstance(error, LimitReached):
            self._reporter.rejected(_fields(ctx) | {"max": error.maximum}, public=error.public, reason=reason)
        elif reason is not None:
            self._reporter.rejected(ctx, public=error.public, reason=reason)

    def within_session(self, live: Refusable, what: str, error: InterlockError) -> None:
        """A request of a live session was refused.

        The ID of a session that a forwarder records is the forwarder's: auth takes nothing else under it. The
        event then stands by itself and names the session in its reason.
        """
        if (reason := self._counted(error)) is None:
            return
        ctx = live.ctx
        if ctx.duties.emits:
            live.refused(what, public=error.public, reason=reason)
        else:
            told = f"{reason} (in session {ctx.sid}, which the forwarder records)"
            self._reporter.rejected(_fields(ctx), public=error.public, reason=told)

    def _counted(self, error: InterlockError) -> str | None:
        """The reason to tell; None if enough was told."""
        self._told += 1
        if self._told > REFUSALS_TOLD:
            return None
        return error.reason + (_LAST if self._told == REFUSALS_TOLD else "")


def _fields(ctx: SessionContext) -> dict[str, JsonValue]:
    return ctx.user_fields() | ctx.server_fields() | ctx.connection_fields()
