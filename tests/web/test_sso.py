"""Sign-in by an identity provider: whoever comes back is who left, and is who the provider's subject is here."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk

from interlock.domain.browser import LinkPurpose
from interlock.domain.lock import Lock, LockKind
from interlock.domain.sso import Connector, Rule
from interlock.services.signin.browsing import ERRAND_LIFE
from interlock.services.signin.passkeys import PUBLIC as PASSKEY_REFUSED
from interlock.services.signin.providers import KEPT_S, REFETCH_S
from interlock.services.signin.sso import PUBLIC
from interlock.testing.authenticator import Authenticator
from interlock.testing.browsing import PASSWORD, URL, Browser, WebDesk, web_desk
from interlock.testing.clock import FakeClock
from interlock.testing.provider import CLIENT, ISSUER, SECRET, FakeProvider

STAFF = Connector(
    "company",
    ISSUER,
    CLIENT,
    (Rule("groups", "staff", ("dev",)), Rule("groups", "admins", ("admin", "dev"))),
    traits={"team": "groups"},
)


class Desk:
    """The web part with a provider."""

    def __init__(self, web: WebDesk, provider: FakeProvider) -> None:
        self.web = web
        self.provider = provider

    async def leave(self, browser: Browser, path: str = "/sso/start/company") -> dict[str, str]:
        """On to the provider, and a sign-in there."""
        answer = await browser.client.get(path)
        assert answer.status_code == 303, answer.text
        return self.provider.sign_in(answer.headers["location"])

    async def sign_in(self, browser: Browser | None = None) -> Browser:
        """All of it; whatever comes of it is the browser's page."""
        browser = browser or self.web.browser()
        browser.page = await browser.client.get("/sso/callback", params=await self.leave(browser))
        return browser

    async def comes_in(self) -> str:
        """The user that somebody is here."""
        browser = await self.sign_in()
        assert browser.page.status_code == 200, browser.text
        await browser.get("/account")
        assert browser.page.url.path == "/account"
        return str(self.web.events.all[-1].fields["user"])

    async def stays_out(self, cause: str) -> None:
        """Nobody is signed in; the person reads the one text, the audit log the cause."""
        browser = await self.sign_in()
        assert browser.page.status_code == 403
        assert PUBLIC in browser.text
        last = self.web.events.all[-1]
        assert (last.kind.code, last.fields["method"]) == ("T1001W", "oidc")
        assert cause in str(last.fields["error"])
        await browser.get("/account")
        assert browser.page.url.path == "/sign-in"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With alice, who is local, and a provider that the gateway knows."""
    clock = FakeClock()
    provider = FakeProvider(clock)
    async with web_desk(tmp_path / "data", http=provider) as web:
        provider.clock = web.clock
        await web.person()
        assert await web.local.sso.add_connector(STAFF, SECRET)
        yield Desk(web, provider)


async def test_somebody_new_gets_an_account_with_the_roles_that_fit(desk: Desk) -> None:
    """Without a password; told as a sign-in by a provider, with issuer and subject."""
    assert await desk.comes_in() == "erin"
    account = await desk.web.local.users.user("erin")
    assert (account.roles, account.password_hash, account.traits) == (("dev",), None, {"team": ("staff",)})
    assert desk.web.events.codes == ["T1002I", "T1001I"]
    last = desk.web.events.all[-1].fields
    assert (last["connector"], last["issuer"], last["subject"]) == ("company", ISSUER, "s-1")


async def test_roles_are_those_of_the_last_sign_in(desk: Desk) -> None:
    """More, fewer, none: then nobody comes in, and what an earlier sign-in gave counts no more."""
    await desk.comes_in()
    desk.provider.claims["groups"] = ["admins", "staff"]
    await desk.comes_in()
    assert (await desk.web.local.users.user("erin")).roles == ("admin", "dev")
    desk.provider.claims["groups"] = ["others"]
    await desk.stays_out("no rule gives erin a role any more")
    assert (await desk.web.local.users.user("erin")).roles == ()


async def test_r25_somebody_is_known_by_issuer_and_subject_alone(desk: Desk) -> None:
    """GHSA-868r: who takes over a name or an address at the provider is not who had it before."""
    await desk.comes_in()
    desk.provider.claims |= {"preferred_username": "renamed"}
    assert await desk.comes_in() == "erin"
    desk.provider.claims |= {"sub": "s-2", "preferred_username": "erin", "email": "erin@example.org"}
    desk.provider.userinfo = {"sub": "s-2"}
    await desk.stays_out("somebody else's here")


async def test_a_name_that_is_taken_here_is_refused(desk: Desk) -> None:
    """No provider makes anybody a local user."""
    desk.provider.claims["preferred_username"] = "alice"
    await desk.stays_out("somebody else's here")
    assert (await desk.web.local.users.user("alice")).password_hash is not None


@pytest.mark.parametrize("name", ["", "-tunnel", "a b", "x" * 200, None, 7, "root,admin"])
async def test_a_name_that_cannot_be_one_is_refused(desk: Desk, name: object) -> None:
    """R14: names become principals."""
    desk.provider.changed = {"preferred_username": name}
    await desk.stays_out("cannot have a name here")


async def test_an_address_counts_as_a_name_only_if_it_was_verified(desk: Desk) -> None:
    """CVE-2026-47164."""
    await desk.web.local.sso.set_connector(replace(STAFF, user_claim="email"), SECRET)
    desk.provider.claims["email"] = "erin@example.org"
    for verified in (None, False, "true"):
        desk.provider.changed = {"email_verified": verified}
        await desk.stays_out("not verified")
    desk.provider.changed = {"email_verified": True}
    assert await desk.comes_in() == "erin@example.org"


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"iss": "https://evil.example"}, "it is of"),
        ({"aud": "another"}, "for somebody else"),
        ({"aud": [CLIENT, "another"]}, "another party"),
        ({"azp": "another"}, "another party"),
        ({"aud": None}, "for somebody else"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "tomorrow"}, "expired"),
        ({"iat": 1}, "not made just now"),
        ({"iat": None}, "not made just now"),
        ({"nonce": "other"}, "another question"),
        ({"nonce": None}, "another question"),
        ({"sub": None}, "of nobody"),
        ({"sub": ""}, "of nobody"),
        ({"sub": 5}, "of nobody"),
        ({"sub": "s-9"}, "userinfo is of somebody else"),
    ],
)
async def test_a_token_that_does_not_fit_is_refused(desk: Desk, changed: dict[str, object], cause: str) -> None:
    """OpenID Connect Core §3.1.3.7."""
    desk.provider.changed = changed
    await desk.stays_out(cause)


@pytest.mark.parametrize("wrong", ["none", "HS256", "another key", "unknown key", "cut"])
async def test_a_token_that_the_provider_has_not_signed_is_refused(desk: Desk, wrong: str) -> None:
    """Neither without a signature, nor with a secret that is public."""
    match wrong:
        case "none":
            desk.provider.header = {"alg": "none"}
        case "HS256":
            desk.provider.header = {"alg": "HS256", "kid": "first"}
            desk.provider.signer = jwk.OctKey.import_key(desk.provider.key.as_pem(private=False).hex())
        case "another key":
            desk.provider.signer = jwk.RSAKey.generate_key(2048)
        case "unknown key":
            desk.provider.header = {"alg": "RS256", "kid": "second"}
        case _:
            desk.provider.published = []
    await desk.stays_out("ID token: ")


async def test_keys_are_kept_and_fetched_anew_when_they_change(desk: Desk) -> None:
    """But not for every token that none of them fits."""
    await desk.comes_in()
    await desk.comes_in()
    assert desk.provider.asked.count(f"{ISSUER}/jwks") == 1
    fresh = jwk.ECKey.generate_key("P-256", {"kid": "second"})
    desk.provider.header, desk.provider.signer = {"alg": "ES256", "kid": "second"}, fresh
    desk.provider.published = [fresh]
    await desk.stays_out("none of the provider's keys")
    desk.web.clock.advance(REFETCH_S)
    await desk.comes_in()
    assert desk.provider.asked.count(f"{ISSUER}/jwks") == 2
    desk.web.clock.advance(KEPT_S)
    await desk.comes_in()
    assert desk.provider.asked.count(f"{ISSUER}/.well-known/openid-configuration") == 2


@pytest.mark.parametrize(
    "how", ["other browser", "other state", "no state", "twice", "late", "error", "no code", "other issuer"]
)
async def test_whoever_comes_back_is_who_left(desk: Desk, how: str) -> None:
    """Once, in time, with what the provider was asked."""
    browser = desk.web.browser()
    back = await desk.leave(browser)
    match how:
        case "other browser":
            browser = desk.web.browser()
            await browser.get("/sign-in")
        case "other state":
            back["state"] = "x" * 43
        case "no state":
            del back["state"]
        case "twice":
            await browser.client.get("/sso/callback", params=back)
            browser.client.cookies.delete("__Host-interlock-signin")
        case "late":
            desk.web.clock.advance(ERRAND_LIFE)
        case "error":
            back = {"error": "access_denied", "state": back["state"]}
        case "no code":
            del back["code"]
        case _:
            back["iss"] = "https://evil.example"
    answer = await browser.client.get("/sso/callback", params=back)
    assert answer.status_code == 403
    assert PUBLIC in answer.text
    assert "__Host-interlock-signin" not in browser.client.cookies


async def test_a_provider_that_names_itself_has_to(desk: Desk) -> None:
    """RFC 9207: then an answer without its name may be another's."""
    desk.provider.description["authorization_response_iss_parameter_supported"] = True
    await desk.stays_out("the answer is of")
    browser = desk.web.browser()
    back = await desk.leave(browser) | {"iss": ISSUER}
    assert (await browser.client.get("/sso/callback", params=back)).status_code == 200


