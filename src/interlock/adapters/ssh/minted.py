"""A fresh key for one login, and the certificate for it, as asyncssh wants to have them.

asyncssh's own way is by keys of every kind, in text, read back and compared; here it is one kind, and ours.
"""

from base64 import b64decode

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import PublicKey, cert_algorithm
from interlock.core.errors import LocalProtocolError, RemoteProtocolError
from interlock.core.wire import Reader, string

_ALGORITHM = "ssh-ed25519"
_CERTIFIED = cert_algorithm(_ALGORITHM)


class MintedKey:
    """An Ed25519 key that nobody has had before."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self._raw = self._private.public_key().public_bytes_raw()

    @property
    def line(self) -> str:
        """The public key, to be certified."""
        return PublicKey(_ALGORITHM, (self._raw,)).line()

    def certified(self, line: str) -> asyncssh.SSHKeyPair:
        """The pair to log in with. LocalProtocolError if the certificate is not one for this key."""
        blob = b64decode(line.split(" ", 2)[1])
        try:
            reader = Reader(blob)
            kind, _nonce, key = reader.text(), reader.string(), reader.string()
        except RemoteProtocolError as error:
            raise LocalProtocolError(
                "internal error", reason="the certificate for a target is cut short"
            ) from error
        if kind != _CERTIFIED or key != self._raw:
            raise LocalProtocolError("internal error", reason="the certificate for a target is for another key")
        return _Pair(self._private, self._raw, blob)


class _Pair(asyncssh.SSHKeyPair):
    """Signs with the key and shows the certificate."""

    def __init__(self, private: Ed25519PrivateKey, raw: bytes, certificate: bytes) -> None:
        name = _ALGORITHM.encode()
        super().__init__(name, name, (name,), (name,), string(name) + string(raw), None)
        self.algorithm = _CERTIFIED.encode()
        self.public_data = certificate
        self._private = private

    def set_sig_algorithm(self, sig_algorithm: bytes) -> None:
        """There is only one."""

    def sign(self, data: bytes) -> bytes:
        """The signature as SSH has it (RFC 8709 §6)."""
        return string(_ALGORITHM) + string(self._private.sign(data))
