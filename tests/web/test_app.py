"""What all pages have in common: who gets to them, what they say to browsers, and what they take."""

import re

import pytest

from interlock.core.ids import DeviceId
from interlock.domain.factor import Device, Totp
from interlock.testing.browsing import URL, WebDesk
from interlock.web.app import ROUTES, Access
from interlock.web.visit import MAX_BODY, STALE_FORM

PATHS = {"secret": "x" * 43, "code": "ABCD-EFGH-JKLM", "device": "d", "connector": "c"}


def path_of(route_path: str) -> str:
    """The path with something in each place."""
    return re.sub(r"\{(\w+):str\}", lambda found: PATHS[found[1]], route_path)


async def test_r25_every_page_is_strict_whatever_it_says(desk: WebDesk) -> None:
    """R25: no inline script or style anywhere, nothing of others, no frames; also on refusals."""
    for browser in (await desk.signed_in(), desk.browser()):
        for path in ("/nowhere", *(path_of(route.path) for route in ROUTES)):
            answer = await browser.client.get(path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers.get("content-type", "").count("charset") <= 1
            assert answer.headers["strict-transport-security"]
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(
                r"<style|\sstyle=|<script(?! src=\"/static/)|\son\w+=|javascript:|//(?!gate\.example)", answer.text
            ), path


async def test_no_form_counts_that_this_browser_was_not_given(desk: WebDesk) -> None:
    """CSRF: without the token, with another browser's, with another site's origin, or none."""
    browser, other = await desk.signed_in(), await desk.signed_in(source="192.0.2.8")
    await browser.get("/account")
    await other.get("/account")
    posted = [path_of(route.path) for route in ROUTES if route.method == "POST"]
    assert len(posted) > 10
    for path in posted:
        for fields, headers in (
            ({}, {"origin": URL}),
            ({"form": other.token}, {"origin": URL}),
            ({"form": browser.token}, {"origin": "https://evil.example"}),
            ({"form": browser.token}, {"origin": "null"}),
            ({"form": browser.token}, {}),
        ):
            answer = await browser.client.post(path, data=fields, headers=headers)
            assert (answer.status_code, STALE_FORM in answer.text) == (403, True), path
    assert (await browser.get("/account")).status_code == 200


async def test_who_is_not_signed_in_gets_to_the_sign_in_page(desk: WebDesk) -> None:
    """R23: deny by default, whatever the page."""
    browser = desk.browser()
    await browser.get("/sign-in")
    closed = [route for route in ROUTES if route.access is not Access.ANYONE]
    assert len(closed) > 5
    for route in closed:
        answer = await browser.client.request(
            route.method, path_of(route.path), data={"form": browser.token}, headers={"origin": URL}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), route


async def test_another_name_that_leads_here_is_refused(desk: WebDesk) -> None:
    """DNS rebinding: the address that people use is one."""
    answer = await desk.browser().client.get("/sign-in", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "https://gate.example" in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * (MAX_BODY + 1), 413),
        (b"&".join(b"a%d=1" % number for number in range(100)), 403),
        (b"\xff\xfe=1", 403),
        (b"form", 403),
    ],
)
async def test_bodies_that_are_no_form_of_ours_are_refused(desk: WebDesk, body: bytes, status: int) -> None:
    """Bounded, and read strictly."""
    browser = desk.browser()
    answer = await browser.client.post("/sign-in", content=body, headers={"origin": URL})
    assert answer.status_code == status


async def test_the_source_is_the_connections_unless_our_own_proxy_tells(desk: WebDesk) -> None:
    """R22: what a client says of itself counts for nothing; of several addresses the last that is not ours."""
    told = {"x-forwarded-for": "203.0.113.66, 198.51.100.3"}
    for source, counts in (("192.0.2.7", "192.0.2.7:5000"), ("127.0.0.1", "198.51.100.3")):
        browser = desk.browser(source)
        await browser.get("/sign-in")
        fields = {"form": browser.token, "user": "alice", "password": "wrong"}
        await browser.client.post("/sign-in", data=fields, headers={"origin": URL} | told)
        assert desk.events.all[-1].fields["addr.remote"] == counts


async def test_what_our_proxy_adds_counts_and_not_what_the_client_sent_before_it(desk: WebDesk) -> None:
    """Some proxies do not lengthen the client's own header but add another one behind it."""
    browser = desk.browser("127.0.0.1")
    await browser.get("/sign-in")
    fields = {"form": browser.token, "user": "alice", "password": "wrong"}
    headers = [("origin", URL), ("x-forwarded-for", "203.0.113.66"), ("x-forwarded-for", "198.51.100.3")]
    await browser.client.post("/sign-in", data=fields, headers=headers)
    assert desk.events.all[-1].fields["addr.remote"] == "198.51.100.3"


async def test_the_stylesheet_comes_from_here(desk: WebDesk) -> None:
    """And may be kept for a while."""
    answer = await desk.browser().client.get("/static/style.css")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "max-age" in answer.headers["cache-control"]


async def test_who_somebody_is_is_said_by_no_header(desk: WebDesk) -> None:
    """CVE-2026-63329: neither by a stranger's nor by a reverse proxy's."""
    told = dict.fromkeys(("x-forwarded-user", "x-remote-user", "remote-user", "authorization"), "alice")
    for source in ("192.0.2.7", "127.0.0.1"):
        answer = await desk.browser(source).client.get("/account", headers=told)
        assert answer.headers["location"] == "/sign-in"


async def test_what_people_choose_becomes_no_markup(desk: WebDesk) -> None:
    """R25: a device's name, a role's, whatever comes with a request."""
    browser = await desk.signed_in()
    evil = "<script>alert(1)</script>"
    await desk.local.factor_store.add_device(
        Device(DeviceId("d"), "alice", evil, desk.clock.now(), Totp(bytes(20)))
    )
    await desk.local.users.set_access("alice", ('"><img src=x>',), {})
    await browser.get(f"/account?done={evil}&error={evil}")
    assert "&lt;script&gt;" in browser.page.text
    for page in (
        browser.page.text,
        (await browser.get(f"/code?code={evil}")).text,
        (await browser.get(f"/{evil}")).text,
    ):
        assert "<script>" not in page
        assert "<img" not in page
