"""Wrapped keys of encrypted recordings, as age files: pyrage is used here and nowhere else.

A recipient is an age public key (``age1…``) or an SSH one; an identity is the private key of either.
"""

from collections.abc import Sequence
from pathlib import Path

import pyrage

from interlock.core.errors import ConfigError, RecordingError
from interlock.domain.container import FreshKey, Unlock
from interlock.domain.container.locked import KEY_SIZE, MAX_WRAPPED
from interlock.ports import Entropy

_SECRET = "AGE-SECRET-KEY-"  # noqa: S105  # how lines with one begin
NOT_FOR_YOU = "the recording is encrypted for others: this identity is none of its recipients"


class AgeKeys:
    """`ports.ContentKeys`: a new key for each recording, for all these recipients."""

    def __init__(self, recipients: Sequence[str], entropy: Entropy) -> None:
        """ConfigError if one is no recipient, or they are too many."""
        self._recipients = [_recipient(each) for each in recipients]
        self._entropy = entropy
        if len(self.wrap(bytes(KEY_SIZE))) > MAX_WRAPPED:
            raise ConfigError(f"{len(recipients)} recipients are too many for one recording")

    @property
    def known(self) -> bool:
        """They are."""
        return True

    async def wait_known(self) -> None:
        """See `known`."""

    def fresh(self) -> FreshKey:
        """A key and its age file."""
        key = self._entropy.token(KEY_SIZE)
        return FreshKey(key, self.wrap(key))

    def wrap(self, key: bytes) -> bytes:
        """An age file that holds the key."""
        wrapped: bytes = pyrage.encrypt(key, self._recipients)
        return wrapped


def identity(path: Path) -> Unlock:
    """What unwraps keys with the identities in a file: age's, one a line, or an SSH private key. ConfigError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the identity {path}", reason=str(error)) from error
    try:
        lines = [line.strip() for line in text.splitlines() if line.strip().startswith(_SECRET)]
        own = [pyrage.x25519.Identity.from_str(line) for line in lines]
        own = own or [pyrage.ssh.Identity.from_buffer(text.encode())]
    except pyrage.IdentityError as error:
        raise ConfigError(f"{path} holds no identity of age or SSH", reason=str(error)) from error

    def unlock(wrapped: bytes) -> bytes:
        try:
            key: bytes = pyrage.decrypt(wrapped, own)
        except pyrage.DecryptError as error:
            raise RecordingError(NOT_FOR_YOU, reason=f"{NOT_FOR_YOU} ({error})") from None
        if len(key) != KEY_SIZE:
            raise RecordingError("the recording's wrapped key is damaged", reason=f"a key of {len(key)} bytes")
        return key

    return unlock


def _recipient(text: str) -> object:
    kind = pyrage.x25519.Recipient if text.startswith("age1") else pyrage.ssh.Recipient
    try:
        return kind.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(
            f"{text[:80]!r} is no recipient: age1… or an SSH public key", reason=str(error)
        ) from error
