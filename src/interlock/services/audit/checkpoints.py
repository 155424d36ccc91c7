"""Signs how far the audit log goes, while there is news: whoever changes it behind our back cannot sign again.

A checkpoint is also a line of the gateway's log and leaves with every export, so that a copy of it is where
whoever takes over this machine does not reach.
"""

from collections.abc import Callable
from functools import partial

import structlog

from interlock.domain.audit import rfc3339
from interlock.domain.chain import Checkpoint, Head
from interlock.domain.signing import Purpose, SigningKey
from interlock.ports import CheckpointStore, Clock

AT_ONCE = 50
"""Checkpoints of one call: more than a busy gateway needs in ten seconds, and no long wait for others."""

_log = structlog.get_logger()


class Checkpoints:
    """The signer, with the key as it is now. Any process of the cluster may sign for all writers."""

    def __init__(
        self, store: CheckpointStore, key: Callable[[], SigningKey], *, cluster: str, clock: Clock
    ) -> None:
        self._store = store
        self._key = key
        self._cluster = cluster
        self._clock = clock

    async def sign(self) -> int:
        """Sign what is stored by now, or a good deal of it; the number of checkpoints. StoreError."""
        for made in range(AT_ONCE):
            if not await self._store.unsigned():
                return made
            key = self._key()
            signed = await self._store.sign(partial(self._make, key), key.public)
            if signed is not None:
                body, signature = signed
                _log.info("audit.checkpoint", body=body, signature=signature.hex())
        return AT_ONCE

    def _make(self, key: SigningKey, last: str | None, heads: tuple[Head, ...]) -> tuple[str, bytes]:
        time = rfc3339(self._clock.now())
        body = Checkpoint.after(last, cluster=self._cluster, time=time, heads=heads).encode()
        return body, key.sign(Purpose.CHECKPOINT, body.encode())
