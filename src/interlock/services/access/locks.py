"""A daemon's view of the locks: asked before something begins, and the end of what is live when it changes.

Every daemon keeps the whole list, which is short, and follows it by a feed. A view that hears nothing for a while
is stale: what it knows still counts, and in a strict cluster nobody new comes in until it is current again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime

import structlog

from interlock.core.errors import Denied, InterlockError, Locked
from interlock.domain.granted import Granted
from interlock.domain.lock import NO_LOCKS, LockList, Subject
from interlock.ports import Clock, LockFeed, LockSource
from interlock.services.audit.outbox import Sleep

STALE_S = 20.0
"""Seconds without a word from the feed after which the view is stale: three of its beats were lost."""

RETRY_S = 0.5
"""Seconds before a feed that ended is asked again: what is missed meanwhile ends no session in time."""

SETTLED_S = 10.0
"""Seconds after a change of policy for which it is not known of those who come whether it was looked at before or
after the change: they are judged once more."""

_log = structlog.get_logger()

End = Callable[[Denied], None]


class LockWatch:
    """Somebody who may be locked out while he is here, or lose what was granted; `stop` when he leaves."""

    def __init__(
        self,
        subject: Subject,
        end: End,
        registry: "dict[LockWatch, None]",
        granted: Granted | None = None,
        judged: str = "",
    ) -> None:
        self.subject = subject
        self.end = end
        self.granted = granted  # None: only locks can end it
        self.judged = judged  # by which `LockList.policy`; empty: that is not known
        self._registry = registry
        registry[self] = None

    @property
    def lasts(self) -> bool:
        """Whether it was not stopped."""
        return self in self._registry

    def stop(self) -> None:
        """Nobody is here any more; harmless to repeat."""
        self._registry.pop(self, None)


class Locks:
    """The view of one daemon. `run` belongs into a TaskGroup of the daemon."""

    def __init__(self, feed: LockFeed, *, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._feed = feed
        self._clock = clock
        self._sleep = sleep
        self._list = NO_LOCKS
        self._heard = clock.monotonic()  # when the feed last said something; at first, when we began to listen
        self._watches: dict[LockWatch, None] = {}
        self._words = 0  # how often the feed has said something
        self._said: asyncio.Future[None] | None = None  # done at its next word; made by who waits for it
        self.on_trust: Callable[[], None] = lambda: None  # the cluster's authorities have changed, or are heard of
        self._changed = -SETTLED_S  # when policy has changed last, on the monotonic clock
        self.due = asyncio.Event()  # set when somebody has to be judged; for `rejudging`, which clears it

    @property
    def stale(self) -> bool:
        """Whether the list may be out of date."""
        return self._clock.monotonic() - self._heard > STALE_S

    @property
    def offline_s(self) -> int:
        """`offline.View`: as the feed said last; nothing before it has said anything."""
        return self._list.offline_s

    def check(self, subject: Subject) -> None:
        """Locked if a lock concerns the subject; Denied if that cannot be known and has to be."""
        self._list.check(subject, now=self._clock.now(), stale=self.stale)

    @property
    def policy(self) -> str:
        """`LockList.policy`, as the feed said last."""
        return self._list.policy

    def watch(self, subject: Subject, end: End, granted: Granted | None = None) -> LockWatch:
        """Call ``end``, once, when a lock concerns the subject from now on, or what was granted is taken away."""
        settled = self._clock.monotonic() - self._changed >= SETTLED_S
        watch = LockWatch(subject, end, self._watches, granted, self.policy if settled else "")
        if not settled:
            self.due.set()
        return watch

    def unjudged(self) -> list[LockWatch]:
        """Those whom the present policy has not judged; nobody where auth does not say when it changes."""
        policy = self.policy
        return [each for each in self._watches if policy and each.granted is not None and each.judged != policy]

    async def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """`ports.LockFeed` for others: what this view hears, as it hears it; nothing while it is stale."""
        told = self._words if self.stale else 0
        while True:
            if told == self._words:
                await asyncio.shield(self._next_word())
            told = self._words
            yield self._list

    def _next_word(self) -> "asyncio.Future[None]":
        if self._said is None or self._said.done():
            self._said = asyncio.get_running_loop().create_future()
        return self._said

    async def run(self) -> None:
        """Follow the feed until cancelled. A feed that fails or falls silent is asked again."""
        failing = ""
        while True:
            try:
                await self._follow_feed()
                error: InterlockError | None = None
            except InterlockError as caught:
                error = caught
            reason = error.reason if error is not None else "the feed of locks fell silent"
            if reason != failing:
                _log.warning("locks.feed_lost", reason=reason)
            failing = reason
            await self._sleep(RETRY_S)

    async def _follow_feed(self) -> None:
        """Return when the feed ends or is silent for too long."""
        async with aclosing(self._feed.follow_locks()) as feed:
            while True:
                try:
                    async with asyncio.timeout(STALE_S):
                        heard = await anext(feed, None)
                except TimeoutError:
                    return
                if heard is None:
                    return
                self._hear(heard)

    def _hear(self, heard: LockList) -> None:
        self._heard = self._clock.monotonic()
        self._words += 1
        if heard != self._list:
            if heard.offline_s != self._list.offline_s:
                _log.info("access.offline_allowed", seconds=heard.offline_s)
            if heard.trust != self._list.trust:
                self.on_trust()
            if heard.policy != self._list.policy:
                self._changed = self._heard
                self.due.set()
            self._list = heard
            self._judge_all()
        if self._said is not None and not self._said.done():
            self._said.set_result(None)

    def _judge_all(self) -> None:
        """End whatever is locked out now; one that fails to end must not save the others."""
        now = self._clock.now()
        for watch in list(self._watches):
            try:
                self._list.check(watch.subject, now=now)
            except Locked as lock:
                end_watched(watch, lock)


def end_watched(watch: LockWatch, why: Denied) -> None:
    """End it, unless it has ended."""
    if not watch.lasts:
        return
    watch.stop()
    _log.info("locks.ends", subject=watch.subject, reason=why.reason)
    try:
        watch.end(why)
    except Exception:  # noqa: BLE001 - a bug met by one connection
        _log.exception("locks.end_failed", subject=watch.subject)


async def check_stored(source: LockSource, subject: Subject, *, now: datetime) -> None:
    """The same question in auth's own process, to what is stored: no view can be more current. Locked if so."""
    LockList(tuple(await source.locks())).check(subject, now=now)
