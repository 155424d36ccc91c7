"""What auth said of people a while ago counts while no auth answers, for as long as policy says (ADR-0023).

Only a daemon that verifies a person's signature itself may go by it: the proxy at its door, a node at its own.
Nothing is signed ahead: a certificate for a target needs an auth that answers. What auth refuses meanwhile is
forgotten at once, locks count as the daemon knows them, and every decision by an old answer is told.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import structlog

from interlock.core.errors import Away, InterlockError, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, HardwareKey
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.identity import Claims
from interlock.domain.lock import MAX_OFFLINE_S, Subject
from interlock.domain.target import Target
from interlock.ports import Admission, Clock, EventSink
from interlock.services.audit.emitter import EventFactory

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

MAX_KEPT = 4096
"""Answers that are kept, of each kind; the oldest is forgotten first."""

_log = structlog.get_logger()


class View(Protocol):
    """What the daemon hears of policy and locks; services.access.locks.Locks."""

    @property
    def offline_s(self) -> int:
        """For how many seconds an answer counts while no auth answers, as auth said last."""
        ...

    def check(self, subject: Subject) -> None:
        """Locked if a lock concerns the subject; Denied if that cannot be known and has to be."""
        ...


Told = Callable[[Subject, datetime], None]
"""Is told who was judged by an old answer, and when that was given."""


@dataclass(frozen=True, slots=True)
class _Answer(Generic[ValueT]):
    value: ValueT
    since: float  # on the monotonic clock
    given: datetime
    lasts: int  # seconds, as policy was when it was given


class Answers(Generic[KeyT, ValueT]):
    """The answers to questions of one kind."""

    def __init__(
        self, view: View, *, clock: Clock, fresh_s: float = 0.0, told: Told = lambda _who, _given: None
    ) -> None:
        """``fresh_s``: seconds for which an answer is used again without a question."""
        self._view = view
        self._clock = clock
        self._fresh_s = fresh_s
        self._told = told
        self._kept: OrderedDict[KeyT, _Answer[ValueT]] = OrderedDict()

    async def ask(self, key: KeyT, subject: Subject, question: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """What auth says, or what it has said if it does not answer; a refusal is its last word."""
        known = self._kept.get(key)
        if known is not None and self._fresh(known):
            return known.value
        try:
            value = await question()
        except Away as error:
            return self._old(known, subject, error)
        except StoreError:  # it is there and cannot tell: that takes nothing back, and lets nobody in
            raise
        except InterlockError:
            self._kept.pop(key, None)
            raise
        now = self._clock.monotonic(), self._clock.now()
        self._kept[key] = _Answer(value, *now, self._view.offline_s)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return value

    def _fresh(self, known: _Answer[ValueT]) -> bool:
        """An answer of a time when it would have counted for less is asked for again."""
        young = self._clock.monotonic() - known.since < self._fresh_s
        return young and known.lasts >= self._view.offline_s

    def _old(self, known: _Answer[ValueT] | None, subject: Subject, error: Away) -> ValueT:
        """The stricter of what policy was then and of what was heard last counts."""
        if known is None:
            raise error
        lasts = min(known.lasts, self._view.offline_s, MAX_OFFLINE_S)
        if self._clock.monotonic() - known.since >= lasts:
            raise error
        self._view.check(subject)
        self._told(subject, known.given)
        return known.value


class OfflineAdmission:
    """`ports.Admission` of a node, by what auth said last about the same certificate, login and touch."""

    def __init__(
        self, admission: Admission, view: View, node: Callable[[], Target], *, clock: Clock, told: Told
    ) -> None:
        """``node``: whose admission it is, as locks name it."""
        self._admission = admission
        self._node = node
        self._answers: Answers[tuple[str, int, str, HardwareKey | None], Access] = Answers(
            view, clock=clock, told=told
        )

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """See `ports.Admission`."""
        key = claims.identity.cluster, claims.serial, login, claims.identity.hardware
        subject = Subject.of(claims.identity, login, self._node())
        return await self._answers.ask(key, subject, lambda: self._admission.admit(claims, login, target))


def telling(sink: EventSink, factory: EventFactory, daemon: DaemonId) -> Told:
    """Tell the audit log, which hears of it when auth is back, and this daemon's own log at once."""

    def tell(who: Subject, given: datetime) -> None:
        fields: dict[str, JsonValue] = {
            "user": who.user,
            "user_cluster_name": who.cluster,
            "answered": rfc3339(given),
            "recorded_by": daemon,
        }
        if who.login:
            fields["login"] = who.login
        if who.nodes:
            fields |= {"server_hostname": who.nodes[0], "server_id": who.nodes[-1]}
        sink.emit(factory.make(Kind.OFFLINE_ACCESS, fields))
        _log.warning("access.offline", user=who.user, login=who.login, answered=fields["answered"])

    return tell
