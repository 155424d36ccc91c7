"""People sign in with a real browser, and by it at a real terminal."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from interlock.testing.chromium import Person, chromium
from interlock.testing.gateway import PASSWORD as KIT_PASSWORD
from interlock.testing.gateway import Cluster
from interlock.testing.oidc_provider import CLIENT, SECRET, oidc_provider
from interlock.testing.openssh import clean_env
from interlock.testing.ports import free_port
from interlock.testing.procs import Daemon
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("browser"),
]

PASSWORD = "staple correct horse"


class Gateway:
    """A cluster with a web part, of two workers."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        self.cluster = cluster
        self.url = url

    def admin(self, *words: str) -> str:
        """An administrator's command. In a thread: Playwright has an event loop in this one."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self.cluster.admin, *words).result()

    def add_user(self, name: str) -> None:
        """With the kit's password."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self.cluster.add_user, name, "access").result()

    def link(self, name: str, *words: str) -> str:
        """Of somebody new."""
        out = self.admin("users", "add", name, "--roles", "access", "--link", *words)
        found = re.search(r"http://\S+/link/\S+", out)
        assert found is not None
        return found[0]

    def ilsh(self, name: str, *words: str) -> Daemon:
        """``ilsh login`` of somebody new on this machine, who has no terminal."""
        home = self.cluster.directory / f"home-{name}"
        where = ["--proxy", f"{self.cluster.host}:{self.cluster.port}", "--host-ca", str(self.cluster.host_ca)]
        argv = [str(self.cluster.programs / "ilsh"), "login", *where, "--no-agent", *words]
        env = {**clean_env(), "ILSH_HOME": str(home), "HOME": str(home)}
        log = self.cluster.directory / f"ilsh-{name}.log"
        log.unlink(missing_ok=True)
        return Daemon(argv, log=log, env=env, name="ilsh")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """On this machine alone, as browsers trust it without TLS."""
    port = free_port()
    url = f"http://localhost:{port}"
    settings = f'[web]\nlisten = "127.0.0.1:{port}"\npublic_url = "{url}"\n'
    directory = tmp_path_factory.mktemp("browser")
    with Cluster(directory, with_node=False, workers=2, settings=settings) as cluster:
        cluster.gateway.wait_port("127.0.0.1", port)
        yield Gateway(cluster, url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all; each person has a profile of their own."""
    with chromium() as running:
        yield running


@pytest.fixture
def person(browser: Browser) -> Iterator[Person]:
    """With a passkey device; whatever the browser complained of fails the test."""
    somebody = Person(browser)
    somebody.give_passkey_device()
    yield somebody
    somebody.close()
    assert [each for each in somebody.complaints if "403" not in each] == []


def shown(ilsh: Daemon) -> str:
    """The address that it shows."""
    found = ilsh.wait_until(lambda: re.search(r"http://\S+/c/\S+", ilsh.log_tail()), "an address")
    return found[0]


def test_somebody_new_comes_in_by_a_link_and_signs_in_at_a_terminal_by_code(
    gateway: Gateway, person: Person
) -> None:
    """From the administrator's command to a session on a host."""
    page = person.page
    page.goto(gateway.link("nina"))
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat new password").fill(PASSWORD)
    page.get_by_role("button", name="Set password").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()

    ilsh = gateway.ilsh("nina", "--user", "nina", "--code")
    try:
        page.goto(shown(ilsh))
        expect(page.get_by_text(re.search(r"/c/(\S+)", shown(ilsh))[1])).to_be_visible()  # type: ignore[index]
        expect(page.get_by_text("127.0.0.1:")).to_be_visible()
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("Confirmed.")).to_be_visible()
        assert ilsh.wait() == 0, ilsh.log_tail()
    finally:
        ilsh.stop()
    said = gateway.cluster.ilsh(gateway.cluster.directory / "home-nina", "status")
    assert "nina" in said.check().stdout
    events = json.loads(gateway.admin("events", "ls", "--format", "json"))
    [login] = [each for each in events if each.get("through") == "browser" and each["user"] == "nina"]
    assert (login["code"], login["user"], login["success"]) == ("T1000I", "nina", True)


def test_a_passkey_instead_of_a_password(gateway: Gateway, person: Person) -> None:
    """Made by a link, used to sign in and, as whoever the browser says, at a terminal."""
    page = person.page
    page.goto(gateway.link("paula"))
    page.get_by_role("button", name="Use a passkey instead").click()
    expect(page.get_by_text("passkey, since")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    ilsh = gateway.ilsh("paula", "--sso")
    try:
        page.goto(shown(ilsh))
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", name="Sign in at a terminal?")).to_be_visible()
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("Confirmed.")).to_be_visible()
        assert ilsh.wait() == 0, ilsh.log_tail()
    finally:
        ilsh.stop()
    said = gateway.cluster.ilsh(gateway.cluster.directory / "home-paula", "status")
    assert "paula" in said.check().stdout


