"""Passkeys: added by who is signed in, good for signing in, and for nobody else in no other way."""

import json
import re
from datetime import timedelta

import pytest
from pyotp import TOTP

from interlock.core.errors import SignInFailed
from interlock.domain.browser import FRESH, LinkPurpose, Purpose
from interlock.domain.factor import Passkey
from interlock.domain.lock import Lock, LockKind
from interlock.services.signin.browsing import ERRAND_LIFE
from interlock.services.signin.passkeys import PUBLIC
from interlock.testing.authenticator import Authenticator
from interlock.testing.browsing import PASSWORD, URL, Browser, WebDesk


async def options(browser: Browser, path: str) -> str:
    """What the script fetches."""
    answer = await browser.client.post(f"{path}/options", data={"form": browser.token}, headers={"origin": URL})
    assert answer.status_code == 200, answer.text
    return answer.text


async def added(desk: WebDesk, key: Authenticator, user: str = "alice", name: str = "phone") -> Browser:
    """The browser of somebody who has added a passkey."""
    browser = await desk.signed_in(user)
    asked = await options(browser, "/account/passkey")
    await browser.send("/account/passkey", name=name, credential=key.make(asked))
    assert name in browser.text
    return browser


async def sign_in(browser: Browser, key: Authenticator, **changed: str) -> None:
    """By a passkey."""
    await browser.get("/sign-in")
    await browser.send(
        "/sign-in/passkey", credential=key.sign(await options(browser, "/sign-in/passkey"), **changed)
    )


async def test_a_passkey_signs_in_by_itself(desk: WebDesk) -> None:
    """Its person is verified by it; the audit log names the device."""
    key = Authenticator(counter=7)
    await added(desk, key)
    browser = desk.browser("192.0.2.9")
    await sign_in(browser, key)
    assert browser.page.url.path == "/account"
    last = desk.events.all[-1]
    assert last.kind.code == "T1000I"
    device = last.fields["mfa_device"]
    assert isinstance(device, dict)
    assert (device["mfa_device_name"], device["mfa_device_type"]) == ("phone", "passkey")
    [stored] = await desk.local.factor_store.devices("alice")
    assert isinstance(stored.proof, Passkey)
    assert (stored.proof.sign_count, stored.proof.transports) == (8, ("internal",))
    assert "T1006I" in desk.events.codes


async def test_what_browsers_are_asked_for_is_strict(desk: WebDesk) -> None:
    """Our host, a person who is verified, a passkey that knows its account, none twice, no attestation."""
    key = Authenticator()
    browser = await added(desk, key)
    asked = json.loads(await options(browser, "/account/passkey"))
    assert asked["rp"]["id"] == "gate.example"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert asked["authenticatorSelection"]["residentKey"] == "required"
    assert asked["attestation"] == "none"
    assert len(asked["excludeCredentials"]) == 1
    assert "alice" not in asked["user"]["id"]
    asked = json.loads(await options(browser, "/sign-in/passkey"))
    assert (asked["rpId"], asked["userVerification"], asked["allowCredentials"]) == (
        "gate.example",
        "required",
        [],
    )


async def test_a_counter_that_goes_back_is_refused_and_told(desk: WebDesk) -> None:
    """There may be a copy of the passkey. One that does not count at all is taken (many synchronise)."""
    key = Authenticator(counter=10)
    await added(desk, key)
    await sign_in(desk.browser(), key)
    copy = desk.browser("192.0.2.66")
    key.counter = 5
    await sign_in(copy, key)
    assert PUBLIC in copy.text
    last = desk.events.all[-1]
    assert last.kind.code == "T1000W"
    assert "there may be a copy" in str(last.fields["error"])
    assert last.fields["user"] == "alice"
    key.counter = 11
    await sign_in(copy, key)
    assert copy.page.url.path == "/account"


async def refused(desk: WebDesk, browser: Browser, answer: str, text: str = PUBLIC) -> None:
    """Nobody is signed in by this answer."""
    await browser.send("/sign-in/passkey", credential=answer)
    assert browser.page.status_code == 403
    assert text in browser.text
    assert desk.events.codes[-1] == "T1000W"
    await browser.get("/account")
    assert browser.page.url.path == "/sign-in"


@pytest.mark.parametrize("wrong", ["origin", "unverified", "signature", "handle", "key", "garbage", "empty"])
async def test_a_wrong_answer_signs_nobody_in(desk: WebDesk, wrong: str) -> None:
    """Whatever is wrong with it reads alike."""
    key, other = Authenticator(), Authenticator()
    await added(desk, key)
    browser = desk.browser("192.0.2.9")
    await browser.get("/sign-in")
    asked = await options(browser, "/sign-in/passkey")
    if wrong == "origin":
        key.origin = "https://gate.example.evil"
    if wrong == "signature":
        other.credential, other.handle = key.credential, key.handle
    key.verifies = wrong != "unverified"
    answers = {"handle": key.sign(asked, userHandle="AAAA"), "garbage": '{"id": []}', "empty": ""}
    answers |= dict.fromkeys(("signature", "key"), other.sign(asked))
    await refused(desk, browser, answers.get(wrong) or (key.sign(asked) if wrong != "empty" else ""))