async def test_the_way_back_leads_to_the_code_and_nowhere_else(desk: Desk) -> None:
    """By a page, as the cookie is sent by no link of another site; whatever the request says."""
    browser = desk.web.browser()
    back = await desk.leave(browser, "/sso/start/company?code=abcd-efgh-jklm&next=//evil.example")
    answer = await browser.client.get("/sso/callback", params=back | {"code_": "x", "next": "//evil.example"})
    assert '<meta http-equiv="refresh" content="0;url=/c/ABCD-EFGH-JKLM">' in answer.text
    assert "evil" not in answer.text
    [cookie] = answer.headers.get_list("set-cookie")
    assert "SameSite=Strict" in cookie


async def test_what_is_asked_of_the_provider(desk: Desk) -> None:
    """To the letter: code, PKCE, our one address."""
    browser = desk.web.browser()
    answer = await browser.client.get("/sso/start/company")
    location = answer.headers["location"]
    assert "redirect_uri=https%3A%2F%2Fgate.example%2Fsso%2Fcallback&" in location
    assert "scope=openid+profile+email&" in location
    assert (await browser.client.get("/sso/start/nobody")).status_code == 404
    await browser.get("/sign-in")
    assert "Sign in by company" in browser.text


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://id.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": "https://user@id.example/"},
    ],
)
async def test_a_provider_that_describes_itself_wrongly_is_not_asked(
    desk: Desk, description: dict[str, Any]
) -> None:
    """Nor is anybody sent there."""
    desk.provider.description |= description
    answer = await desk.web.browser().client.get("/sso/start/company")
    assert answer.status_code in (400, 503)
    assert "location" not in answer.headers


