"""How providers are asked: by TLS, bounded, and nobody else in their place."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from interlock.adapters import oidc
from interlock.adapters.oidc import HttpsProviders
from interlock.core.errors import Away
from interlock.testing.tls import self_signed

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def answering(answer: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says this; its address, and what it was asked."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", heads


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "status 302"),
        (b"HTTP/1.1 500 No\r\n\r\n", "status 500"),
        (OK + b"\r\nnot json", "not a JSON object"),
        (OK + b"\r\n[1]", "not a JSON object"),
        (OK + b"\r\n{" + b" " * oidc.MAX_ANSWER, "too long"),
        (b"nonsense\r\n\r\n", "RemoteProtocolError"),
        (b"", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_answer(answer: bytes, cause: str) -> None:
    """Redirects are not followed; nothing is read without bound."""
    async with answering(answer) as (url, heads):
        with pytest.raises(Away) as caught:
            await HttpsProviders().get(f"{url}/x")
    assert cause in caught.value.reason
    assert len(heads) == 1


async def test_a_provider_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that is not there."""
    monkeypatch.setattr(oidc, "TIMEOUT_S", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Away):
            await HttpsProviders().get(f"http://127.0.0.1:{port}/")
    with pytest.raises(Away):
        await HttpsProviders().get(f"http://127.0.0.1:{port}/")


async def test_secrets_go_in_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And past no proxy that the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with answering(OK + b'\r\n{"a": 1}') as (url, heads):
        providers = HttpsProviders()
        assert await providers.get(f"{url}/me", bearer="token") == {"a": 1}
        assert await providers.post(f"{url}/token", {"code": "x"}, basic=("us", "secret")) == {"a": 1}
    assert b"bearer token" in heads[0].lower()
    assert b"basic dxm6c2vjcmv0" in heads[1].lower()
    assert b"accept-encoding: identity" in heads[1].lower()


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    """One that the configuration names is taken."""
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with answering(OK + b'\r\n{"a": 1}', tls=tls) as (url, _):
        with pytest.raises(Away, match="cannot be asked"):
            await HttpsProviders().get(url)
        assert await HttpsProviders(ca=str(certificate)).get(url) == {"a": 1}
