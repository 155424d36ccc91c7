"""The web part in auth's process, if the configuration asks for it. Composition only.

Litestar and uvicorn are imported when it is: a gateway without web part does not need them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from interlock.adapters.ssh.portal import PasswordCheck
from interlock.core.errors import ConfigError
from interlock.daemons.config import Address, Config, WebConfig
from interlock.daemons.local import Local
from interlock.ports import EventSink
from interlock.ports.sso import ProviderHttp
from interlock.services.signin.browsing import BrowserSignIns, Errands
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.links import Links
from interlock.services.signin.passkeys import Passkeys
from interlock.services.signin.signin import SignIn
from interlock.services.signin.sso import Sso

if TYPE_CHECKING:
    from interlock.web.parts import Web
    from interlock.web.server import WebServer
    from interlock.web.visit import Network, Site

_log = structlog.get_logger()

_KEPT = "web-url"  # in the data directory: ilctl has no configuration

_LOCAL = ("localhost", "127.0.0.1", "::1")


def check_web(config: WebConfig) -> None:
    """ConfigError if the settings do not fit together, or would send passwords over the network in clear."""
    if not config.listen:
        if config.public_url:
            raise ConfigError("web.public_url is set, but not web.listen")
        return
    where = Address.parse("web.listen", config.listen)
    url = urlsplit(config.public_url)
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or config.public_url != f"{url.scheme}://{url.netloc}"
    ):
        public = "web.public_url must be what browsers call the gateway, for example https://gateway.example.com"
        raise ConfigError(public, reason=f"{public}; not {config.public_url[:200]!r}")
    if "@" in url.netloc or config.public_url != config.public_url.lower():
        raise ConfigError("web.public_url must be in lower case and without a user name")
    if url.scheme == "http" and url.hostname not in _LOCAL:
        raise ConfigError("web.public_url must begin with https:// unless it is this machine alone")
    if bool(config.tls_key) and not config.tls_cert:
        raise ConfigError("web.tls_key is set, but not web.tls_cert")
    if not config.tls_cert and not config.behind_proxy and not _loopback(where.host):
        public = "web.listen: without web.tls_cert only this machine itself is served, or web.behind_proxy"
        raise ConfigError(public, reason=f"{public}; not {config.listen}")
    networks(config)


def check_no_web(config: WebConfig) -> None:
    """ConfigError if a daemon apart from auth is to have a web part."""
    if config.listen:
        raise ConfigError("web.listen: the web part is auth's: set it in the file of the gateway that has auth")


def keep_url(data_dir: Path, config: WebConfig) -> None:
    """Note in the directory how browsers call the gateway; ConfigError if that cannot be."""
    kept = data_dir / _KEPT
    try:
        if config.listen:
            kept.write_text(config.public_url)
        else:
            kept.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use {kept}: {error.strerror}", reason=str(error)) from error


def kept_url(data_dir: Path) -> str:
    """What was noted; ConfigError if there is no web part."""
    try:
        return (data_dir / _KEPT).read_text()
    except OSError as error:
        public = "this gateway has no web part: set listen and public_url in the table [web] of its configuration"
        raise ConfigError(public, reason=f"{public}; {error}") from None


def networks(config: WebConfig) -> "tuple[Network, ...]":
    """The reverse proxies; ConfigError if one cannot be read."""
    try:
        return tuple(ip_network(each) for each in config.behind_proxy)
    except ValueError as error:
        raise ConfigError(f"web.behind_proxy: {error}") from None


def confirmations(config: WebConfig, local: Local, sink: EventSink) -> Confirmations:
    """For whoever lets people sign in at a terminal; it offers nothing if there is no web part."""
    return Confirmations(
        store=local.browsers,
        admitting=local.admitting(sink),
        public_url=config.public_url if config.listen else "",
        clock=local.clock,
        entropy=local.entropy,
    )


def signing_in(config: WebConfig, local: Local, sink: EventSink) -> SignIn:
    """Passwords and second factors, for which passkeys may be asked in a browser."""
    return local.sign_in(sink, confirmations(config, local, sink))


class WebPart:
    """The web part, or the lack of one: serve with `run`, which returns some time after `stop`."""

    def __init__(self, server: "WebServer | None" = None, where: str = "") -> None:
        self._server = server
        self._stopping = asyncio.Event()
        self.where = where  # the bound address; empty: nowhere

    async def run(self) -> None:
        """Until `stop`."""
        if self._server is None:
            await self._stopping.wait()
        else:
            await self._server.run()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._stopping.set()
        if self._server is not None:
            self._server.stop()


@asynccontextmanager
async def web(config: Config, local: Local, sink: EventSink, passwords: PasswordCheck) -> AsyncIterator[WebPart]:
    """Listen meanwhile, if the configuration says where. ConfigError if that cannot be."""
    settings = config.web
    if not settings.listen:
        yield WebPart()
        return
    from ssl import SSLError

    from interlock.web.server import WebServer, tls_context

    try:
        tls = tls_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    except (OSError, SSLError) as error:
        raise ConfigError(f"web.tls_cert and web.tls_key cannot be used: {error}") from error
    behind = networks(settings)
    server = WebServer(
        web_app(settings, local, sink, passwords),
        tls=tls,
        trusted=lambda host: any(ip_address(host) in network for network in behind),
    )
    where = Address.parse("web.listen", settings.listen)
    try:
        bound = await server.open(where.host, where.port)
    except OSError as error:
        public = f"the web part cannot listen on {settings.listen}: {error.strerror or error}"
        raise ConfigError(public, reason=str(error)) from error
    _log.info("web.ready", listen=bound, url=settings.public_url)
    try:
        yield WebPart(server, bound)
    finally:
        server.close()


def web_app(
    settings: WebConfig,
    local: Local,
    sink: EventSink,
    passwords: PasswordCheck,
    http: ProviderHttp | None = None,
) -> object:
    """The pages, for a server that speaks ASGI. ``http``: how providers are asked, if not by the network."""
    from interlock.web.app import make_app

    return make_app(web_parts(settings, local, sink, passwords, http))


def web_parts(
    settings: WebConfig,
    local: Local,
    sink: EventSink,
    passwords: PasswordCheck,
    http: ProviderHttp | None = None,
) -> "Web":
    """What the pages stand on."""
    from interlock.web.parts import Web

    clock, entropy, cluster = local.clock, local.entropy, local.cluster
    factors, errands, site = local.factors(sink), Errands(local.browsers, clock), _site(settings, cluster.name)
    admitting = local.admitting(sink)
    passkeys = Passkeys(
        devices=local.factor_store,
        factors=factors,
        admitting=admitting,
        errands=errands,
        cluster=cluster.name,
        cluster_id=cluster.id,
        host=site.host,
        origin=site.public_url,
        clock=clock,
        entropy=entropy,
    )
    return Web(
        site=site,
        passwords=passwords,
        factors=factors,
        passkeys=None if _is_address(site.host) else passkeys,
        links=Links(
            store=local.browsers,
            users=local.users,
            sign_ins=local.browsers,
            passwords=local.passwords,
            admitting=admitting,
            clock=clock,
        ),
        sign_ins=BrowserSignIns(store=local.browsers, admitting=admitting, clock=clock, entropy=entropy),
        errands=errands,
        sso=Sso(
            connectors=local.sso,
            vouched=local.sso,
            users=local.users,
            access=local.users,
            admitting=admitting,
            errands=errands,
            http=http if http is not None else _providers(settings),
            redirect_uri=f"{site.public_url}/sso/callback",
            clock=clock,
            entropy=entropy,
        ),
        confirmations=confirmations(settings, local, sink),
        clock=clock,
        entropy=entropy,
    )


def _providers(settings: WebConfig) -> ProviderHttp:
    from interlock.adapters.oidc import HttpsProviders

    try:
        return HttpsProviders(ca=settings.provider_ca)
    except OSError as error:
        raise ConfigError(f"web.provider_ca cannot be used: {error}") from error


def _site(settings: WebConfig, cluster: str) -> "Site":
    from interlock.web.visit import Site

    return Site(settings.public_url, cluster, networks(settings))


def _is_address(host: str) -> bool:
    """Passkeys are bound to names: WebAuthn knows none of addresses."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
