"""Sends the audit log to a receiver, in batches, each until it is acknowledged; never skips, never goes back.

What is sent is noted before it is sent, and that it has arrived when the receiver said so. A process that is
killed in between sends the same batch again, with the same key and the same bytes, whatever has been stored since:
so a receiver that knows the key, or the uid of an event, has everything exactly once.
"""

import asyncio

import structlog

from interlock.core.errors import ExportError, InterlockError
from interlock.domain.export import Batch, fitting
from interlock.ports import Clock, Entropy, ExportCursors, ExportSource, Receiver
from interlock.services.audit.outbox import Sleep

BATCH = 500
"""Records of one batch at most."""

POLL_S = 1.0
"""Seconds between two looks for news."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
"""Seconds between two attempts: twice as long each time, and up to half of that less, by chance."""

LONGEST_WISH_S = 300.0
"""Seconds for which a receiver may ask us to wait."""

_log = structlog.get_logger()


class Exporter:
    """One export."""

    def __init__(
        self,
        name: str,
        source: ExportSource,
        cursors: ExportCursors,
        receiver: Receiver,
        *,
        clock: Clock,
        entropy: Entropy,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.name = name
        self._source = source
        self._cursors = cursors
        self._receiver = receiver
        self._clock = clock
        self._entropy = entropy
        self._sleep = sleep

    async def prepare(self) -> None:
        """Note that it is there, so that nothing is dropped before it has it, whichever auth does either."""
        try:
            await self._cursors.state(self.name, now=self._clock.now())
        except InterlockError as error:
            _log.warning("export.not_prepared", export=self.name, reason=error.reason)

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        try:
            while True:
                wish = 0.0
                try:
                    if not await self.step():
                        await self._sleep(POLL_S)
                    elif failures:
                        _log.info("export.again", export=self.name, failures=failures)
                    failures = 0
                    continue
                except ExportError as error:
                    wish = min(error.pause, LONGEST_WISH_S)
                    _log.warning("export.retry", export=self.name, reason=error.reason)
                except InterlockError as error:
                    _log.warning("export.retry", export=self.name, reason=error.reason)
                except Exception:  # noqa: BLE001 - a bug must not end the gateway, in whose process we are
                    _log.exception("export.failed", export=self.name)
                await self._sleep(max(wish, self._pause(failures)))
                failures += 1
        finally:
            await self._let_go()

    async def finish(self) -> None:
        """Send what is left, as far as the receiver takes it at once, and let go of it."""
        try:
            while await self.step():
                pass
        except InterlockError as error:
            _log.warning("export.not_finished", export=self.name, reason=error.reason)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("export.not_finished", export=self.name)
        finally:
            await self._let_go()

    async def step(self) -> bool:
        """Send one batch; whether there was one. ExportError or StoreError: nothing is lost, ask again."""
        state = await self._cursors.state(self.name, now=self._clock.now())
        if state.pending is None:
            records = fitting(await self._source.after(state.cursor, limit=BATCH))
            if not records:
                return False
            state = await self._cursors.move(
                state, cursor=state.cursor, pending=records[-1].cursor, now=self._clock.now()
            )
        else:
            records = await self._source.after(state.cursor, limit=BATCH, until=state.pending)
        if records:
            await self._receiver.send(Batch(self.name, state.cursor, tuple(records)))
        arrived = state.pending or state.cursor
        await self._cursors.move(state, cursor=arrived, pending=None, now=self._clock.now())
        return True

    async def _let_go(self) -> None:
        try:
            await self._receiver.close()
        except Exception:  # noqa: BLE001 - as above
            _log.exception("export.not_closed", export=self.name)

    def _pause(self, failures: int) -> float:
        longest = min(FIRST_PAUSE_S * 2.0 ** min(failures, 20), LONGEST_PAUSE_S)
        return longest * (1 - self._entropy.token(1)[0] / 512)