@pytest.mark.parametrize("wrong", ["late", "replayed", "other browser"])
async def test_a_right_answer_is_good_once_in_time_for_its_browser(desk: WebDesk, wrong: str) -> None:
    """The challenge is an errand of the browser that was given it."""
    key = Authenticator()
    await added(desk, key)
    browser = desk.browser("192.0.2.9")
    await browser.get("/sign-in")
    answer = key.sign(await options(browser, "/sign-in/passkey"))
    if wrong == "late":
        desk.clock.advance(ERRAND_LIFE)
    if wrong == "replayed":
        await browser.send("/sign-in/passkey", credential=answer)
        await browser.send("/sign-out")
    if wrong == "other browser":
        browser = desk.browser("192.0.2.10")
        await browser.get("/sign-in")
        await options(browser, "/sign-in/passkey")
    await refused(desk, browser, answer)


@pytest.mark.parametrize("gone", ["user locked", "device locked", "account", "device"])
async def test_a_passkey_counts_no_longer_than_what_it_is_of(desk: WebDesk, gone: str) -> None:
    """Its owner may know of a lock."""
    key = Authenticator()
    await added(desk, key)
    [device] = await desk.local.factor_store.devices("alice")
    browser = desk.browser("192.0.2.9")
    await browser.get("/sign-in")
    answer = key.sign(await options(browser, "/sign-in/passkey"))
    match gone:
        case "account":
            await desk.local.users.remove_user("alice")
        case "device":
            await desk.local.factor_store.remove_device("alice", device.id)
        case _:
            kind, name = (LockKind.USER, "alice") if gone == "user locked" else (LockKind.MFA_DEVICE, device.id)
            await desk.local.locks.add_lock(Lock("l", kind, name, desk.clock.now(), "gone fishing"))
    await refused(desk, browser, answer, "gone fishing" if "locked" in gone else PUBLIC)


async def test_failures_are_braked_for_this_source_alone(desk: WebDesk) -> None:
    """A right passkey waits as well."""
    key = Authenticator()
    await added(desk, key)
    browser = desk.browser("192.0.2.9")
    for _ in range(6):
        await sign_in(browser, key, userHandle="AAAA")
    await sign_in(browser, key)
    assert PUBLIC in browser.text
    assert "the brake is on" in str(desk.events.all[-1].fields["error"])
    elsewhere = desk.browser("192.0.2.10")
    await sign_in(elsewhere, key)
    assert elsewhere.page.url.path == "/account"


async def test_devices_are_changed_by_who_proved_it_a_moment_ago(desk: WebDesk) -> None:
    """After that the page asks to sign in again, and the forms lead there."""
    key = Authenticator()
    browser = await added(desk, key)
    [device] = await desk.local.factor_store.devices("alice")
    desk.clock.advance(FRESH)
    await browser.get("/account")
    assert "Sign in again" in browser.text
    assert f"/account/devices/{device.id}" not in browser.text
    await browser.send(f"/account/devices/{device.id}")
    assert (browser.page.url.path, browser.page.url.query) == ("/sign-in", b"again=1")
    assert len(await desk.local.factor_store.devices("alice")) == 1
    await browser.send("/sign-in/passkey", credential=key.sign(await options(browser, "/sign-in/passkey")))
    await browser.send(f"/account/devices/{device.id}")
    assert "was removed" in browser.text
    assert await desk.local.factor_store.devices("alice") == []
    assert desk.events.codes[-1] == "T1007I"


async def test_nobody_removes_anothers_device_or_takes_anothers_passkey(desk: WebDesk) -> None:
    """A credential is one person's."""
    key = Authenticator()
    await added(desk, key)
    [device] = await desk.local.factor_store.devices("alice")
    await desk.person("bob")
    browser = await desk.signed_in("bob")
    await browser.send(f"/account/devices/{device.id}")
    assert browser.page.status_code == 404
    await browser.get("/account")
    asked = await options(browser, "/account/passkey")
    await browser.send("/account/passkey", name="mine", credential=key.make(asked))
    assert browser.page.status_code == 403
    assert len(await desk.local.factor_store.devices("alice")) == 1


@pytest.mark.parametrize("wrong", ["origin", "unverified", "garbage", "unasked", "twice", "name"])
async def test_what_cannot_be_registered(desk: WebDesk, wrong: str) -> None:
    """In words that say what to do."""
    key = Authenticator()
    browser = await desk.signed_in()
    asked = await options(browser, "/account/passkey")
    if wrong == "origin":
        key.origin = "https://evil.example"
    key.verifies = wrong != "unverified"
    answer = "{" if wrong == "garbage" else key.make(asked)
    if wrong == "twice":
        await browser.send("/account/passkey", name="first", credential=answer)
        await desk.local.factor_store.forget_factors("alice")
    if wrong == "unasked":
        browser = await desk.signed_in()
    await browser.send("/account/passkey", name="\n" if wrong == "name" else "phone", credential=answer)
    assert browser.page.status_code == 403
    assert await desk.local.factor_store.devices("alice") == []


