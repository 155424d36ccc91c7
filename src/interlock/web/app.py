"""The web part as an ASGI application: which page answers what, and what every answer has in common.

`ROUTES` is the whole of it. Each says who may come; nobody else gets to its page. Every form is checked before its
page sees it. Nothing here waits for anybody but the stores.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from interlock.core.errors import Denied, InterlockError, LimitReached, NotFound, SignInFailed, StoreError
from interlock.web import account, confirming, entry, proving, signing_in, sso
from interlock.web.parts import ACCOUNT, PROVE, SIGN_IN, Web, code_of
from interlock.web.visit import MAX_BODY, Answer, Visit, check_origin, client_of, parse_form, read_secret, to

_log = structlog.get_logger()

Work = Callable[[Web, Visit], Awaitable[Answer]]


class Access(Enum):
    """Who may come."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    FRESH = "signed in a moment ago"
    PROVEN = "and with a second factor, if there is one"


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table."""

    method: Literal["GET", "POST"]
    path: str
    access: Access
    work: Work


ROUTES = (
    Route("GET", "/", Access.ANYONE, signing_in.home),
    Route("GET", SIGN_IN, Access.ANYONE, signing_in.show),
    Route("POST", SIGN_IN, Access.ANYONE, signing_in.sign_in),
    Route("POST", f"{SIGN_IN}/passkey/options", Access.ANYONE, signing_in.passkey_options),
    Route("POST", f"{SIGN_IN}/passkey", Access.ANYONE, signing_in.passkey),
    Route("POST", f"{SIGN_IN}/password", Access.ANYONE, signing_in.change),
    Route("POST", "/sign-out", Access.ANYONE, signing_in.sign_out),
    Route("GET", "/link/{secret:str}", Access.ANYONE, entry.show),
    Route("POST", "/link/{secret:str}", Access.ANYONE, entry.set_password),
    Route("POST", "/link/{secret:str}/passkey/options", Access.ANYONE, entry.passkey_options),
    Route("POST", "/link/{secret:str}/passkey", Access.ANYONE, entry.passkey),
    Route("GET", "/sso/start/{connector:str}", Access.ANYONE, sso.leave),
    Route("GET", sso.CALLBACK, Access.ANYONE, sso.come_back),
    Route("GET", "/code", Access.ANYONE, confirming.ask),
    Route("GET", "/c/{code:str}", Access.ANYONE, confirming.show),
    Route("POST", "/c/{code:str}", Access.FRESH, confirming.decide),
    Route("POST", "/c/{code:str}/passkey/options", Access.ANYONE, confirming.passkey_options),
    Route("POST", "/c/{code:str}/passkey", Access.ANYONE, confirming.passkey),
    Route("GET", ACCOUNT, Access.SIGNED_IN, account.show),
    Route("POST", f"{ACCOUNT}/password", Access.SIGNED_IN, account.change_password),
    Route("GET", PROVE, Access.FRESH, proving.show),
    Route("POST", PROVE, Access.FRESH, proving.code),
    Route("POST", f"{PROVE}/passkey/options", Access.FRESH, proving.passkey_options),
    Route("POST", f"{PROVE}/passkey", Access.FRESH, proving.passkey),
    Route("POST", f"{ACCOUNT}/passkey/options", Access.PROVEN, account.passkey_options),
    Route("POST", f"{ACCOUNT}/passkey", Access.PROVEN, account.add_passkey),
    Route("GET", f"{ACCOUNT}/authenticator", Access.PROVEN, account.new_totp),
    Route("POST", f"{ACCOUNT}/authenticator", Access.PROVEN, account.add_totp),
    Route("POST", ACCOUNT + "/devices/{device:str}", Access.PROVEN, account.remove_device),
    Route("POST", f"{ACCOUNT}/recovery-codes", Access.PROVEN, account.recovery_codes),
)

STATIC = {
    "style.css": "text/css",
    "passkey.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers would not say the origin of a form
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""Of every answer."""

HSTS = "max-age=31536000"
"""A year; of this host alone, as others may be somebody else's."""


