"""What is asked at the door of somebody who signs in with a browser, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.ssh.browser import HINT, MAX_SHOWN, Nowhere, Questions
from interlock.adapters.ssh.portal import KeyboardInteractive
from interlock.adapters.ssh.second import SecondQuestion
from interlock.core.browser import ANYBODY, CHALLENGE, SUBMETHOD, address_in
from interlock.domain.browser import CONFIRM_LIFE, FRESH, Purpose
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Lock, LockKind
from interlock.services.signin.admitting import NOT_CONFIRMED
from interlock.services.signin.confirming import MAX_OF_SOURCE, NOT_VALID
from interlock.testing.authenticator import Authenticator
from interlock.testing.browsing import PASSWORD, URL, WebDesk, web_desk
from interlock.testing.clock import START

SOURCE = "198.51.100.9:40000"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[WebDesk]:
    """With the accounts of alice and bob."""
    async with web_desk(tmp_path / "data") as opened:
        await opened.person()
        await opened.person("bob")
        yield opened


class Terminal:
    """One connection's questions. Time passes only when the test says so."""

    def __init__(self, desk: WebDesk, user: str = "alice", *, source: str = SOURCE, web: bool = True) -> None:
        self.patient = 0
        self.user = user
        self.looked = asyncio.Event()
        passwords = KeyboardInteractive(desk.local.sign_in(desk.events), user, source)
        self.questions = Questions(
            passwords,
            desk.confirmations if web else Nowhere(),
            user,
            source,
            patience=self._patience,
            sleep=self._sleep,
        )

    def _patience(self) -> None:
        self.patient += 1

    async def _sleep(self, _seconds: float) -> None:
        self.looked.set()
        await asyncio.sleep(0)

    async def begin(self, submethods: str = SUBMETHOD) -> str:
        """Ask for a browser; the path that is shown."""
        asked = await self.questions.challenge(self.user, submethods)
        assert isinstance(asked, tuple)
        assert (asked[0], asked[3]) == (CHALLENGE, [])
        assert SOURCE in asked[1]
        return address_in(asked[1]).removeprefix("https://gate.example")


async def test_a_sign_in_is_confirmed_in_a_browser(desk: WebDesk) -> None:
    """The page shows code, name and address; the terminal goes on by itself, and has had time to."""
    terminal = Terminal(desk)
    path = await terminal.begin()
    assert terminal.patient == 1
    browser = desk.browser()
    await browser.get(path)
    assert browser.page.url.path == "/sign-in"
    await browser.get(str(browser.page.url))
    code = path.removeprefix("/c/")
    await browser.send("/sign-in", user="alice", password=PASSWORD, code=code)
    assert browser.page.url.path == path
    for shown in (code, "alice", SOURCE):
        assert shown in browser.text
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(terminal.questions.respond("alice", []))
        await terminal.looked.wait()
        await browser.send(path, verdict="confirm")
    assert waiting.result() is True
    assert terminal.questions.user == "alice"
    last = desk.events.all[-1]
    assert (last.kind.code, last.fields["through"], last.fields["addr.remote"]) == ("T1000I", "browser", SOURCE)


async def test_whoever_the_browser_says(desk: WebDesk) -> None:
    """The reserved name is nobody's, and stands for whoever confirms."""
    terminal = Terminal(desk, ANYBODY)
    path = await terminal.begin()
    browser = await desk.signed_in("bob")
    await browser.get(path)
    await browser.send(path, verdict="confirm")
    assert await terminal.questions.respond(ANYBODY, []) is True
    assert terminal.questions.user == "bob"
    assert await terminal.questions.challenge(ANYBODY, "") is False


async def test_nobody_confirms_for_somebody_else(desk: WebDesk) -> None:
    """The page says so; a form that is sent all the same is refused."""
    path = await Terminal(desk).begin()
    browser = await desk.signed_in("bob")
    await browser.get(path)
    assert "is for alice" in browser.text
    await browser.send(path, verdict="confirm")
    assert browser.page.status_code == 403


async def test_who_confirms_has_proved_who_he_is_a_moment_ago(desk: WebDesk) -> None:
    """A browser that was left alone brings no certificate, nor a sign-in that may change second factors."""
    terminal = Terminal(desk)
    browser = await desk.signed_in()
    desk.clock.advance(FRESH)
    path = await terminal.begin()
    await browser.get(path)
    await browser.send(path, verdict="confirm")
    assert (browser.page.url.path, "Confirmed" in browser.text) == ("/sign-in", False)
    await browser.send("/sign-in", user="alice", password=PASSWORD, code=path.removeprefix("/c/"))
    assert browser.page.url.path == path
    await browser.send(path, verdict="confirm")
    assert await terminal.questions.respond("alice", []) is True