def test_who_refuses_keeps_the_terminal_out(gateway: Gateway, person: Person) -> None:
    """It ends with an error, and a reason."""
    gateway.add_user("rita")
    page = person.page
    page.goto(f"{gateway.url}/sign-in")
    page.get_by_label("User name").fill("rita")
    page.get_by_label("Password", exact=True).fill(KIT_PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    ilsh = gateway.ilsh("rita", "--user", "rita", "--code")
    try:
        page.goto(shown(ilsh))
        page.get_by_role("button", name="Refuse").click()
        assert ilsh.wait() != 0
        assert "was not confirmed" in ilsh.log_tail()
    finally:
        ilsh.stop()


def test_a_stock_client_at_a_terminal(gateway: Gateway, person: Person) -> None:
    """An empty password shows address and code; ``ssh`` goes on by itself when it is confirmed."""
    gateway.add_user("stella")
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-F", "none"]
    argv = ["ssh", "-p", str(gateway.cluster.port), *options, f"stella@{gateway.cluster.host}"]
    with Terminal(argv, env=clean_env()) as terminal:
        terminal.expect(r"browser")
        terminal.expect(r"Password: ")
        terminal.send("\n")
        address = terminal.expect(r"http://localhost:\d+/c/[A-Z2-9-]+").group().decode()
        page = person.page
        page.goto(address)
        page.get_by_label("User name").fill("stella")
        page.get_by_label("Password", exact=True).fill(KIT_PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_role("button", name="Confirm").click()
        terminal.expect(r"This is the Interlock gateway")


def test_a_stock_client_is_confirmed_with_a_passkey(gateway: Gateway, person: Person) -> None:
    """A role asks for a second factor on each connection: ``ssh`` shows an address, and a passkey lets it on."""
    cluster, page = gateway.cluster, person.page
    option = ("--option", "second_factor=session")
    gateway.admin("roles", "add", "careful", "--logins", cluster.login_name, "--labels", "env=test", *option)
    gateway.admin(
        "users", "add", "theo", "--roles", "careful", "--password-file", str(cluster.directory / "password")
    )
    page.goto(f"{gateway.url}/sign-in")
    page.get_by_label("User name").fill("theo")
    page.get_by_label("Password", exact=True).fill(KIT_PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    theo = cluster.login("theo")
    page.get_by_label("Name of the new passkey").fill("phone")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_text("passkey, since")).to_be_visible()
    asks = ("-o", "BatchMode=no", "-o", "KbdInteractiveAuthentication=yes")
    with cluster.terminal(theo, *asks, *cluster.route(cluster.agentless_name), "echo let in") as terminal:
        address = terminal.expect(r"http://localhost:\d+/c/[A-Z2-9-]+").group().decode()
        page.goto(address)
        page.get_by_role("button", name="Confirm with your passkey").click()
        expect(page.get_by_text("Confirmed.")).to_be_visible()
        terminal.expect("let in")


def test_pages_fit_a_phone(gateway: Gateway, browser: Browser) -> None:
    """Nothing sticks out, and every input has a name that is read aloud."""
    somebody = Person(browser, phone=True)
    try:
        for path in ("/sign-in", "/code", "/nowhere"):
            somebody.page.goto(gateway.url + path)
            assert somebody.fits()
            for field in somebody.page.locator("input:not([type=hidden])").all():
                assert field.evaluate("each => each.labels.length") == 1
    finally:
        somebody.close()


def test_a_real_identity_provider(gateway: Gateway, browser: Browser) -> None:
    """Somebody whom it vouches for, and whom we did not know, gets a certificate; nobody without a role does."""
    directory = gateway.cluster.directory
    groups = {"olga": ["staff"]}
    somebody = Person(browser)
    with oidc_provider(directory, redirect=f"{gateway.url}/sso/callback", groups=groups) as provider:
        secret = directory / "client-secret"
        secret.write_text(SECRET + "\n")
        where = ("--issuer", provider.issuer, "--client-id", CLIENT, "--client-secret-file", str(secret))
        rules = ("--map", "groups=staff:access", "--scopes", "openid,profile,groups")
        gateway.admin("oidc", "add", "company", *where, *rules)
        assert f"{provider.issuer}/token" in gateway.admin("oidc", "test", "company")
        page = somebody.page
        ilsh = gateway.ilsh("olga", "--sso")
        try:
            page.goto(shown(ilsh))
            page.get_by_role("link", name="Sign in by company").click()
            page.get_by_placeholder("Enter any login").fill("olga")
            page.get_by_placeholder("and password").fill("any")
            page.get_by_role("button", name="Sign-in").click()
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("heading", name="Sign in at a terminal?")).to_be_visible()
            page.get_by_role("button", name="Confirm").click()
            expect(page.get_by_text("Confirmed.")).to_be_visible()
            assert ilsh.wait() == 0, ilsh.log_tail()
        finally:
            ilsh.stop()
        said = gateway.cluster.ilsh(directory / "home-olga", "status")
        assert "olga" in said.check().stdout

        nobody = Person(browser)
        page = nobody.page
        page.goto(f"{gateway.url}/sign-in")
        page.get_by_role("link", name="Sign in by company").click()
        page.get_by_placeholder("Enter any login").fill("eve")
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text("sign-in by your identity provider failed")).to_be_visible()
        nobody.close()
    somebody.close()
    events = json.loads(gateway.admin("events", "ls", "--format", "json"))
    told = [(each["code"], each["user"]) for each in events if each.get("method") == "oidc"]
    assert told == [("T1002I", "olga"), ("T1001I", "olga"), ("T1001I", "olga"), ("T1001W", "")]
