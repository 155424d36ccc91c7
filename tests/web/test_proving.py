"""Who has shown no second factor changes none: by an identity provider, or before there was one."""

import pytest

from interlock.services.signin.browsing import BrowserSignIns
from interlock.testing.authenticator import Authenticator
from interlock.testing.browsing import URL, Browser, WebDesk
from interlock.testing.factors import Authenticator as Phone
from interlock.testing.factors import phone_of


@pytest.fixture
async def browser(desk: WebDesk) -> Browser:
    """Of alice, who has signed in before somebody else has added a phone to her account."""
    signed_in = await desk.signed_in()
    await desk.local.factor_store.add_device(phone_of("alice"))
    await signed_in.get("/account")
    return signed_in


CHANGES = (
    "/account/passkey/options",
    "/account/authenticator",
    "/account/devices/phone",
    "/account/recovery-codes",
)


@pytest.mark.parametrize("path", CHANGES)
async def test_nothing_is_changed_before(desk: WebDesk, browser: Browser, path: str) -> None:
    """The page asks for it instead, and the account page offers no buttons."""
    assert "Prove your second factor" in browser.text
    assert "Remove" not in browser.text
    await browser.send(path)
    assert browser.page.url.path == "/account/prove"
    assert len(await desk.local.factor_store.devices("alice")) == 1
    assert not await desk.local.factor_store.recovery_codes_left("alice")


async def test_a_code_opens_the_way(desk: WebDesk, browser: Browser) -> None:
    """The right one, which is told; wrong ones are braked as ever."""
    await browser.get("/account/prove")
    await browser.send("/account/prove", factor="000000")
    assert browser.page.status_code == 403
    for typed in ("", "browser:0b8f4a5e-1111-4222-8333-944445555666"):
        await browser.get("/account/prove")
        await browser.send("/account/prove", factor=typed)
        assert browser.page.url.path == "/account/prove"
    await browser.get("/account/prove")
    await browser.send("/account/prove", factor=Phone().code(desk.clock.now()))
    assert browser.page.url.path == "/account"
    await browser.send("/account/recovery-codes")
    assert "Recovery codes" in browser.text


async def test_a_passkey_opens_it_as_well(desk: WebDesk) -> None:
    """The person's own, and no stranger's. A first device that was just added is proved by that."""
    mine, strangers = Authenticator(), Authenticator()
    await desk.person("eve")
    for user, key in (("alice", mine), ("eve", strangers)):
        adding = await desk.signed_in(user)
        await adding.get("/account")
        made = key.make(await options(adding, "/account/passkey"))
        await adding.send("/account/passkey", name="key", credential=made)
        assert "Remove" in adding.text
    cookie = await desk_sign_in(desk)
    browser = desk.browser("192.0.2.9")
    browser.client.cookies.set("__Host-interlock-signin", cookie, domain="gate.example")
    await browser.get("/account/prove")
    asked = await options(browser, "/account/prove/passkey")
    await browser.send("/account/prove/passkey", credential=strangers.sign(asked))
    assert browser.page.status_code == 403
    asked = await options(browser, "/account/prove/passkey")
    await browser.send("/account/prove/passkey", credential=mine.sign(asked))
    assert browser.page.url.path == "/account"
    assert "Remove" in browser.text


async def options(browser: Browser, path: str) -> str:
    """What the script fetches."""
    answer = await browser.client.post(f"{path}/options", data={"form": browser.token}, headers={"origin": URL})
    assert answer.status_code == 200, answer.text
    return answer.text


async def desk_sign_in(desk: WebDesk) -> str:
    """The cookie of alice, who came by an identity provider."""
    local = desk.local
    sign_ins = BrowserSignIns(
        store=local.browsers, admitting=local.admitting(desk.events), clock=desk.clock, entropy=local.entropy
    )
    return await sign_ins.begin("alice", method="oidc", device="", source="192.0.2.9")
