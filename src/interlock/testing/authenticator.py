"""A passkey device in Python: makes credentials and signs with them, correctly or as the test wants it wrong."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

_UP, _UV, _AT = 0x01, 0x04, 0x40


@dataclass(slots=True)
class Authenticator:
    """One credential. ``counter``: of its signatures; 0: it does not count."""

    origin: str = "https://gate.example"
    counter: int = 0
    verifies: bool = True  # its person, by a fingerprint
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    handle: str = ""  # the account's, once it has been registered

    def make(self, options: str) -> str:
        """Answer to navigator.credentials.create()."""
        asked = json.loads(options)
        self.handle = asked["user"]["id"]
        point = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)})
        attested = bytes(16) + len(self.credential).to_bytes(2) + self.credential + cose
        data = self._data(asked["rp"]["id"], _AT) + attested
        response = {
            "clientDataJSON": self._client_data("webauthn.create", asked),
            "attestationObject": _b64(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "transports": ["internal", "smoke-signals"],
        }
        return self._answer(response)

    def sign(self, options: str, **changed: Any) -> str:
        """Answer to navigator.credentials.get(); ``changed``: what of it is to be something else."""
        asked = json.loads(options)
        self.counter += bool(self.counter)
        data = self._data(asked["rpId"], 0)
        client_data = self._client_data("webauthn.get", asked)
        signed = data + hashlib.sha256(_bytes(client_data)).digest()
        response = {
            "clientDataJSON": client_data,
            "authenticatorData": _b64(data),
            "signature": _b64(self.key.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": self.handle,
        } | changed
        return self._answer(response)

    def _data(self, host: str, flags: int) -> bytes:
        flags |= _UP | (_UV if self.verifies else 0)
        return hashlib.sha256(host.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4)

    def _client_data(self, kind: str, asked: dict[str, Any]) -> str:
        said = {"type": kind, "challenge": asked["challenge"], "origin": self.origin, "crossOrigin": False}
        return _b64(json.dumps(said).encode())

    def _answer(self, response: dict[str, Any]) -> str:
        name = _b64(self.credential)
        return json.dumps(
            {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}
        )


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
