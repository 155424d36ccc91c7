"""Links: once, for an hour, for one person."""

import asyncio

import pytest

from interlock.domain.browser import LinkPurpose
from interlock.services.signin.links import PUBLIC
from interlock.testing.browsing import URL, WebDesk

NEW = "staple correct horse"


async def test_somebody_new_comes_in_by_a_link(desk: WebDesk) -> None:
    """Looking does not use it up; a password that will not do does not either."""
    await desk.person("bob", password=None)
    path = await desk.link("bob", LinkPurpose.INVITE)
    browser = desk.browser()
    await browser.get(path)
    await browser.get(path)
    assert "Welcome" in browser.text
    assert "bob" in browser.text
    await browser.send(path, new="short", again="short")
    assert "12 to" in browser.text
    await browser.send(path, new=NEW, again=NEW)
    assert browser.page.url.path == "/account"
    assert desk.events.codes == ["T1005I"]
    other = desk.browser()
    await other.get("/sign-in")
    await other.send("/sign-in", user="bob", password=NEW)
    assert other.page.url.path == "/account"


async def test_links_that_let_nobody_in_read_alike(desk: WebDesk) -> None:
    """Used, expired, replaced, of a removed account, never made."""
    for name in ("used", "late", "replaced", "removed"):
        await desk.person(name)
    used, replaced, removed = [await desk.link(name) for name in ("used", "replaced", "removed")]
    late = await desk.link("late", hours=0.5)
    browser = desk.browser()
    await browser.get(used)
    await browser.send(used, new=NEW, again=NEW)
    await desk.link("replaced")
    await desk.local.users.remove_user("removed")
    desk.clock.advance(1800)
    texts = set()
    for path in (used, late, replaced, removed, "/link/" + "x" * 43, "/link/%2e%2e"):
        browser = desk.browser()
        await browser.get(path)
        assert browser.page.status_code == 403
        assert PUBLIC in browser.text
        texts.add(browser.text)
        await browser.get("/sign-in")
        await browser.send(path, new=NEW, again=NEW)
        assert PUBLIC in browser.text
    assert len(texts) == 1


async def test_of_two_at_the_same_time_one_gets_in(desk: WebDesk) -> None:
    """Single use is the store's promise."""
    path = await desk.link()
    browsers = [desk.browser(), desk.browser("192.0.2.8")]
    for each in browsers:
        await each.get(path)
    async with asyncio.TaskGroup() as tasks:
        sent = [tasks.create_task(each.send(path, new=NEW, again=NEW)) for each in browsers]
    assert sorted(task.result().status_code for task in sent) == [200, 403]


async def test_a_used_link_ends_what_was_signed_in(desk: WebDesk) -> None:
    """Who asks for a new password may have lost the old one to somebody."""
    thief = await desk.signed_in()
    path = await desk.link()
    browser = desk.browser()
    await browser.get(path)
    await browser.send(path, new=NEW, again=NEW)
    await thief.get("/account")
    assert thief.page.url.path == "/sign-in"


@pytest.mark.parametrize("field", ["secret", "user", "username"])
async def test_a_link_is_good_for_its_own_user_alone(desk: WebDesk, field: str) -> None:
    """Whatever else the form says."""
    await desk.person("bob")
    mine, other = await desk.link(), await desk.link("bob")
    browser = desk.browser()
    await browser.get(mine)
    values = {"secret": other.removeprefix("/link/"), "user": "bob", "username": "bob"}
    fields = {"form": browser.token, "new": NEW, "again": NEW, field: values[field]}
    await browser.client.post(mine, data=fields, headers={"origin": URL})
    await browser.get("/account")
    assert "alice" in browser.text
