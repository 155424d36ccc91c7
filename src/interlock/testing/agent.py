"""A key agent with security keys that touch nothing: their signatures say of themselves what a test wants.

draft-miller-ssh-agent as far as ``ssh`` needs it to sign, and OpenSSH's PROTOCOL.u2f.
"""

import hashlib
import socketserver
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.certificate import TOUCHED
from interlock.core.wire import Reader, string, uint32

APPLICATION = "ssh:"

_ANSWER, _SIGNED, _FAILURE = 12, 14, 5


@dataclass(slots=True)
class SecurityKey:
    """One, by Ed25519 or by ECDSA. ``flags``: what its next signatures say."""

    ecdsa: bool = False
    flags: int = TOUCHED
    webauthn: bool = False  # signs as browsers have keys do it; only by ECDSA
    certificate: bytes = b""  # shown beside the bare key, in wire form
    _ed25519: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    _p256: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        """Its type."""
        return "sk-ecdsa-sha2-nistp256@openssh.com" if self.ecdsa else "sk-ssh-ed25519@openssh.com"

    @property
    def blob(self) -> bytes:
        """The public key in wire form."""
        if not self.ecdsa:
            raw = self._ed25519.public_key().public_bytes_raw()
            return string(self.algorithm) + string(raw) + string(APPLICATION)
        point = self._p256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return string(self.algorithm) + string("nistp256") + string(point) + string(APPLICATION)

    @property
    def line(self) -> str:
        """The public key in one line."""
        return f"{self.algorithm} {b64encode(self.blob).decode()} token"

    def sign(self, data: bytes) -> bytes:
        """A signature in wire form."""
        counter, algorithm, rest = uint32(1), self.algorithm, b""
        if self.webauthn:
            challenge = urlsafe_b64encode(data).rstrip(b"=").decode()
            data = f'{{"type":"webauthn.get","challenge":"{challenge}","origin":"{APPLICATION}"}}'.encode()
            algorithm, rest = f"webauthn-{algorithm}", string(APPLICATION) + string(data) + string("")
        application = hashlib.sha256(APPLICATION.encode()).digest()
        said = application + bytes([self.flags]) + counter + hashlib.sha256(data).digest()
        if self.ecdsa:
            r, s = decode_dss_signature(self._p256.sign(said, ec.ECDSA(hashes.SHA256())))
            value = b"".join(string(each.to_bytes(each.bit_length() // 8 + 1, "big")) for each in (r, s))
        else:
            value = self._ed25519.sign(said)
        return string(algorithm) + string(value) + bytes([self.flags]) + counter + rest


class KeyAgent:
    """Serves some keys at a UNIX socket while it is entered."""

    def __init__(self, path: Path, keys: Sequence[SecurityKey]) -> None:
        self.path = path
        agent = self
        self._keys = keys

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self.rfile.read(4):
                    asked = self.rfile.read(int.from_bytes(head, "big"))
                    answer = agent.answer(asked)
                    self.wfile.write(uint32(len(answer)) + answer)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="key agent")

    def answer(self, asked: bytes) -> bytes:
        """One reply."""
        reader = Reader(asked)
        match reader.byte():
            case 11:  # request identities
                shown = [blob for key in self._keys for blob in (key.blob, key.certificate) if blob]
                listed = b"".join(string(blob) + string("token") for blob in shown)
                return bytes([_ANSWER]) + uint32(len(shown)) + listed
            case 13:  # sign
                blob, data = reader.string(), reader.string()
                for key in self._keys:
                    if blob in (key.blob, key.certificate):
                        return bytes([_SIGNED]) + string(key.sign(data))
            case _:
                pass
        return bytes([_FAILURE])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
