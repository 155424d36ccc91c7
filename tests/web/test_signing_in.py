"""Signing in by password in a browser."""

from datetime import timedelta

import pytest

from interlock.domain.bot import Bot
from interlock.domain.browser import FRESH, IDLE, LIFE
from interlock.domain.lock import Lock, LockKind
from interlock.services.bots.bots import add_bot
from interlock.services.signin.browsing import BrowserSignIns
from interlock.services.signin.signin import PUBLIC
from interlock.testing.browsing import PASSWORD, URL, WebDesk
from interlock.testing.factors import Authenticator, phone_of

NEW = "staple correct horse"


async def test_a_person_signs_in_and_out(desk: WebDesk) -> None:
    """The cookie is ours alone, and no script's; it is good for nothing after signing out."""
    browser = await desk.signed_in()
    assert browser.page.url.path == "/account"
    assert "alice" in browser.text
    cookie = browser.client.cookies["__Host-interlock-signin"]
    await browser.send("/sign-out")
    assert browser.page.url.path == "/sign-in"
    browser.client.cookies.set("__Host-interlock-signin", cookie, domain="gate.example")
    await browser.get("/account")
    assert browser.page.url.path == "/sign-in"
    assert desk.events.codes == ["T1000I"]


async def test_the_cookies_say_what_protects_them(desk: WebDesk) -> None:
    """``__Host-``: of this host alone, by TLS; no script reads them; no other site's form or link brings them."""
    browser = desk.browser()
    await browser.get("/sign-in")
    fields = {"form": browser.token, "user": "alice", "password": PASSWORD}
    answer = await browser.client.post("/sign-in", data=fields, headers={"origin": URL})
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-interlock-signin=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(cookie.split("; "))


async def test_all_failures_read_alike(desk: WebDesk) -> None:
    """Unknown, removed, without password, with a wrong or an empty one, too often (GHSA-3cjp)."""
    await desk.person("carol", password=None)
    texts = set()
    browser = desk.browser()
    for user, password in (
        ("alice", "wrong"), ("nobody", PASSWORD), ("carol", ""), ("carol", "x"), ("alice", ""), ("", ""),
        ("-tunnel", "x"),
        *[("alice", "wrong")] * 5,
        ("alice", PASSWORD),
    ):  # fmt: skip
        await browser.get("/sign-in")
        await browser.send("/sign-in", user=user, password=password)
        assert browser.page.status_code == 403
        assert PUBLIC in browser.text
        texts.add(browser.text.replace(browser.token, ""))
    assert len(texts) == 1
    assert set(desk.events.codes) == {"T1000W"}


async def test_the_form_of_before_signing_in_is_none_afterwards(desk: WebDesk) -> None:
    """A token is bound to the sign-in too."""
    browser = desk.browser()
    await browser.get("/sign-in")
    before = browser.token
    await browser.send("/sign-in", user="alice", password=PASSWORD)
    assert browser.token != before
    assert (await browser.send("/sign-out", form=before)).status_code == 403


async def test_a_one_time_password_has_to_be_changed_at_once(desk: WebDesk) -> None:
    """Nobody is signed in before; what will not do is asked for again."""
    await desk.person("bob", must_change=True)
    browser = desk.browser()
    await browser.get("/sign-in")
    await browser.send("/sign-in", user="bob", password=PASSWORD)
    assert "__Host-interlock-signin" not in browser.client.cookies
    await browser.send("/sign-in/password", new="short", again="short")
    assert "12 to" in browser.text
    await browser.send("/sign-in/password", new=NEW, again=NEW + "r")
    assert "differ" in browser.text
    await browser.send("/sign-in/password", new=NEW, again=NEW)
    assert browser.page.url.path == "/account"
    assert not (await desk.local.users.user("bob")).must_change
    assert "T1005I" in desk.events.codes


async def test_a_one_time_password_changes_nothing_once_there_is_another(desk: WebDesk) -> None:
    """Whoever had stolen it and has its page open is too late when its owner comes in by a link."""
    await desk.person("bob", must_change=True)
    thief, owner = desk.browser(), desk.browser("192.0.2.8")
    await thief.get("/sign-in")
    await thief.send("/sign-in", user="bob", password=PASSWORD)
    link = await desk.link("bob")
    await owner.get(link)
    await owner.send(link, new=NEW, again=NEW)
    await thief.send("/sign-in/password", new=NEW + "er", again=NEW + "er")
    assert PUBLIC in thief.text
    assert (await owner.get("/account")).url.path == "/account"
    assert await desk.local.passwords.verify((await desk.local.users.user("bob")).password_hash, NEW)


async def test_a_bots_token_opens_no_browser(desk: WebDesk) -> None:
    """It would be a sign-in of hours, in which certificates are had as often as somebody likes."""
    bot = Bot("backup", ("root",), timedelta(hours=1), (), desk.clock.now())
    local = desk.local
    token = await add_bot(
        local.bots, local.users, bot, ["dev"], pin="SHA256:x", clock=desk.clock, entropy=local.entropy
    )
    browser = desk.browser()
    await browser.get("/sign-in")
    await browser.send("/sign-in", user="backup", password=token.text)
    assert PUBLIC in browser.text
    assert (await browser.get("/account")).url.path == "/sign-in"


