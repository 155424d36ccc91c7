"""Changing the keys that sign what is kept: the audit log's, and the one that vouches for recordings' signatures.

At once, without phases: auth alone signs with them, and whoever verifies has all keys that there were, the one
that signs now first. The old key's last deed is to name the new one, in the log itself; then it is destroyed.
"""

from enum import Enum

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.chain import Checkpoint, Head
from interlock.domain.rotation import Phase
from interlock.domain.signing import Purpose, SigningKey, is_signed
from interlock.ports import AuditLog, AuthorityKey, Clock, KeyRingSource, LastWord, SuccessionStore
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import AUDIT, RECORDINGS
from interlock.services.keys.signers import Signer, new_authority


class KeptKind(Enum):
    """A key that signs what is kept."""

    AUDIT = AUDIT
    RECORDINGS = RECORDINGS


class Successions:
    """Of the cluster's keys that sign what is kept."""

    def __init__(
        self,
        ring: KeyRingSource,
        store: SuccessionStore,
        audit: AuditLog,
        factory: EventFactory,
        *,
        cluster: str,
        clock: Clock,
    ) -> None:
        self._ring = ring
        self._store = store
        self._audit = audit
        self._factory = factory
        self._cluster = cluster
        self._clock = clock

    async def change(self, kind: KeptKind, who: dict[str, JsonValue]) -> tuple[str, str]:
        """Make a new key; the fingerprints of the old one and of the new one. Denied if there is no old one."""
        before = (await self._ring.keyring()).current.get(kind.value)
        if before is None:
            raise Denied(f"there is no {kind.value} key to be changed yet: run interlock start")
        key = new_authority(kind.value, self._clock.now())
        old, new = Signer(before, None).key, Signer(key, None).key
        await self._store.succeed(before, key, self._last_word(old, new) if kind is KeptKind.AUDIT else None)
        found = _fingerprint(before), _fingerprint(key)
        named = old.sign(Purpose.SUCCESSOR, new.public)
        fields: dict[str, JsonValue] = who | {
            "authority": kind.value,
            "phase": Phase.STANDBY.value,
            "compromised": False,
            "previous": found[0],
            "key": key.public,
            "signature": named.hex(),
        }
        await self._audit.append([self._factory.make(Kind.ROTATION_STEP, fields)])
        return found

    def _last_word(self, old: SigningKey, new: SigningKey) -> LastWord:
        time = rfc3339(self._clock.now())

        def checkpoint(last: str | None, heads: tuple[Head, ...]) -> tuple[str, bytes]:
            made = Checkpoint.after(last, cluster=self._cluster, time=time, heads=heads, successor=new.public)
            body = made.encode()
            return body, old.sign(Purpose.CHECKPOINT, body.encode())

        def cut(body: str, signature: bytes) -> bytes | None:
            if not is_signed(old.public, Purpose.CUT, body.encode(), signature):
                return None  # a fault stays one
            return new.sign(Purpose.CUT, body.encode())

        return LastWord(checkpoint, cut)


def _fingerprint(key: AuthorityKey) -> str:
    return PublicKey.parse(key.public).fingerprint