async def test_a_link_leads_to_a_passkey_instead_of_a_password(desk: WebDesk) -> None:
    """Once; the account has no password then, and nobody gets in by an empty one."""
    await desk.person("bob", password=None)
    path = await desk.link("bob", LinkPurpose.INVITE)
    key, browser = Authenticator(), desk.browser()
    await browser.get(path)
    answer = key.make(await options(browser, f"{path}/passkey"))
    await browser.send(f"{path}/passkey", credential=answer)
    assert browser.page.url.path == "/account"
    assert "Current password" not in browser.text
    assert (await desk.local.users.user("bob")).password_hash is None
    await desk.browser().get(path)
    other = desk.browser()
    await sign_in(other, key)
    assert "bob" in other.text


async def test_a_link_proves_no_second_factor(desk: WebDesk) -> None:
    """Who has one signs in with it after a reset, and adds none by the link."""
    key = Authenticator()
    await added(desk, key)
    path = await desk.link()
    browser = desk.browser("192.0.2.9")
    await browser.get(path)
    assert "passkey" not in browser.text.replace("passkey.js", "")
    refused = await browser.client.post(
        f"{path}/passkey/options", data={"form": browser.token}, headers={"origin": URL}
    )
    assert refused.status_code == 403
    await browser.send(path, new="staple correct horse", again="staple correct horse")
    assert browser.page.url.path == "/sign-in"
    await browser.get("/account")
    assert browser.page.url.path == "/sign-in"


async def test_an_authenticator_app_and_recovery_codes(desk: WebDesk) -> None:
    """The picture is ours; what is stored has shown a code; a recovery code signs in once."""
    browser = await desk.signed_in()
    await browser.get("/account/authenticator")
    assert "<svg" in browser.page.text
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', browser.page.text)
    assert secret is not None
    await browser.send("/account/authenticator", secret=secret[1], name="app", shown="000000")
    assert "not the code" in browser.text
    await browser.send("/account/authenticator", secret="?", name="app", shown="000000")
    assert "not an authenticator" in browser.text
    shown = TOTP(secret[1]).at(desk.clock.now())
    await browser.send("/account/authenticator", secret=secret[1], name="app", shown=shown)
    assert "app" in browser.text
    await browser.send("/account/recovery-codes")
    codes = re.findall(r"<code>([a-z2-7-]+)</code>", browser.page.text)
    assert len(codes) == 10
    other = desk.browser("192.0.2.9")
    for attempt in range(2):
        await other.get("/sign-in")
        await other.send("/sign-in", user="alice", password=PASSWORD, factor=codes[0])
        assert (other.page.url.path == "/account") is (attempt == 0)
        await other.send("/sign-out")
        desk.clock.advance(timedelta(minutes=2))


async def test_a_passkey_confirms_a_connection_of_its_own_person(desk: WebDesk) -> None:
    """Without a sign-in in this browser; nothing but the passkey does, and nobody else's."""
    key, other = Authenticator(), Authenticator()
    await desk.person("bob")
    mine = await added(desk, key)
    theirs = await added(desk, other, "bob")
    asked = await desk.confirmations.ask("alice", source="198.51.100.9:1", purpose=Purpose.FACTOR)
    path = f"/c/{asked.code}"
    await mine.get(path)
    assert "Confirm with your passkey" in mine.text
    assert "198.51.100.9:1" in mine.text
    await mine.send(path, verdict="confirm")
    assert mine.page.status_code == 403
    await theirs.get(path)
    await theirs.send(f"{path}/passkey", credential=other.sign(await options(theirs, f"{path}/passkey")))
    assert theirs.page.status_code == 403
    assert await desk.confirmations.collect_factor(asked.id, "alice") is None
    browser = desk.browser("192.0.2.9")
    await browser.get(path)
    question = json.loads(await options(browser, f"{path}/passkey"))
    assert len(question["allowCredentials"]) == 1
    await browser.send(f"{path}/passkey", credential=key.sign(json.dumps(question)))
    assert "Confirmed" in browser.text
    assert desk.events.codes[-1] == "T1016I"
    with pytest.raises(SignInFailed):
        await desk.confirmations.collect(asked.id)
    [device] = await desk.local.factor_store.devices("alice")
    assert await desk.confirmations.collect_factor(asked.id, "alice") == device.id
    with pytest.raises(SignInFailed):
        await desk.confirmations.collect_factor(asked.id, "alice")


async def test_a_sign_in_is_not_confirmed_by_a_passkey_that_is_used_as_a_second_factor(desk: WebDesk) -> None:
    """It would let in whoever has the code of somebody else's sign-in."""
    key = Authenticator()
    browser = await added(desk, key)
    asked = await desk.confirmations.ask("alice", source="198.51.100.9:1")
    answer = await browser.client.post(
        f"/c/{asked.code}/passkey/options", data={"form": browser.token}, headers={"origin": URL}
    )
    assert answer.status_code == 403
