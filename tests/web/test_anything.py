"""Whatever a request says, the answer is one of ours: no page fails, and none is left without its headers."""

import random
from urllib.parse import quote, urlencode

import pytest

from interlock.testing.browsing import PASSWORD, URL, Browser, WebDesk
from interlock.web.app import ROUTES

NASTY = (
    "", "\x00", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "\uffff", "a" * 5000, "%00", "../..",
    "{}", "[]",
    '{"id":{}}', '{"id":"AA","rawId":"AA","type":"public-key","response":{}}', "null", "1e999", "-1", "\r\nx: y",
    "<b>", "' OR 1=1 --", "alice", PASSWORD, "JBSWY3DPEHPK3PXP", "ABCD-EFGH-JKLM", "confirm", "💣", "½",
    "x" * 43,
)  # fmt: skip
FIELDS = (
    "user", "password", "factor", "code", "new", "again", "old", "secret", "name", "shown", "credential",
    "verdict", "state", "iss", "error", "done",
)  # fmt: skip


def filled(path: str, chance: random.Random) -> str:
    """The path with something in each place."""
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}{quote(chance.choice(NASTY) or 'x', safe='')}{rest.partition('}')[2]}"
    return path


async def ask(browser: Browser, method: str, path: str, chance: random.Random) -> None:
    """One request with anything in it."""
    fields = {each: chance.choice(NASTY) for each in chance.sample(FIELDS, chance.randint(0, 8))}
    query = f"?{urlencode(fields)}" if method == "GET" and fields else ""
    sent = {"form": browser.token} | fields if method == "POST" else None
    answer = await browser.client.request(method, path + query, data=sent, headers={"origin": URL})
    assert answer.status_code < 500, (method, path, fields, answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get("location", "")) < 1000


@pytest.mark.parametrize("seed", [0, *(pytest.param(more, marks=pytest.mark.slow) for more in (1, 2))])
async def test_no_request_breaks_a_page(desk: WebDesk, seed: int) -> None:
    """Signed in or not, with the form's token or with what is in the token's place."""
    chance = random.Random(seed)
    browsers = [await desk.signed_in(), desk.browser("192.0.2.8")]
    for _ in range(4):
        for route in ROUTES:
            for browser in browsers:
                if route.path != "/sign-out":
                    await browser.get("/sign-in?again=1")
                    await ask(browser, route.method, filled(route.path, chance), chance)
