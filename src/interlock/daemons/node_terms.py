"""How a daemon apart from auth records: its key, with auth's warrant, and for whom contents are encrypted.

All in one file, which is written whole or not at all, for nobody else to read. A node that starts while auth is
away goes by what auth said last. One that never heard of it, since it was updated just now, begins no recording:
it could be one in the clear that was not to be.
"""

import asyncio
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from interlock.adapters.age import AgeKeys
from interlock.core.errors import RecordingError
from interlock.core.ids import DaemonId
from interlock.daemons.kept import KeptFile
from interlock.domain.container import FreshKey
from interlock.domain.signing import SEED_SIZE, SigningKey, WarrantedKey, read_warrant
from interlock.ports import Clock, Entropy, TermsSource
from interlock.services.keys.warrants import RENEW_AFTER

FILE = "recorder.json"

WAIT_S = 5.0
"""Seconds that a session waits for auth to say for the first time how recordings are kept."""

_UNKNOWN = "this node has not heard from the gateway yet how recordings are kept: try again in a moment"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is in the file."""

    key: str  # the seed of the signing key, base64
    warrant: str = ""  # base64
    recipients: tuple[str, ...] | None = None  # None: not known


class NodeTerms:
    """What auth said last: `ports.ContentKeys`. `refresh` it from time to time."""

    def __init__(self, directory: Path, node: DaemonId, *, clock: Clock, entropy: Entropy) -> None:
        """ConfigError if the file cannot be used."""
        self._file = KeptFile(directory / FILE, _Kept, otherwise=", and the node makes a new key")
        self._node = node
        self._clock = clock
        self._kept = self._load() or _Kept(b64encode(entropy.token(SEED_SIZE)).decode())
        self._key = SigningKey.from_seed(b64decode(self._kept.key))
        self._entropy = entropy
        self._heard = asyncio.Event()
        self._waiting = 0  # sessions
        self.needed = asyncio.Event()
        """Set while a session waits for the first word of auth."""
        self._use(self._kept.recipients)

    def signer(self) -> WarrantedKey | None:
        """A `signing.KeySource`; None until auth has answered once."""
        if not self._kept.warrant:
            return None
        return WarrantedKey(self._key, b64decode(self._kept.warrant))

    async def refresh(self, auth: TermsSource) -> None:
        """Ask auth, and keep what has changed. StoreError if it is away, ConfigError if the disk refuses."""
        due = self._is_due()
        terms = await auth.recording_terms(self._key.public if due else b"")
        kept = replace(self._kept, recipients=terms.recipients)
        if due:
            kept = replace(kept, warrant=b64encode(terms.warrant).decode())
        if kept.recipients != self._kept.recipients:
            self._use(kept.recipients)
        if kept != self._kept:
            self._file.save(kept)
            self._kept = kept

    @property
    def known(self) -> bool:
        """Whether auth ever said for whom."""
        return self._heard.is_set()

    async def wait_known(self) -> None:
        """See `ContentKeys.wait_known`."""
        self._waiting += 1
        self.needed.set()
        try:
            async with asyncio.timeout(WAIT_S):
                await self._heard.wait()
        except TimeoutError:
            raise RecordingError(_UNKNOWN) from None
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.needed.clear()

    def fresh(self) -> FreshKey | None:
        """See `ContentKeys.fresh`."""
        if not self.known:
            raise RecordingError(_UNKNOWN)
        return None if self._content is None else self._content.fresh()

    def _use(self, recipients: tuple[str, ...] | None) -> None:
        self._content = AgeKeys(recipients, self._entropy) if recipients else None
        if recipients is not None:
            self._heard.set()

    def _is_due(self) -> bool:
        """Whether there is no warrant for this node that has most of its life before it."""
        warrant = read_warrant(b64decode(self._kept.warrant), None)
        if warrant is None or warrant.daemon != self._node:
            return True
        return self._clock.now() >= datetime.fromtimestamp(warrant.valid_from, UTC) + RENEW_AFTER

    def _load(self) -> _Kept | None:
        kept = self._file.load()
        if kept is None:
            return None
        try:
            SigningKey.from_seed(b64decode(kept.key))
            b64decode(kept.warrant)
        except ValueError as error:
            raise self._file.damaged(error) from error
        return kept