async def test_an_account_of_a_provider_has_no_other_way_in(desk: Desk) -> None:
    """GHSA-3cjp: no empty password; no passkey in the provider's place, which may have shut the door meanwhile."""
    browser = await desk.sign_in()
    key = Authenticator()
    await browser.get("/account")
    assert "Current password" not in browser.text
    asked = await browser.client.post(
        "/account/passkey/options", data={"form": browser.token}, headers={"origin": URL}
    )
    await browser.send("/account/passkey", name="phone", credential=key.make(asked.text))
    other = desk.web.browser()
    await other.get("/sign-in")
    for password in ("", PASSWORD):
        await other.send("/sign-in", user="erin", password=password)
        assert other.page.status_code == 403
    asked = await other.client.post(
        "/sign-in/passkey/options", data={"form": other.token}, headers={"origin": URL}
    )
    await other.send("/sign-in/passkey", credential=key.sign(asked.text))
    assert PASSKEY_REFUSED in other.text
    assert "an identity provider's" in str(desk.web.events.all[-1].fields["error"])


async def test_who_was_removed_does_not_come_back_by_itself(desk: Desk) -> None:
    """Nor as a namesake that was added here meanwhile; only when an administrator lets them be somebody new."""
    await desk.comes_in()
    await desk.web.local.users.remove_user("erin")
    await desk.stays_out("was removed")
    desk.web.clock.advance(1)
    await desk.web.person("erin")
    await desk.stays_out("was removed")
    assert not await desk.web.local.sso.is_vouched(await desk.web.local.users.user("erin"))
    await desk.web.local.users.remove_user("erin")
    assert await desk.web.local.sso.forget_vouched("erin") == 1
    assert await desk.comes_in() == "erin"


async def test_a_lock_and_the_end_of_a_connector_count(desk: Desk) -> None:
    """At once."""
    browser = await desk.sign_in()
    lock = Lock("l", LockKind.USER, "erin", desk.web.clock.now(), "gone fishing")
    await desk.web.local.locks.add_lock(lock)
    await browser.get("/account")
    assert browser.page.url.path == "/sign-in"
    refused = await desk.sign_in()
    assert "gone fishing" in refused.text
    assert desk.web.events.codes[-1] == "T1001W"
    back = await desk.leave(browser)
    await desk.web.local.sso.remove_connector("company")
    assert (await browser.client.get("/sso/callback", params=back)).status_code == 403


async def test_a_provider_that_is_away_is_told(desk: Desk) -> None:
    """And a link still lets a local user in."""
    desk.provider.away = True
    answer = await desk.web.browser().client.get("/sso/start/company")
    assert answer.status_code == 503
    browser = desk.web.browser()
    await browser.get(await desk.web.link("alice", LinkPurpose.RESET))
    assert browser.page.status_code == 200
