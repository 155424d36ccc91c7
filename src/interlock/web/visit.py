"""One request as the pages see it: who is there, from where, and whether the form is one of ours.

Two cookies: ``visit`` is a browser's, says nothing about anybody, and binds forms and challenges to it; ``signin``
is somebody's. The second is never sent by a link or form of another site (SameSite=Strict); the first one is by a
link, so that somebody who comes back from an identity provider is known to be the one who left.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Request

from interlock.core.address import format_address
from interlock.core.errors import Denied
from interlock.ports import Entropy
from interlock.services.signin.browsing import SignedIn
from interlock.services.signin.digests import digest_of, new_secret

MAX_BODY = 64 * 1024
"""Bytes of a form; the largest is a passkey's registration."""

MAX_FIELDS = 32

Network = IPv4Network | IPv6Network

STALE_FORM = "this page was open for too long or in another window: go back, reload it and try again"
"""For a form that is not ours, or is not this browser's."""


@dataclass(frozen=True, slots=True)
class Site:
    """How people call the web part."""

    public_url: str  # origin: scheme, host and port, without a slash at the end
    cluster: str
    behind: tuple[Network, ...] = ()  # reverse proxies, whose word on where somebody is counts

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by TLS."""
        return self.public_url.startswith("https:")

    @property
    def host(self) -> str:
        """Its host name, to which passkeys are bound."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def authority(self) -> str:
        """What browsers say in ``Host``."""
        return urlsplit(self.public_url).netloc

    def cookie(self, name: str) -> str:
        """A cookie's name, by which browsers know that no other host and no plain connection has set it."""
        return f"__Host-interlock-{name}" if self.secure else f"interlock-{name}"

    def set_cookie(self, name: str, value: str, *, same_site: str = "Strict", life: int | None = None) -> str:
        """The header. ``life``: seconds; 0: forget it; None: until the browser is closed."""
        parts = [f"{self.cookie(name)}={value}", "Path=/", "HttpOnly", f"SameSite={same_site}"]
        if self.secure:
            parts.append("Secure")
        if life is not None:
            parts.append(f"Max-Age={life}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html"  # what is text is sent as UTF-8
    location: str = ""  # for a redirection
    cookies: tuple[str, ...] = ()  # Set-Cookie


def data(text: str) -> Answer:
    """JSON for our script."""
    return Answer(text.encode(), content_type="application/json")


def to(path: str, *cookies: str) -> Answer:
    """Go on there; ``path`` is always one of ours."""
    return Answer(status=303, location=path, cookies=cookies)


@dataclass(slots=True)
class Visit:
    """See the module's docstring."""

    secret: str  # of the cookie ``visit``
    source: str  # host:port of the browser
    parameters: Mapping[str, str]  # of path and query
    signed_in: SignedIn | None = None
    cookie: str = ""  # of the sign-in, as the browser showed it
    fields: Mapping[str, str] = field(default_factory=dict)  # of the form that was sent

    @property
    def form_token(self) -> str:
        """What every form of this browser carries; another one after signing in."""
        return digest_of("form", self.secret, self.cookie).hex()

    def check_form(self, fields: Mapping[str, str]) -> None:
        """Take in what was sent; Denied unless it is a form that this browser was given."""
        if not hmac.compare_digest(fields.get("form", "").encode(), self.form_token.encode()):
            raise Denied(STALE_FORM, reason=f"a form without its token from {self.source}")
        self.fields = fields

    def said(self, name: str) -> str:
        """A field of the form, or a parameter; empty if there is none."""
        return self.fields.get(name) or self.parameters.get(name, "")


def read_secret(site: Site, cookies: Mapping[str, str], entropy: Entropy) -> tuple[str, tuple[str, ...]]:
    """The browser's own secret, and the cookie to set if it has none yet."""
    known = cookies.get(site.cookie("visit"), "")
    if len(known) == 43 and known.isascii():
        return known, ()
    fresh = new_secret(entropy)
    return fresh, (site.set_cookie("visit", fresh, same_site="Lax"),)


def client_of(site: Site, request: Request[Any, Any, Any]) -> str:
    """host:port of the browser: of the connection, or what our own reverse proxy says of it, and nobody else."""
    client = request.scope.get("client")
    host, port = (client[0], int(client[1])) if client else ("0.0.0.0", 0)  # noqa: S104 - not listened on
    told = ",".join(request.headers.getall("x-forwarded-for", []))  # some proxies add a header of their own
    for said in reversed([each.strip() for each in told.split(",")]):
        if not said or not _within(host, site.behind):
            break
        try:
            host, port = str(ip_address(said)), 0
        except ValueError:
            break
    return format_address(host, port) if port else host


def check_origin(site: Site, request: Request[Any, Any, Any]) -> None:
    """Denied unless it is our page that asks, by our name: no other site's, and no name that leads here."""
    if request.headers.get("host", "") != site.authority:
        public = f"this is {site.public_url}: use that address"
        raise Denied(public, reason=f"asked as {request.headers.get('host', '')[:128]!r}")
    origin = request.headers.get("origin")
    if request.method not in ("GET", "HEAD") and origin != site.public_url:
        raise Denied(STALE_FORM, reason=f"a form of {(origin or 'nowhere')[:128]!r}")


def parse_form(body: bytes) -> dict[str, str]:
    """The fields of a form; Denied if that is none."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS
        )
        return dict(pairs)
    except ValueError as error:
        raise Denied("this form cannot be read", reason=str(error)) from None


def _within(host: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