_WEB = "interlock.web"
"""Under this name each request has the web part that it came to."""


def make_app(web: Web) -> ASGIApp:
    """The application. Its pages are made once in a process: that takes longer than hundreds of answers."""
    pages = _pages()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        cast("dict[str, object]", scope)[_WEB] = web
        await pages(scope, receive, send)

    return app


@cache
def _pages() -> Litestar:
    return Litestar(
        [*map(_handler, ROUTES), *(_static(name, kind) for name, kind in STATIC.items())],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        exception_handlers={Exception: _refused},
    )


def _asked(request: Request[Any, Any, Any]) -> Web:
    """The web part that is asked."""
    return cast("dict[str, Web]", request.scope)[_WEB]


def _headers(web: Web) -> dict[str, str]:
    return HEADERS | ({"strict-transport-security": HSTS} if web.site.secure else {})


def _refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    web, status = _asked(request), error.status_code if isinstance(error, HTTPException) else 500
    if status == 500:
        _log.error("web.failed", exc_info=error)
    text = "there is no such page" if status == 404 else "this request cannot be answered"
    answer = signing_in.failed(web, InterlockError(text), status)
    return Response(answer.body, status_code=status, media_type=answer.content_type, headers=_headers(web))


def _handler(route: Route) -> HTTPRouteHandler:
    async def answer(request: Request[Any, Any, Any]) -> ASGIResponse:
        web, fresh = _asked(request), tuple[str, ...]()
        try:
            check_origin(web.site, request)
            secret, fresh = read_secret(web.site, request.cookies, web.entropy)
            said = await _answer(web, route, request, secret)
        except InterlockError as error:
            _log.info("web.refused", path=route.path, reason=error.reason)
            said = signing_in.failed(web, error, _status(error))
        return _response(said, _headers(web), fresh)

    return HTTPRouteHandler(route.path, http_method=[route.method], status_code=200)(answer)


async def _answer(web: Web, route: Route, request: Request[Any, Any, Any], secret: str) -> Answer:
    parameters = {
        str(key): str(value) for key, value in (*request.query_params.items(), *request.path_params.items())
    }
    cookie = request.cookies.get(web.site.cookie("signin"), "")[:64]
    signed_in = await web.sign_ins.find(cookie) if cookie else None
    visit = Visit(secret, client_of(web.site, request), parameters, signed_in, cookie)
    if route.method == "POST":
        visit.check_form(parse_form(await request.body()))
    if route.access is not Access.ANYONE and (
        signed_in is None or (route.access is not Access.SIGNED_IN and not signed_in.fresh)
    ):
        code = code_of(visit)
        return to(f"{SIGN_IN}?again=1" + (f"&code={code}" if code else "") if signed_in is not None else SIGN_IN)
    if route.access is Access.PROVEN and not await account.proven(web, visit):
        return to(PROVE)
    return await route.work(web, visit)


def _response(said: Answer, headers: dict[str, str], cookies: tuple[str, ...]) -> ASGIResponse:
    return ASGIResponse(
        body=said.body,
        status_code=said.status,
        media_type=said.content_type,
        headers=[
            *headers.items(),
            *([("location", said.location)] if said.location else []),
            *(("set-cookie", each) for each in (*cookies, *said.cookies)),
        ],
    )


def _static(name: str, kind: str) -> HTTPRouteHandler:
    body = (files("interlock.web") / "static" / name).read_bytes()

    async def answer(request: Request[Any, Any, Any]) -> ASGIResponse:
        kept = _headers(_asked(request)) | {"cache-control": "max-age=3600"}
        return ASGIResponse(body=body, media_type=kind, headers=kept)

    return HTTPRouteHandler(f"/static/{name}", http_method=["GET"], status_code=200)(answer)


def _status(error: InterlockError) -> int:
    match error:
        case LimitReached():
            return 429
        case Denied() | SignInFailed():
            return 403
        case NotFound():
            return 404
        case StoreError():
            return 503
        case _:
            return 400
