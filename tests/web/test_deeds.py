"""Every form of the web part leaves its events: exactly these, of the person, from where the browser is.

`DEEDS`, `ELSEWHERE` and `QUIET` name every form that there is.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyotp import TOTP

from interlock.domain.audit import Kind
from interlock.domain.browser import LinkPurpose
from interlock.testing.authenticator import Authenticator
from interlock.testing.browsing import PASSWORD, URL, Browser, WebDesk
from interlock.testing.factors import Authenticator as Phone
from interlock.testing.factors import phone_of
from interlock.web.app import ROUTES

KEY = Authenticator()
NEW = "staple correct horse"


async def options(browser: Browser, path: str) -> str:
    """What the script fetches."""
    answer = await browser.client.post(f"{path}/options", data={"form": browser.token}, headers={"origin": URL})
    return answer.text


async def with_phone(desk: WebDesk) -> Browser:
    """Alice has one, and has signed in by it."""
    await desk.local.factor_store.add_device(phone_of("alice"))
    browser = desk.browser()
    await browser.get("/sign-in")
    code = Phone().code(desk.clock.now())
    await browser.send("/sign-in", user="alice", password=PASSWORD, factor=code)
    return browser


async def signed_in(desk: WebDesk) -> Browser:
    """By password."""
    return await desk.signed_in()


async def nobody(desk: WebDesk) -> Browser:
    """Before signing in."""
    browser = desk.browser()
    await browser.get("/sign-in")
    return browser


async def with_passkey(desk: WebDesk) -> Browser:
    """`KEY`, of somebody who has signed out again."""
    browser = await desk.signed_in()
    await add_passkey(browser, desk)
    await browser.send("/sign-out")
    return browser


async def at_link(desk: WebDesk) -> Browser:
    """An administrator has invited somebody."""
    await desk.person("bob", password=None)
    browser = desk.browser()
    await browser.get(await desk.link("bob", LinkPurpose.INVITE))
    return browser


async def must_change(desk: WebDesk) -> Browser:
    """Somebody with a one-time password is asked for another one."""
    await desk.person("carol", must_change=True)
    browser = await desk.signed_in("carol")
    assert "/sign-in" in browser.page.url.path
    return browser


async def later_with_passkey(desk: WebDesk) -> Browser:
    """The same with `KEY`."""
    browser, other = await desk.signed_in(), await desk.signed_in()
    await add_passkey(other, desk)
    await browser.get("/account/prove")
    return browser


async def prove_by_passkey(browser: Browser, _desk: WebDesk) -> None:
    """As the script does."""
    asked = await options(browser, "/account/prove/passkey")
    await browser.send("/account/prove/passkey", credential=KEY.sign(asked))


async def later(desk: WebDesk) -> Browser:
    """Signed in before there was a phone."""
    browser = await desk.signed_in()
    await desk.local.factor_store.add_device(phone_of("alice"))
    await browser.get("/account/prove")
    return browser


async def add_passkey(browser: Browser, _desk: WebDesk) -> None:
    """As the script does."""
    await browser.send(
        "/account/passkey", name="key", credential=KEY.make(await options(browser, "/account/passkey"))
    )


async def add_totp(browser: Browser, desk: WebDesk) -> None:
    """As the page shows it."""
    await browser.get("/account/authenticator")
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', browser.page.text)
    assert secret is not None
    shown = TOTP(secret[1]).at(desk.clock.now())
    await browser.send("/account/authenticator", secret=secret[1], name="app", shown=shown)


async def sign_in_by_passkey(browser: Browser, _desk: WebDesk) -> None:
    """As the script does."""
    await browser.get("/sign-in")
    await browser.send("/sign-in/passkey", credential=KEY.sign(await options(browser, "/sign-in/passkey")))


def sending(path: str, **fields: str) -> Callable[[Browser, WebDesk], Awaitable[None]]:
    """A form; empty: to where the browser is."""

    async def do(browser: Browser, _desk: WebDesk) -> None:
        await browser.send(path or browser.page.url.path, **fields)

    return do


async def prove(browser: Browser, desk: WebDesk) -> None:
    """By the code that the phone shows."""
    await browser.send("/account/prove", factor=Phone().code(desk.clock.now()))


@dataclass(frozen=True)
class Deed:
    """One form, and what the log has of it."""

    world: Callable[[WebDesk], Awaitable[Browser]]
    do: Callable[[Browser, WebDesk], Awaitable[None]]
    leaves: tuple[Kind, ...]
    user: str = "alice"


SIGNS_IN = sending("/sign-in", user="alice", password=PASSWORD)
DEEDS = {
    "/sign-in": Deed(nobody, SIGNS_IN, (Kind.USER_LOGIN,)),
    "/sign-in, wrongly": Deed(
        nobody, sending("/sign-in", user="alice", password="no"), (Kind.USER_LOGIN_FAILURE,)
    ),
    "/sign-in/passkey": Deed(with_passkey, sign_in_by_passkey, (Kind.USER_LOGIN,)),
    "/sign-in/password": Deed(
        must_change,
        sending("/sign-in/password", user="carol", password=PASSWORD, new=NEW, again=NEW),
        (Kind.PASSWORD_CHANGE,),  # which lets in by itself, as with a link
        "carol",
    ),
    "/link/{secret:str}": Deed(at_link, sending("", new=NEW, again=NEW), (Kind.PASSWORD_CHANGE,), "bob"),
    "/account/password": Deed(
        signed_in,
        sending("/account/password", old=PASSWORD, new=NEW, again=NEW),
        (Kind.USER_LOGIN, Kind.PASSWORD_CHANGE),
    ),
    "/account/prove": Deed(later, prove, (Kind.MFA_CONFIRM,)),
    "/account/prove/passkey": Deed(later_with_passkey, prove_by_passkey, (Kind.MFA_CONFIRM,)),
    "/account/passkey": Deed(signed_in, add_passkey, (Kind.MFA_ADD,)),
    "/account/authenticator": Deed(signed_in, add_totp, (Kind.MFA_ADD,)),
    "/account/devices/{device:str}": Deed(with_phone, sending("/account/devices/phone"), (Kind.MFA_DELETE,)),
    "/account/recovery-codes": Deed(with_phone, sending("/account/recovery-codes"), (Kind.RECOVERY_CODES,)),
}

ELSEWHERE = {
    "/link/{secret:str}/passkey": ("test_passkeys.py", "T1006I"),
    "/c/{code:str}/passkey": ("test_passkeys.py", "T1016I"),
}
"""Forms whose event another test looks for, and where."""

QUIET = {
    "/sign-out",  # forgets what lets this browser in
    "/c/{code:str}",  # the sign-in that is confirmed by it is told as one
}
"""Forms that leave nothing."""


def test_every_form_is_here() -> None:
    """But for what a script fetches before it sends one."""
    forms = {route.path for route in ROUTES if route.method == "POST" and not route.path.endswith("/options")}
    assert forms == {name for name in DEEDS if ", " not in name} | ELSEWHERE.keys() | QUIET


def test_forms_that_are_tested_elsewhere_are() -> None:
    """By code."""
    for path, code in ELSEWHERE.values():
        assert f'"{code}"' in Path(__file__).with_name(path).read_text(), (path, code)


@pytest.mark.parametrize("name", DEEDS)
async def test_a_form_leaves_its_events(desk: WebDesk, name: str) -> None:
    """By code, each with the person and the browser's address."""
    deed = DEEDS[name]
    browser = await deed.world(desk)
    before = len(desk.events.all)
    await deed.do(browser, desk)
    told = desk.events.all[before:]
    assert [each.kind for each in told] == list(deed.leaves), browser.text
    for each in told:
        assert (each.fields["user"], str(each.fields["addr.remote"]).split(":")[0]) == (deed.user, "192.0.2.7")