async def test_nobody_changes_a_password_without_having_shown_one(desk: WebDesk) -> None:
    """The errand is the browser's that began it, and taken once."""
    await desk.person("bob", must_change=True)
    browser, other = desk.browser(), desk.browser("192.0.2.8")
    for each in (browser, other):
        await each.get("/sign-in")
    await browser.send("/sign-in", user="bob", password=PASSWORD)
    await other.send("/sign-in/password", new=NEW, again=NEW, user="bob")
    assert other.page.status_code == 403
    await browser.send("/sign-in/password", new=NEW, again=NEW)
    assert browser.page.url.path == "/account"


@pytest.mark.parametrize(
    ("steps", "step", "ends"),
    [
        (1, IDLE - timedelta(seconds=1), False),
        (1, IDLE, True),
        (12, timedelta(minutes=59), False),
        (13, timedelta(minutes=59), True),
    ],
)
async def test_a_sign_in_ends_by_itself(desk: WebDesk, steps: int, step: timedelta, ends: bool) -> None:
    """When nothing was asked for a while, and after a working day in any case."""
    assert timedelta(minutes=59) * 12 < LIFE < timedelta(minutes=59) * 13
    browser = await desk.signed_in()
    for _ in range(steps):
        desk.clock.advance(step)
        await browser.get("/account")
    assert (browser.page.url.path == "/sign-in") is ends


@pytest.mark.parametrize("how", ["lock", "removal", "sign-out", "password"])
async def test_a_sign_in_counts_no_longer_than_the_account(desk: WebDesk, how: str) -> None:
    """A lock, the account's end, an administrator's word, another password: at the next request."""
    browser = await desk.signed_in()
    match how:
        case "lock":
            lock = Lock("l1", LockKind.USER, "alice", desk.clock.now())
            await desk.local.locks.add_lock(lock)
        case "removal":
            await desk.local.users.remove_user("alice")
            await desk.person("alice")
        case "sign-out":
            assert await desk.local.browsers.remove_sign_ins("alice") == 1
        case _:
            other = await desk.signed_in(source="192.0.2.8")
            await other.send("/account/password", old=PASSWORD, new=NEW, again=NEW)
            assert "was changed" in other.text
    await browser.get("/account")
    assert browser.page.url.path == "/sign-in"


async def test_a_password_is_changed_by_who_knows_the_old_one(desk: WebDesk) -> None:
    """Somebody may have left the browser alone."""
    browser = await desk.signed_in()
    await browser.send("/account/password", old="wrong", new=NEW, again=NEW)
    assert PUBLIC in browser.text
    assert desk.events.codes[-1] == "T1000W"
    await browser.get("/account")
    desk.clock.advance(FRESH)
    await browser.send("/account/password", old=PASSWORD, new=NEW, again="other")
    assert "differ" in browser.text
    await browser.send("/account/password", old=PASSWORD, new=NEW, again=NEW)
    assert "was changed" in browser.text


async def test_a_one_time_password_is_changed_with_the_second_factor(desk: WebDesk) -> None:
    """Also in a browser that somebody has left alone, whose owner came in by a passkey."""
    await desk.person("carol", must_change=True)
    await desk.local.factor_store.add_device(phone_of("carol"))
    cookie = await BrowserSignIns(
        store=desk.local.browsers,
        admitting=desk.local.admitting(desk.events),
        clock=desk.clock,
        entropy=desk.local.entropy,
    ).begin("carol", method="local", device="passkey", source="192.0.2.7")
    browser = desk.browser()
    browser.client.cookies.set("__Host-interlock-signin", cookie, domain="gate.example")
    desk.clock.advance(FRESH)
    await browser.get("/account")
    await browser.send("/account/password", old=PASSWORD, new=NEW, again=NEW)
    assert "code of your second factor" in browser.text
    assert (await desk.local.users.user("carol")).must_change


async def test_where_somebody_goes_afterwards_is_a_place_of_ours(desk: WebDesk) -> None:
    """Open redirects are impossible: of what the request says only a code counts."""
    for code, path in (
        ("//evil.example", "/account"),
        ("abcd efgh-jklm", "/c/ABCD-EFGH-JKLM"),
        ("../x", "/account"),
    ):
        browser = desk.browser()
        await browser.get("/sign-in")
        fields = {"form": browser.token, "user": "alice", "password": PASSWORD, "code": code, "next": code}
        answer = await browser.client.post("/sign-in", data=fields, headers={"origin": URL})
        assert answer.headers["location"] == path


@pytest.mark.parametrize("must_change", [False, True])
async def test_a_password_alone_is_not_enough_for_whoever_has_a_second_factor(
    desk: WebDesk, *, must_change: bool
) -> None:
    """Not even a one-time password that was changed: its own page asks for both."""
    await desk.person("carol", must_change=must_change)
    await desk.local.factor_store.add_device(phone_of("carol"))
    browser, password = desk.browser(), PASSWORD
    await browser.get("/sign-in")
    await browser.send("/sign-in", user="carol", password=password)
    if must_change:
        password = "a new and long password"
        await browser.send("/sign-in/password", new=password, again=password)
        assert "sign in with it" in browser.text
    else:
        assert "second factor" in browser.text
    assert (await browser.get("/account")).url.path == "/sign-in"
    code = Authenticator().code(desk.clock.now())
    await browser.send("/sign-in", user="carol", password=password, factor=code)
    assert (await browser.get("/account")).url.path == "/account"
    assert desk.events.all[-1].fields["mfa_device"]
