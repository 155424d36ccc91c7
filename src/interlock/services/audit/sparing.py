"""What strangers make the audit log hold: of many refusals from one place some are told, of the others the number.

Whoever has not got in can be refused as often as they like, and each refusal would be an event for good. Those of
people who are in are bounded where they arise (`core.limits.REFUSALS_TOLD`). Metrics count all of them.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from interlock.core.address import source_of
from interlock.domain.audit import AuditEvent, Kind
from interlock.services.audit.allowance import Allowance

STRANGERS = frozenset(
    {
        Kind.AUTH_FAILURE,
        Kind.USER_LOGIN_FAILURE,
        Kind.USER_SSO_LOGIN_FAILURE,
        Kind.MFA_CONFIRM_FAILURE,
        Kind.RECOVERY_CODE_FAILURE,
    }
)
"""What is told of people who are not let in."""

AT_ONCE, EACH_S = 200, 30.0
"""Refusals of one source that are told one after the other, and the seconds after which one more is."""

ALL_AT_ONCE, ALL_EACH_S = 5000, 1.0
"""The same of all sources together: whoever has many addresses fills no log either."""

MAX_SOURCES = 10_000
"""Sources that are remembered; the longest silent one is forgotten first, but for the number that was not told."""


@dataclass(slots=True)
class _Source:
    allowance: Allowance
    untold: int = 0


class Sparing:
    """Of one process."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._all: _Source | None = None

    def spare(self, event: AuditEvent) -> AuditEvent | None:
        """The event, which says how many were left out before it (``untold``); None if it is left out."""
        if event.kind not in STRANGERS:
            return event
        now = event.time.timestamp()
        if self._all is None:
            self._all = _Source(Allowance(ALL_AT_ONCE, 1 / ALL_EACH_S, now=now))
        mine = self._source(source_of(str(event.fields.get("addr.remote", ""))), now, self._all)
        if not mine.allowance.take(now=now) or not self._all.allowance.take(now=now):
            mine.untold += 1
            return None
        untold = mine.untold + self._all.untold
        mine.untold = self._all.untold = 0
        return replace(event, fields={**event.fields, "untold": untold}) if untold else event

    def _source(self, source: str, now: float, everybody: _Source) -> _Source:
        found = self._sources.get(source)
        if found is None:
            found = self._sources[source] = _Source(Allowance(AT_ONCE, 1 / EACH_S, now=now))
            if len(self._sources) > MAX_SOURCES:
                _, forgotten = self._sources.popitem(last=False)
                everybody.untold += forgotten.untold
        self._sources.move_to_end(source)
        return found
