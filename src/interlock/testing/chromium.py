"""A real browser: Debian's Chromium, or else Playwright's, without its window, with a passkey device of its own.

It is let do nothing by itself: no updates, no sync, no connections but to where a test sends it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")

PATIENCE_MS = 20_000.0
"""How long a page may take: several test runs may share one core."""

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Meanwhile it runs."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Playwright's is there only where the distribution has none that starts (scripts/setup.sh).
        chosen = None if Path(playwright.chromium.executable_path).exists() else EXECUTABLE
        browser = playwright.chromium.launch(executable_path=chosen, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Somebody at a browser of their own: its cookies, its page, and what went wrong on its pages."""

    def __init__(self, browser: Browser, *, phone: bool = False) -> None:
        size: Any = {"viewport": {"width": 360, "height": 640}, "is_mobile": True} if phone else {}
        self.context: BrowserContext = browser.new_context(**size)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []  # of the browser: a refused script, a style that breaks the policy
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def give_passkey_device(self) -> None:
        """A device that verifies its person, who always agrees (a virtual authenticator of WebDriver's)."""
        devtools = self.context.new_cdp_session(self.page)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    def fits(self) -> bool:
        """Whether nothing sticks out of the window to the side."""
        fits: bool = self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return fits

    def close(self) -> None:
        """Away with it."""
        self.context.close()
