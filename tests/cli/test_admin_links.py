"""``ilctl users add --link``, ``reset`` and ``sign-out``."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interlock.daemons.config import WebConfig
from interlock.daemons.local import open_local
from interlock.daemons.web import keep_url
from interlock.services.signin.digests import digest_of

Ilctl = Callable[..., Any]


def stored(data: Path, link: str) -> str:
    """Whose link that is; empty: nobody's."""

    async def run() -> str:
        async with open_local(data) as local:
            found = await local.browsers.link(digest_of(link.rpartition("/")[2]))
            return found.user if found is not None else ""

    return asyncio.run(run())


def test_links_need_a_web_part(ilctl: Ilctl) -> None:
    """And no account is made that nobody can get into."""
    shown = ilctl("users", "add", "alice", "--link")
    assert shown.code != 0
    assert "no web part" in shown.err
    assert ilctl("users", "ls", "--format", "json").json() == []


def test_a_link_is_printed_once_and_told(ilctl: Ilctl, tmp_path: Path) -> None:
    """The audit log says for whom and how long, and nothing of the link itself."""
    data = tmp_path / "data"
    keep_url(data, WebConfig("127.0.0.1:1", "https://gate.example"))
    out = ilctl("users", "add", "alice", "--roles", "dev", "--link").out
    [invited] = [line for line in out.splitlines() if line.startswith("https://gate.example/link/")]
    assert "One-time password" not in out
    assert stored(data, invited) == "alice"
    reset = ilctl("users", "reset", "alice", "--ttl", "10m").out.splitlines()[0]
    assert (stored(data, invited), stored(data, reset)) == ("", "alice")
    told = ilctl("events", "ls", "--format", "json").json()
    assert [(each["name"], each["purpose"]) for each in told if each["code"] == "T6000I"] == [
        ("alice", "invite"),
        ("alice", "reset"),
    ]
    assert reset.rpartition("/")[2] not in str(told)


def test_what_cannot_be_is_refused(ilctl: Ilctl, tmp_path: Path) -> None:
    """Nobody of that name, a link for weeks, two ways at once."""
    keep_url(tmp_path / "data", WebConfig("127.0.0.1:1", "https://gate.example"))
    ilctl("users", "add", "alice")
    assert "no user called bob" in ilctl("users", "reset", "bob").err
    assert "7 days" in ilctl("users", "reset", "alice", "--ttl", "8d").err
    assert ilctl("users", "add", "carol", "--link", "--password-file", tmp_path / "x").code == 2


def test_somebody_is_signed_out_of_all_browsers(ilctl: Ilctl) -> None:
    """And it is told."""
    ilctl("users", "add", "alice")
    assert ilctl("users", "sign-out", "alice").out == "alice was signed out of 0 browsers.\n"
    assert "ILU00I" in [each["code"] for each in ilctl("events", "ls", "--format", "json").json()]
