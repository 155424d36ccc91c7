"""The web part on a data directory of its own, and browsers that ask it without a network.

A `Browser` keeps cookies, says where its forms come from, and sends a form's token as it read it, like a real one;
it runs no script. For that there is Chromium (`testing.chromium`).
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx

from interlock.daemons.config import WebConfig
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.daemons.web import web_app
from interlock.domain.audit import AuditEvent
from interlock.domain.browser import LinkPurpose
from interlock.ports import User
from interlock.ports.sso import ProviderHttp
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.links import make_link
from interlock.services.signin.signin import Passwords
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy

URL = "https://gate.example"
PASSWORD = "correct horse battery"

_TOKEN = re.compile(r'name="form" value="([0-9a-f]+)"')


class Events:
    """`ports.EventSink` that keeps all."""

    def __init__(self) -> None:
        self.all: list[AuditEvent] = []

    def emit(self, event: AuditEvent) -> None:
        """Keep it."""
        self.all.append(event)

    @property
    def codes(self) -> list[str]:
        """What was told, in order."""
        return [event.kind.code for event in self.all]


class Browser:
    """See the module's docstring."""

    def __init__(self, app: object, *, url: str = URL, source: str = "192.0.2.7") -> None:
        self._url = url
        transport = httpx.ASGITransport(app, client=(source, 5000))  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url=url)
        self.page = httpx.Response(204)

    @property
    def text(self) -> str:
        """What the last page says."""
        return unescape(self.page.text)

    @property
    def token(self) -> str:
        """Of the last page's first form."""
        found = _TOKEN.search(self.page.text)
        return found[1] if found else ""

    async def get(self, path: str) -> httpx.Response:
        """Go there, and on where it leads."""
        self.page = await self.client.get(path)
        return await self._follow()

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the page that is open."""
        sent = {"form": self.token} | fields
        self.page = await self.client.post(path, data=sent, headers={"origin": self._url})
        return await self._follow()

    async def _follow(self) -> httpx.Response:
        while self.page.is_redirect:
            self.page = await self.client.get(self.page.headers["location"])
        return self.page


@dataclass(slots=True)
class WebDesk:
    """The web part, and what it works on."""

    local: Local
    clock: FakeClock
    events: Events
    app: object
    confirmations: Confirmations
    opened: list[Browser] = field(default_factory=list)

    def browser(self, source: str = "192.0.2.7") -> Browser:
        """A new one, without cookies."""
        self.opened.append(Browser(self.app, source=source))
        return self.opened[-1]

    async def person(
        self, name: str = "alice", *, password: str | None = PASSWORD, must_change: bool = False
    ) -> None:
        """An account."""
        hashed = None if password is None else await self.local.passwords.hash(password)
        assert await self.local.users.add_user(User(name, ("dev",), hashed, must_change, self.clock.now()))

    async def link(self, name: str = "alice", purpose: LinkPurpose = LinkPurpose.RESET, hours: float = 1) -> str:
        """The path of a new link."""
        life = timedelta(hours=hours)
        secret = await make_link(
            self.local.browsers, name, purpose, life, clock=self.clock, entropy=self.local.entropy
        )
        return f"/link/{secret}"

    async def signed_in(self, name: str = "alice", source: str = "192.0.2.7") -> Browser:
        """A browser in which somebody has signed in by password."""
        browser = self.browser(source)
        await browser.get("/sign-in")
        await browser.send("/sign-in", user=name, password=PASSWORD)
        return browser


@asynccontextmanager
async def web_desk(
    directory: Path, *, settings: WebConfig | None = None, http: ProviderHttp | None = None
) -> AsyncIterator[WebDesk]:
    """Open it on a directory that does not exist yet."""
    settings = settings or WebConfig(listen="127.0.0.1:0", public_url=URL, behind_proxy=("127.0.0.1",))
    directory.mkdir(mode=0o700)  # noqa: ASYNC240 - nobody waits for this loop
    put_database(directory / DATABASE)
    clock, events = FakeClock(), Events()
    async with open_local(directory, clock=clock, entropy=FakeEntropy()) as opened:
        local = _cheap(opened)
        passwords = local.sign_in(events)
        desk = WebDesk(
            local,
            clock,
            events,
            web_app(settings, local, events, passwords, http),
            Confirmations(
                store=local.browsers,
                admitting=local.admitting(events),
                public_url=settings.public_url,
                clock=clock,
                entropy=local.entropy,
            ),
        )
        try:
            yield desk
        finally:
            for browser in desk.opened:
                await browser.client.aclose()


def _cheap(local: Local) -> Local:
    """With passwords that cost a millisecond."""
    return replace(local, passwords=Passwords(time_cost=1, memory_kib=8, parallelism=1))
