"""What identity providers say of themselves: their description and their keys, kept for a while, and tokens read.

OpenID Connect Discovery 1.0, and Core §3.1.3.7 for the checks of an ID token.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from interlock.core.errors import Denied, RemoteProtocolError, Rule
from interlock.domain.sso import Claims, Connector, check_endpoint
from interlock.ports import Clock
from interlock.ports.sso import ProviderHttp

KEPT_S = 3600.0
"""Seconds for which a description and its keys are kept."""

REFETCH_S = 30.0
"""Seconds between two looks at a provider's keys because none has signed a token: a rotation, or a forgery."""

LEEWAY_S = 60
"""By how much a provider's clock may differ."""

MAX_AGE_S = 600
"""Seconds since a token was made: somebody has just signed in."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Of signatures with a key pair; never those with a shared secret, never none."""

MAX_TOKEN = 64 * 1024
"""Characters."""

MAX_SUBJECT = 255
"""Characters (Core §2)."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider's description says, checked."""

    authorization: str
    token: str
    userinfo: str  # empty: there is none
    jwks: str
    basic: bool  # it takes our secret in a header; otherwise in the form
    names_itself: bool  # it says in its answer who it is (RFC 9207)


@dataclass(slots=True)
class _Kept:
    provider: Provider
    keys: list[Mapping[str, Any]]
    since: float
    looked: float  # when the keys were last fetched


class Providers:
    """By connector. `RemoteProtocolError` if a provider says what does not fit; `Away` if it says nothing."""

    def __init__(self, http: ProviderHttp, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._kept: dict[str, _Kept] = {}  # by issuer; as many as there are connectors

    async def provider(self, connector: Connector) -> Provider:
        """Where to ask what."""
        return (await self._known(connector)).provider

    async def claims(self, connector: Connector, token: str, *, nonce: str) -> dict[str, object]:
        """What a verified ID token says; Denied, whose reason says what is wrong with it."""
        if len(token) > MAX_TOKEN:
            raise _denied("it is too long")
        known = await self._known(connector)
        claims = self._decoded(known, token)
        if claims is None and self._clock.monotonic() - known.looked >= REFETCH_S:
            known.looked = self._clock.monotonic()
            known.keys = await self._keys(known.provider.jwks)
            claims = self._decoded(known, token)
        if claims is None:
            raise _denied("none of the provider's keys has signed it")
        self._check(connector, claims, nonce)
        return claims

    async def _known(self, connector: Connector) -> _Kept:
        now = self._clock.monotonic()
        kept = self._kept.get(connector.issuer)
        if kept is None or now - kept.since >= KEPT_S:
            provider = await self._discover(connector.issuer)
            kept = self._kept[connector.issuer] = _Kept(provider, await self._keys(provider.jwks), now, now)
        return kept

    async def _discover(self, issuer: str) -> Provider:
        said = await self._http.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != issuer:
            raise _malformed(f"the description at {issuer} is of {str(said.get('issuer'))[:200]!r}")

        def address(name: str, *, needed: bool = True) -> str:
            value = said.get(name, "")
            if not isinstance(value, str) or (needed and not value):
                raise _malformed(f"the description of {issuer} has no {name}")
            try:
                return check_endpoint(value, issuer) if value else ""
            except ValueError as error:
                raise _malformed(str(error)) from None

        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Provider(
            address("authorization_endpoint"),
            address("token_endpoint"),
            address("userinfo_endpoint", needed=False),
            address("jwks_uri"),
            isinstance(methods, list) and "client_secret_basic" in methods,
            said.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _keys(self, url: str) -> list[Mapping[str, Any]]:
        keys = (await self._http.get(url)).get("keys")
        if not isinstance(keys, list):
            raise _malformed(f"{url} has no keys")
        return [each for each in keys if isinstance(each, dict) and each.get("kty") in ("RSA", "EC", "OKP")]

    def _decoded(self, known: _Kept, token: str) -> dict[str, object] | None:
        """The claims, if one of the keys has signed them; None otherwise."""
        from joserfc import jwk, jws
        from joserfc.errors import JoseError
        from joserfc.jwt import decode

        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, UnicodeEncodeError) as error:
            raise _denied(f"it cannot be read: {error}") from None
        if header.get("alg") not in ALGORITHMS:
            raise _denied(f"its algorithm is {str(header.get('alg'))[:32]!r}")
        for each in _candidates(known.keys, header.get("kid")):
            try:
                key = jwk.import_key(cast("Any", each))
                return dict(decode(token, cast("Any", key), algorithms=list(ALGORITHMS)).claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        return None

    def _check(self, connector: Connector, claims: Claims, nonce: str) -> None:
        now = self._clock.now().timestamp()
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if claims.get("iss") != connector.issuer:
            raise _denied(f"it is of {str(claims.get('iss'))[:200]!r}")
        if not isinstance(audiences, list) or connector.client_id not in audiences:
            raise _denied("it is for somebody else")
        party = claims.get("azp")
        if (party is not None or len(audiences) > 1) and party != connector.client_id:
            raise _denied("it was made for another party")
        if not _number(claims.get("exp")) > now - LEEWAY_S:
            raise _denied("it has expired")
        if not now - MAX_AGE_S < _number(claims.get("iat")) < now + LEEWAY_S:
            raise _denied("it was not made just now")
        if not isinstance(said := claims.get("nonce"), str) or not hmac.compare_digest(
            said.encode(), nonce.encode()
        ):
            raise _denied("it answers another question")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
            raise _denied("it is of nobody")


def _candidates(keys: Sequence[Mapping[str, Any]], kid: object) -> list[Mapping[str, Any]]:
    """The keys that may have signed it: the one that is named, or, without a name, all."""
    usable = [each for each in keys if each.get("use", "sig") == "sig"]
    return [each for each in usable if each.get("kid") == kid] if kid is not None else usable


def _number(value: object) -> float:
    """A time; one that no check lets pass if there is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _denied(why: str) -> Denied:
    return Denied("the identity provider's answer was not accepted", reason=f"ID token: {why}")


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(Rule.MALFORMED_MESSAGE, why)