@pytest.mark.parametrize("how", ["refused", "late", "removed", "locked"])
async def test_what_is_not_confirmed_is_no_sign_in(desk: WebDesk, how: str) -> None:
    """Told in words, and in the audit log."""
    terminal = Terminal(desk)
    path = await terminal.begin()
    if how != "late":
        browser = await desk.signed_in()
        await browser.get(path)
        await browser.send(path, verdict="refuse" if how == "refused" else "confirm")
    if how == "late":
        desk.clock.advance(CONFIRM_LIFE)
    if how == "removed":
        await desk.local.users.remove_user("alice")
    if how == "locked":
        await desk.local.locks.add_lock(Lock("l1", LockKind.USER, "alice", desk.clock.now(), "gone fishing"))
    verdict = await terminal.questions.respond("alice", [])
    assert isinstance(verdict, tuple)
    assert verdict[1] == NOT_CONFIRMED or (how == "locked" and "gone fishing" in verdict[1])
    assert terminal.questions.user == ""
    assert desk.events.codes[-1] == "T1000W"


async def test_a_code_is_good_once(desk: WebDesk) -> None:
    """For one decision and for one sign-in."""
    terminal = Terminal(desk)
    path = await terminal.begin()
    browser = await desk.signed_in()
    await browser.get(path)
    await browser.send(path, verdict="confirm")
    await browser.get("/account")
    await browser.send(path, verdict="refuse")
    assert NOT_VALID in browser.text
    assert await terminal.questions.respond("alice", []) is True
    assert await terminal.questions.respond("alice", []) is False


async def test_codes_that_nobody_waits_for_read_alike_and_are_braked(desk: WebDesk) -> None:
    """Wrong, used, late, malformed; after some of them the right one is refused as well, for this source alone."""
    path = await Terminal(desk).begin()
    browser = await desk.signed_in()
    await browser.get("/c/nothing")
    assert browser.page.url.path == "/code"
    texts = set()
    for _ in range(6):
        await browser.get("/c/AAAA-BBBB-CCCC")
        assert browser.page.status_code == 403
        texts.add(browser.text)
    await browser.get(path)
    assert NOT_VALID in browser.text
    assert len(texts | {browser.text}) == 1
    other = await desk.signed_in(source="192.0.2.8")
    await other.get("/code?code=" + path.removeprefix("/c/").replace("-", "+").lower())
    assert "Sign in at a terminal?" in other.text


async def test_who_may_wait_is_bounded(desk: WebDesk) -> None:
    """Of one source; in words."""
    for _ in range(MAX_OF_SOURCE):
        await Terminal(desk).begin()
    asked = await Terminal(desk).questions.challenge("alice", SUBMETHOD)
    assert isinstance(asked, tuple)
    assert asked[0] == ""
    assert "too many" in asked[1]
    assert (await desk.confirmations.ask("alice", source="198.51.100.10:1")).code


async def test_a_connection_is_shown_so_many_addresses(desk: WebDesk) -> None:
    """And gets time for a browser once: it holds a place among those who have not authenticated."""
    terminal = Terminal(desk)
    for _ in range(MAX_SHOWN):
        await terminal.begin()
    assert await terminal.questions.challenge("alice", SUBMETHOD) is False
    assert terminal.patient == 1


@pytest.mark.parametrize("name", ["a\x00b", "-tunnel", "a" * 200])
async def test_what_is_no_name_is_asked_for_nowhere(desk: WebDesk, name: str) -> None:
    """No page shows it, and no database has to keep it."""
    asked = await Terminal(desk, name).questions.challenge(name, SUBMETHOD)
    assert asked == ("", "that is no user name", "", [])


async def test_an_empty_password_asks_for_the_browser_and_for_nothing_else(desk: WebDesk) -> None:
    """GHSA-3cjp: it never signs anybody in. Where there is no browser's side it is a password, and wrong."""
    terminal = Terminal(desk)
    asked = await terminal.questions.challenge("alice", "")
    assert asked == ("", HINT, "", [("Password: ", False)])
    shown = await terminal.questions.respond("alice", [""])
    assert isinstance(shown, tuple)
    assert shown[0] == CHALLENGE
    plain = Terminal(desk, web=False)
    assert await plain.questions.challenge("alice", "") == ("", "", "", [("Password: ", False)])
    assert await plain.questions.respond("alice", [""]) is False
    refused = await plain.questions.challenge("alice", SUBMETHOD)
    assert isinstance(refused, tuple)
    assert "no sign-in by browser" in refused[1]


