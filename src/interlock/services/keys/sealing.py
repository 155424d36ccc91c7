"""Secrets at rest: a data key of the cluster's seals them, and a passphrase or a token's key wraps the data key.

So what wraps can be replaced without touching what is sealed. Where the passphrase comes from is
`interlock.daemons.keys`; the tables that hold sealed columns are listed in `interlock.adapters.db.sealed`.
"""

from collections.abc import Mapping
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.core.errors import ConfigError, StoreError
from interlock.ports import Entropy, KeyWrapper

DATA_KEY = 32
"""Bytes of a data key: AES-256."""

SHORTEST_PASSPHRASE = 12
"""Characters. Whoever has a copy of the database may try as many as they like."""

PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind

_CLEAR, _SEALED = b"\x00", b"\x01"
_NONCE = 12
_COSTS = {"time": 3, "memory_kib": 64 * 1024, "lanes": 4}  # RFC 9106 §4, the second recommended choice
_MOST = {"time": 64, "memory_kib": 1024 * 1024, "lanes": 64}  # what a row of the database may ask of us


class ClearSealing:
    """`ports.Sealing` of a cluster whose keys are not sealed: files of mode 0600 are what protects them."""

    def seal(self, purpose: str, secret: bytes) -> bytes:
        """The secret itself, marked."""
        del purpose
        return _CLEAR + secret

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """StoreError for what somebody has sealed meanwhile."""
        if sealed[:1] != _CLEAR:
            public = "the cluster's keys are sealed, and this process was started before that: restart it"
            raise StoreError(public, reason=f"{purpose} is sealed and there is no data key")
        return sealed[1:]


class KeySealing:
    """`ports.Sealing` by AES-256-GCM with the purpose as associated data.

    What is in the clear it does not take: who can write to the database must not be able to put a key of their
    own in a sealed one's place.
    """

    def __init__(self, data_key: bytes, entropy: Entropy) -> None:
        self.data_key = data_key
        self._cipher = AESGCM(data_key)
        self._entropy = entropy

    def seal(self, purpose: str, secret: bytes) -> bytes:
        """Sealed under a random nonce."""
        nonce = self._entropy.token(_NONCE)
        return _SEALED + nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """See `ports.Sealing`."""
        if sealed[:1] != _SEALED:
            public = "a key in the database is not sealed though the cluster's keys are: run ilctl keys status"
            raise StoreError(public, reason=f"{purpose} is in the clear")
        nonce, rest = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            return self._cipher.decrypt(nonce, rest, purpose.encode())
        except (InvalidTag, ValueError) as error:
            public = "a sealed key in the database has been changed, or belongs elsewhere"
            raise StoreError(public, reason=f"{public}: {purpose}") from error


class PassphraseWrapping:
    """`ports.Wrapping` by a key that argon2id makes of a passphrase."""

    kind = PASSPHRASE

    def __init__(self, passphrase: bytes, entropy: Entropy) -> None:
        self._passphrase = passphrase
        self._entropy = entropy

    def wrap(self, name: str, data_key: bytes, *, now: datetime) -> KeyWrapper:
        """See `ports.Wrapping`. ConfigError for a passphrase that is too short."""
        if len(self._passphrase) < SHORTEST_PASSPHRASE:
            raise ConfigError(f"a passphrase for the cluster's keys needs {SHORTEST_PASSPHRASE} characters")
        parameters: dict[str, str | int] = {"salt": self._entropy.token(16).hex(), **_COSTS}
        nonce = self._entropy.token(_NONCE)
        wrapped = nonce + AESGCM(self._key(parameters)).encrypt(nonce, data_key, _about(name))
        return KeyWrapper(name, PASSPHRASE, parameters, wrapped, now)

    def unwrap(self, wrapper: KeyWrapper) -> bytes:
        """See `ports.Wrapping`."""
        nonce, rest = wrapper.wrapped[:_NONCE], wrapper.wrapped[_NONCE:]
        try:
            return AESGCM(self._key(wrapper.parameters)).decrypt(nonce, rest, _about(wrapper.name))
        except InvalidTag:
            public = "this passphrase does not open the cluster's keys"
            raise ConfigError(public, reason=f"{public}: the wrapper {wrapper.name}") from None

    def _key(self, parameters: Mapping[str, str | int]) -> bytes:
        from argon2.low_level import Type, hash_secret_raw

        try:
            salt = bytes.fromhex(str(parameters["salt"]))
            time, memory, lanes = (_cost(parameters, name) for name in _MOST)
        except (KeyError, ValueError) as error:
            public = "the wrapper of the cluster's keys cannot be read"
            raise StoreError(public, reason=f"{public}: {error}") from error
        return hash_secret_raw(self._passphrase, salt, time, memory, lanes, DATA_KEY, Type.ID)


def _cost(parameters: Mapping[str, str | int], name: str) -> int:
    found = int(parameters[name])
    if not 0 < found <= _MOST[name]:
        msg = f"costs beyond all bounds: {name} {found}"
        raise ValueError(msg)
    return found


def _about(name: str) -> bytes:
    return f"interlock data key: {name}".encode()
