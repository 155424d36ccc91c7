"""A fresh key for one login, and the certificate for it, as asyncssh wants to have them; and who logs in so.

asyncssh's own way is by keys of every kind, in text, read back and compared; here it is one kind, and ours.
"""

from abc import ABC, abstractmethod
from base64 import b64decode

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import PublicKey, cert_algorithm
from interlock.core.errors import InterlockError, LocalProtocolError, RemoteProtocolError, TargetError
from interlock.core.wire import Reader, string
from interlock.ports import TargetCredential

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


class MintedLogin(asyncssh.SSHClient, ABC):
    """Logs in once with a fresh key, to a host that certificates or pinned keys vouch for."""

    problem: InterlockError | None = None  # why there is no connection, if we know better than asyncssh
    _asked = False

    @abstractmethod
    async def certify(self, public_key: str) -> TargetCredential:
        """Have the key certified, OpenSSH one-line form; InterlockError."""

    @abstractmethod
    def is_authority(self, public_data: bytes) -> bool:
        """Whether certificates of this key vouch for the host."""

    @abstractmethod
    def mismatch(self, detail: str) -> TargetError:
        """What is wrong with a host that has shown something else."""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """A bare key proves nothing."""
        self.problem = self.mismatch(f"it presented {key.get_fingerprint()} without a certificate")
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Whether the authority is the right one; asyncssh checks name and time."""
        if self.is_authority(key.public_data):
            return True
        self.problem = self.mismatch(f"its certificate is signed by {key.get_fingerprint()}")
        return False

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        """Certify a fresh key."""
        if self._asked:
            return None
        self._asked = True
        try:
            key = MintedKey()
            return [key.certified((await self.certify(key.line)).certificate)]
        except InterlockError as error:
            self.problem = error
            return None


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
