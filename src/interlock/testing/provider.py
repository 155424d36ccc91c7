"""An identity provider in this process: it answers like a real one, or as the test wants it wrong.

The real one is npm's oidc-provider (`testing.oidc_provider`); what that never does wrong is tested with this.
"""

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwk, jwt

from interlock.core.errors import Away
from interlock.ports import Clock

ISSUER = "https://id.example"
CLIENT = "interlock"
SECRET = "a secret: of/the client"


class FakeProvider:
    """`ports.sso.ProviderHttp` of one provider, and its sign-in page."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.key = _key()
        self.published: list[Any] = [self.key]
        self.description: dict[str, object] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "jwks_uri": f"{ISSUER}/jwks",
        }
        self.claims: dict[str, object] = {"sub": "s-1", "preferred_username": "erin", "groups": ["staff"]}
        """Of whoever signs in."""
        self.changed: dict[str, object] = {}
        """What of the ID token is something else; None: not there."""
        self.userinfo: dict[str, object] = {"sub": "s-1"}
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "first"}
        self.signer: Any = self.key
        self.away = False
        self.asked: list[str] = []  # addresses
        self._codes: dict[str, dict[str, str]] = {}

    def sign_in(self, url: str) -> dict[str, str]:
        """Somebody is sent there and signs in: what the browser brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{ISSUER}/authorize?")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return {"code": code, "state": asked["state"]}

    async def get(self, url: str, *, bearer: str = "") -> Mapping[str, object]:
        """Description, keys, or what else is known of somebody."""
        self.asked.append(url)
        if self.away:
            raise Away("the identity provider is away")
        match url.removeprefix(ISSUER):
            case "/.well-known/openid-configuration":
                return self.description
            case "/jwks":
                return {"keys": [each.as_dict(private=False) for each in self.published]}
            case "/userinfo" if bearer == "access":
                return self.userinfo
            case _:
                raise Away("not here", reason=url)

    async def post(
        self, url: str, fields: Mapping[str, str], *, basic: tuple[str, str] | None
    ) -> Mapping[str, object]:
        """The tokens for a code, once, for who has the verifier and the secret."""
        assert url == f"{ISSUER}/token"
        asked = self._codes.pop(fields["code"], None)
        digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
        challenge = _b64(digest)
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != fields["redirect_uri"]
        ):
            raise Away("invalid_grant")
        assert basic == ("interlock", "a+secret%3A+of%2Fthe+client")
        now = int(self.clock.now().timestamp())
        said = {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.claims}
        said = {name: value for name, value in (said | self.changed).items() if value is not None}
        return {"access_token": "access", "token_type": "Bearer", "id_token": self._signed(said)}

    def _signed(self, said: dict[str, Any]) -> str:
        if self.header["alg"] == "none":
            parts = [_b64(json.dumps(each).encode()) for each in (self.header, said)]
            return ".".join([*parts, ""])
        return jwt.encode(self.header, said, self.signer, algorithms=[self.header["alg"]])


@cache
def _key() -> jwk.RSAKey:
    """The same for all: one takes a tenth of a second and more to make."""
    return jwk.RSAKey.generate_key(2048, {"kid": "first"})


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