async def test_a_password_still_signs_in(desk: WebDesk) -> None:
    """As before."""
    terminal = Terminal(desk)
    await terminal.questions.challenge("alice", "")
    assert await terminal.questions.respond("alice", [PASSWORD]) is True
    assert terminal.questions.user == "alice"
    assert await terminal.questions.challenge("bob", "") is False
    assert await terminal.questions.respond("bob", [PASSWORD]) is False


async def test_what_waits_says_what_it_is_for(desk: WebDesk) -> None:
    """A sign-in, unless it is said otherwise."""
    code = (await Terminal(desk).begin()).removeprefix("/c/")
    assert (await desk.confirmations.look(code, source=SOURCE)).purpose is Purpose.SIGN_IN


def proven(user: str = "alice") -> Claims:
    """What somebody's certificate says, with which the connection began."""
    identity = Identity(user, ("dev",), "interlock")
    return Claims(identity, ("root",), START, START + timedelta(hours=1), 1)


class Second:
    """The question after a certificate."""

    def __init__(self, desk: WebDesk) -> None:
        self.patient = 0
        self.looked = asyncio.Event()
        signing = desk.local.sign_in(desk.events, desk.confirmations)
        self.question = SecondQuestion(signing, proven(), SOURCE, patience=self._patience, sleep=self._sleep)

    def _patience(self) -> None:
        self.patient += 1

    async def _sleep(self, _seconds: float) -> None:
        self.looked.set()
        await asyncio.sleep(0)


async def with_passkey(desk: WebDesk, key: Authenticator) -> str:
    """Give alice a passkey; its ID."""
    browser = await desk.signed_in()
    asked = await browser.client.post(
        "/account/passkey/options", data={"form": browser.token}, headers={"origin": URL}
    )
    await browser.send("/account/passkey", name="phone", credential=key.make(asked.text))
    [device] = await desk.local.factor_store.devices("alice")
    return device.id


async def touch(desk: WebDesk, path: str, key: Authenticator) -> None:
    """Confirm with it, in a browser in which nobody is signed in."""
    browser = desk.browser("192.0.2.9")
    await browser.get(path)
    asked = await browser.client.post(
        f"{path}/passkey/options", data={"form": browser.token}, headers={"origin": URL}
    )
    await browser.send(f"{path}/passkey", credential=key.sign(asked.text))
    assert "Confirmed" in browser.text


async def test_a_passkey_answers_the_question_after_a_certificate(desk: WebDesk) -> None:
    """Nothing is typed; the connection goes on by itself, for the passkey's own person, and knows the device."""
    key, second = Authenticator(), Second(desk)
    device = await with_passkey(desk, key)
    asked = await second.question.challenge()
    assert isinstance(asked, tuple)
    assert asked[3] == []
    assert second.patient == 1
    path = address_in(asked[1]).removeprefix("https://gate.example")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(second.question.respond([]))
        await second.looked.wait()
        await touch(desk, path, key)
    assert waiting.result() is True
    assert second.question.confirmed is not None
    assert second.question.confirmed.identity.confirmed == device
    assert desk.events.codes[-1] == "T1016I"
    again = Second(desk)
    shown = await again.question.challenge()
    assert isinstance(shown, tuple)
    assert address_in(shown[1]) != f"https://gate.example{path}"


async def test_a_code_may_be_typed_instead(desk: WebDesk) -> None:
    """By who has one; an empty answer waits for the browser, and not for ever."""
    key, second = Authenticator(), Second(desk)
    await with_passkey(desk, key)
    [code, *_] = await desk.local.factors(desk.events).new_recovery_codes("alice")
    asked = await second.question.challenge()
    assert isinstance(asked, tuple)
    assert asked[3] == [("Code: ", True)]
    assert await second.question.respond([code]) is True
    late = Second(desk)
    await late.question.challenge()
    desk.clock.advance(CONFIRM_LIFE)
    assert await late.question.respond([""]) is False
    assert late.question.confirmed is None


async def test_a_locked_passkey_confirms_nothing(desk: WebDesk) -> None:
    """A lock on it counts here as well, if it came after it was used."""
    key, second = Authenticator(), Second(desk)
    device = await with_passkey(desk, key)
    asked = await second.question.challenge()
    assert isinstance(asked, tuple)
    await touch(desk, address_in(asked[1]).removeprefix("https://gate.example"), key)
    await desk.local.locks.add_lock(Lock("l", LockKind.MFA_DEVICE, device, desk.clock.now(), "gone fishing"))
    told = await second.question.respond([])
    assert isinstance(told, tuple)
    assert "gone fishing" in told[1]
    assert second.question.confirmed is None
