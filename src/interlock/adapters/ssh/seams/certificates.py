"""User certificates, judged by us alone: the part of the seams that the node and the proxy share.

asyncssh's own verdict does not know our claims, nor tells when a signature has proven them. What `seams` says of
itself is true of this module as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from functools import lru_cache

import asyncssh
from asyncssh.connection import SSHServerConnection
from asyncssh.packet import String
from asyncssh.public_key import (
    KeyImportError,
    SSHKey,
    decode_ssh_public_key,
)

from interlock.core.certificate import TOUCHED, SignedCertificate
from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import Reader

_CERTIFICATE_SUFFIX = b"-cert-v01@openssh.com"

_WEAK_SIGNATURES = (b"ssh-rsa", b"ssh-dss")
"""SHA-1 signatures, which OpenSSH refuses since 8.8."""

_SECURITY_KEY = b"sk-"

REMEMBERED = 256
"""Genuine certificates that need not be decoded again: a client shows its own two times per connection."""

_GUESS_RULE = b"kexguess2@matt.ucc.asn.au"
"""Dropbear's rule for a client's first key exchange packet that comes unasked, and the one asyncssh has: it counts
if the client's first method is chosen. Without the name Dropbear goes by RFC 4253 §7 and sends it again."""


class CertificateHooks(asyncssh.SSHServer, ABC):
    """What a `CertifiedConnection` asks of the object that its server factory made."""

    @abstractmethod
    def judge(self, user: str, certificate: bytes) -> int | None:
        """Whether a certificate (wire form) is genuine; None if not. Grants nothing: nobody has signed yet (R12).

        Else the flags that a security key's signature has to have.
        """

    @abstractmethod
    def proven(self, user: str, certificate: bytes) -> None:
        """The client has signed with the certificate's key; called right before authentication succeeds."""

    async def weigh(self, user: str, certificate: bytes) -> None:
        """The client has signed: find out what else it has to show. It may take its time, and be cancelled."""

    def unfinished(self) -> bool:
        """Whether what was proven is not enough yet: the client is told of a partial success (RFC 4252 §5.1)."""
        return False

    async def judge_key(self, user: str, key: bytes) -> int | None:
        """Whether a key without certificate (wire form) may do; ssh tries the bare key before its certificate.

        None if not; else the flags that a security key's signature has to have. Grants nothing, as above.
        """
        del user, key
        return None


class CertifiedConnection(SSHServerConnection):
    """A client's connection on which only our own verdict on user certificates counts.

    asyncssh is told of no options of certificates: what one withholds, its owner does by `Access` (R13).
    """

    signed_flags: int | None = None  # of the last genuine signature, if a security key has made it

    async def send_userauth_success(self) -> None:
        """Only if nothing else is asked for."""
        hooks = self._owner
        if isinstance(hooks, CertificateHooks) and hooks.unfinished():
            self.send_userauth_failure(True)
            return
        await super().send_userauth_success()

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` in a task that this connection owns; it goes on to its end when the connection closes."""
        task = self.create_task(work)
        del task

    def _get_extra_kex_algs(self) -> list[bytes]:
        return [*super()._get_extra_kex_algs(), _GUESS_RULE]

    async def reload_config(self) -> None:
        """Nothing: our options never depend on the user's name, so the thread that parses them is spared."""

    def was_signed(self, request: bytes, signature: bytes) -> None:
        """A request to authenticate, up to its signature, and the signature: genuine."""

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Our verdict instead of asyncssh's; without ``msg`` this is only a question (RFC 4252 §7)."""
        hooks = self._owner
        if not isinstance(hooks, CertificateHooks):
            return False
        certified = _is_certificate(key_data)
        flags = hooks.judge(username, key_data) if certified else await hooks.judge_key(username, key_data)
        if flags is None:  # only what is known is looked into
            return False
        key = _certified_key(key_data) if certified else _plain_key(key_data)
        if key is None:
            return False
        if not msg:
            return True
        key.set_touch_required(bool(flags & TOUCHED))
        on_hardware = key.algorithm.startswith(_SECURITY_KEY)
        if not _strong(signature, flags, on_hardware=on_hardware) or not key.verify(
            String(self._session_id) + msg, signature
        ):
            return False
        self.signed_flags = _flags(signature, on_hardware=on_hardware)
        await hooks.weigh(username, key_data)
        self.was_signed(msg, signature)
        hooks.proven(username, key_data)
        return True


@lru_cache(maxsize=REMEMBERED)
def _certified_key(certificate: bytes) -> SSHKey | None:
    """Read by us: asyncssh does not know every option that counts here."""
    try:
        return decode_ssh_public_key(SignedCertificate.parse(certificate).certificate.key.blob)
    except (ValueError, KeyImportError):
        return None


def _is_certificate(key_data: bytes) -> bool:
    try:
        return Reader(key_data).string().endswith(_CERTIFICATE_SUFFIX)
    except RemoteProtocolError:
        return False


@lru_cache(maxsize=REMEMBERED)
def _plain_key(key_data: bytes) -> SSHKey | None:
    try:
        return decode_ssh_public_key(key_data)
    except KeyImportError:
        return None


def _strong(signature: bytes, flags: int, *, on_hardware: bool) -> bool:
    """Whether it is of a type that counts; of a security key, whether it says all that it has to (R16).

    Another key counts as touched, and has verified nobody.
    """
    try:
        said = _flags(signature, on_hardware=on_hardware)
        said = TOUCHED if said is None else said
        return Reader(signature).string() not in _WEAK_SIGNATURES and said & flags == flags
    except RemoteProtocolError:
        return False


def _flags(signature: bytes, *, on_hardware: bool) -> int | None:
    """Of a security key's signature; None if it is another key's. RemoteProtocolError if it is none.

    ``on_hardware`` is the key's word, as its signatures have a second name (``webauthn-sk-...``), with the flags
    in the same place.
    """
    if not on_hardware:
        return None
    reader = Reader(signature)
    reader.string()
    reader.string()
    return reader.byte()
