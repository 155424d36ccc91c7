"""Events as JSON by HTTP POST, signed with a shared secret, and with a key by which repetitions are known."""

import hashlib
import hmac
import ssl
from collections.abc import Mapping

from interlock.adapters.export.http import TIMEOUT_S, Url, post
from interlock.domain.export import Batch
from interlock.ports import Clock

SIGNATURE, IDEMPOTENCY = "Interlock-Signature", "Idempotency-Key"


class Webhook:
    """`ports.Receiver`. Acknowledged is what is answered with a status of 200 to 299."""

    def __init__(
        self,
        url: Url,
        secret: bytes,
        *,
        headers: Mapping[str, str],
        context: ssl.SSLContext | None,
        clock: Clock,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._url = url
        self._secret = secret
        self._headers = headers
        self._context = context
        self._clock = clock
        self._timeout = timeout

    async def send(self, batch: Batch) -> None:
        """`ports.Receiver`."""
        body = payload(batch)
        time = str(int(self._clock.now().timestamp()))
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            "User-Agent": "Interlock",
            IDEMPOTENCY: batch.key,
            SIGNATURE: f"t={time},v1={signature(self._secret, time, body)}",
        }
        answer = await post(self._url, body, headers, context=self._context, timeout=self._timeout)
        answer.check()

    async def close(self) -> None:
        """There is no connection between two batches."""


def payload(batch: Batch) -> bytes:
    """``{"export": NAME, "events": [...]}``; the same for the same batch, byte for byte."""
    events = ",".join(record.line for record in batch.records)
    return f'{{"export":"{batch.name}","cursor":"{batch.end}","events":[{events}]}}'.encode()


def signature(secret: bytes, time: str, body: bytes) -> str:
    """HMAC-SHA-256 of time, a dot, and the body, hexadecimal."""
    return hmac.new(secret, time.encode() + b"." + body, hashlib.sha256).hexdigest()
