"""The keys of authorities, ready to sign, and new ones: in memory, or in a PKCS#11 token."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from interlock.core.certificate import Certificate, PublicKey
from interlock.core.errors import ConfigError, NotFound, StoreError
from interlock.domain.signing import SigningKey
from interlock.ports import AuthorityKey, AuthorityStore, KeyToken

IN_TOKEN = ("user", "host", "openssh")
"""The authorities whose keys are made in a token, if there is one: those that sign certificates."""

_PREFIX = "pkcs11:object="  # before a key's name, in the place of a private key (RFC 7512)


class Signer:
    """One authority's key, ready to sign: in memory, or in a token.

    ConfigError for a key in a token that there is none of; StoreError for a key that is not Ed25519.
    """

    def __init__(self, key: AuthorityKey, token: KeyToken | None) -> None:
        self.in_token = key.private_key.startswith(_PREFIX)
        if self.in_token:
            if token is None:
                public = f"the key of the {key.kind} authority is in a PKCS#11 token: name it in [auth.keys]"
                raise ConfigError(public)
            name = key.private_key.removeprefix(_PREFIX)
            self.public = PublicKey.parse(key.public)
            self._sign: Callable[[bytes], bytes] = lambda message: token.sign(name, message)
            return
        private = load_pem_private_key(key.private_key.encode(), None)
        if not isinstance(private, Ed25519PrivateKey):
            raise StoreError(
                "the gateway's keys cannot be read", reason=f"the {key.kind} authority is not Ed25519"
            )
        self._sign = private.sign
        self.key = SigningKey(private)
        self.public = PublicKey("ssh-ed25519", (private.public_key().public_bytes_raw(),))

    def sign(self, certificate: Certificate) -> str:
        """The certificate, one line."""
        return certificate.line(self._sign(certificate.signed_part()))


async def ensured(store: AuthorityStore, kind: str, now: datetime, token: KeyToken | None) -> AuthorityKey:
    """The stored key of an authority, made if there is none."""
    if token is not None:  # no key is made there that nobody needs
        with contextlib.suppress(NotFound):
            return await store.authority(kind)
    return await store.ensure_authority(new_authority(kind, now, token))


def new_authority(kind: str, now: datetime, token: KeyToken | None = None) -> AuthorityKey:
    """A fresh key pair for an authority; in the token if there is one and the key signs certificates."""
    if token is not None and kind in IN_TOKEN:
        name = f"interlock-{kind}-{now:%Y%m%dT%H%M%S%f}"
        public = PublicKey("ssh-ed25519", (token.make_signing_key(name),))
        return AuthorityKey(kind, _PREFIX + name, public.line(), now.astimezone(UTC))
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return AuthorityKey(kind, pem, line, now.astimezone(UTC))
