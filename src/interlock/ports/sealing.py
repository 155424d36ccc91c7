"""Narrow protocols: secrets that are stored so that who reads the database does not have them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Sealing(Protocol):
    """Seals what is stored. ``purpose`` says what a secret is and whose: sealed for one, it opens for no other."""

    def seal(self, purpose: str, secret: bytes) -> bytes:
        """The form in which it is stored; in the clear, marked as such, in a cluster whose keys are not sealed."""
        ...

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The secret; StoreError if it was sealed for something else, by another key, or has been changed."""
        ...


@dataclass(frozen=True, slots=True)
class KeyWrapper:
    """The cluster's data key, as one way leads to it."""

    name: str
    kind: str  # passphrase or pkcs11
    parameters: Mapping[str, str | int]  # nothing secret: salt and costs, or where in the token the key is
    wrapped: bytes
    created: datetime


class KeyToken(Protocol):
    """Something that holds private keys and signs with them.

    StoreError if it does not answer, ConfigError if it does not have a key.
    """

    def make_signing_key(self, name: str) -> bytes:
        """Make an Ed25519 key there, for good; the raw public half. Blocks."""
        ...

    def sign(self, name: str, message: bytes) -> bytes:
        """A signature by that key. Blocks for as long as the token needs."""
        ...


class Wrapping(Protocol):
    """One way to wrap a data key, with all that it takes at hand."""

    kind: str

    def wrap(self, name: str, data_key: bytes, *, now: datetime) -> KeyWrapper:
        """The wrapped key; ConfigError if a token or its key is not to be had. Blocks."""
        ...

    def unwrap(self, wrapper: KeyWrapper) -> bytes:
        """The data key; ConfigError if this is not what it was wrapped with. Blocks."""
        ...
