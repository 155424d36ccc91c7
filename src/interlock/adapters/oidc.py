"""How identity providers are asked: JSON over HTTPS, bounded in size and time, without redirects."""

import ssl
from collections.abc import Mapping
from functools import cached_property

import httpx
import msgspec

from interlock.core.errors import Away

MAX_ANSWER = 256 * 1024
"""Bytes: a provider's keys or its description are some KiB."""

TIMEOUT_S = 10.0
"""Seconds for each step of a request."""

_OBJECT = msgspec.json.Decoder(dict[str, object])


class HttpsProviders:
    """`ports.sso.ProviderHttp`."""

    def __init__(self, *, ca: str = "") -> None:
        """``ca``: PEM file of the authorities that providers are verified by; empty: the system's."""
        self._given = ssl.create_default_context(cafile=ca) if ca else None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's authorities are some hundred, and most gateways ask no provider."""
        return self._given or ssl.create_default_context()

    async def get(self, url: str, *, bearer: str = "") -> Mapping[str, object]:
        """See `ProviderHttp`."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await self._ask("GET", url, headers=headers)

    async def post(
        self, url: str, fields: Mapping[str, str], *, basic: tuple[str, str] | None
    ) -> Mapping[str, object]:
        """See `ProviderHttp`."""
        return await self._ask("POST", url, fields=fields, basic=basic)

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> Mapping[str, object]:
        auth = httpx.BasicAuth(*basic) if basic is not None else None
        # As it is: what is packed may become any length before it can be counted.
        accept = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        try:
            async with (
                httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_S, trust_env=False) as client,
                client.stream(method, url, headers=accept, data=fields, auth=auth) as answer,
            ):
                body = bytearray()
                async for piece in answer.aiter_raw(16 * 1024):
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise _away(url, "its answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _away(url, f"{type(error).__name__}: {error}") from None
        if answer.status_code != 200:
            raise _away(url, f"status {answer.status_code}, {bytes(body[:200])!r}")
        try:
            return _OBJECT.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _away(url, f"not a JSON object: {error}") from None


def _away(url: str, why: str) -> Away:
    return Away("the identity provider cannot be asked at the moment: try again", reason=f"{url[:200]}: {why}")
