"""R26 and R27: whatever somebody types as a name, a file, a filter or a place in a list is data, or is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core import portal as wire
from interlock.core.address import parse_address
from interlock.core.errors import InterlockError, NotFound
from interlock.core.ids import parse_login, parse_name, parse_session_id
from interlock.domain.tracker import parse_cursor
from interlock.services.access.caller import Caller
from interlock.testing.hostile import USERAUTH_FAILURE, USERAUTH_SUCCESS, Gone, connect_raw
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

EVIL = [
    "; id",
    "$(id)",
    "`id`",
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "%u",
    "%h%p",
    "${HOME}",
    "{{7*7}}",
    "a\nb",
    "a\0b",
    "-oProxyCommand=id",
    "--",
    "a b",
    "a,b",
    "a|b",
    "a'b\"c",
    "*",
    "~root",
    "\x1b]0;x\x07",
    "u\u0308ser",
    "\u202eabc",
    "a" * 300,
    "",
]


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize(
    "parse", [parse_name, parse_login, parse_session_id, parse_address], ids=lambda each: each.__name__
)
def test_r26_no_name_is_a_word_for_a_shell_an_option_or_a_path(parse: Callable[[str], Any], text: str) -> None:
    """At the one place where each kind of name is read."""
    with pytest.raises(ValueError, match="not a"):
        parse(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("where", ["user", "login", "target", "join"])
async def test_r26_as_the_name_that_a_client_logs_in_by(world: Gateway, where: str, text: str) -> None:
    """It opens nothing: refused at the door, or in words when something is asked for. Nobody is dialled."""
    name = {"user": text, "login": f"{text}%plain1", "target": f"{LOGIN}%{text}", "join": f"join%{text}"}[where]
    own = await world.credential()
    async with plain_target(world) as target, await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        client.sign(name, own)
        try:
            answer = (await client.expect(USERAUTH_FAILURE, USERAUTH_SUCCESS))[0]
        except Gone:
            answer = USERAUTH_FAILURE
        if answer == USERAUTH_SUCCESS:
            client.send(bytes([90]) + b"\0\0\0\7session" + bytes(4) + b"\0\x10\0\0" + b"\0\0\x80\0")
            assert (await client.expect(91, 92))[0] == 92
        del target
    await world.wait_clean()
    assert not await world.events("session.start")


@pytest.mark.parametrize("text", EVIL)
async def test_r26_a_command_is_data_and_names_no_file(world: Gateway, text: str) -> None:
    """The recording of a session that runs it is called by an ID of ours, whatever it is called."""
    async with plain_target(world):
        async with await world.client("plain1") as client, client.create_process(text or "exit 0") as process:
            process.stdin.write_eof()
            await process.wait()
        await world.wait_clean()
        await world.sessions.end_all("")
    [started] = await world.events("session.start")
    files = [name for _, _, names in os.walk(world.directory / "recordings") for name in names]
    assert files
    assert all(str(started["sid"]) in name for name in files)
    assert started["initial_command"] == [text or "exit 0"]


@pytest.mark.parametrize("text", EVIL)
async def test_r26_no_recording_is_found_by_a_path(tmp_path: Path, text: str) -> None:
    """Whoever calls: an ID is parsed before it is part of one."""
    (tmp_path / "secret").write_text("x")
    recordings = FileRecordings(tmp_path / "recordings")
    for evil in (text, f"../{text}", f"{text}/../../secret"):
        with pytest.raises(Exception) as refused:  # noqa: PT011
            _ = [piece async for piece in recordings.read(evil)]  # type: ignore[arg-type]
        assert isinstance(refused.value, InterlockError | ValueError)


@pytest.mark.parametrize("text", [each for each in EVIL if each and each[0] != "~"])  # ~ID is one of ours
async def test_r27_a_place_in_a_list_is_one_of_ours(world: Gateway, text: str) -> None:
    """Nothing of it reaches a query: the answer is a refusal, not an error and not the beginning."""
    with pytest.raises(NotFound):
        parse_cursor(text)
    await world.credential()
    now = world.parts.gate.clock.now()
    caller = Caller(USER, None, ("keyboard-interactive",), now, "192.0.2.7:1")
    reply = await world.parts.portal.answer(caller, wire.Recordings(after=text))
    assert isinstance(reply, wire.Refused)


@pytest.mark.parametrize("limit", [0, -1, 10**9, "1; DROP TABLE events"])
@pytest.mark.parametrize("of", ["sessions", "recordings"])
def test_r27_the_length_of_a_page_is_a_number_within_bounds(of: str, limit: object) -> None:
    """Before anything is asked."""
    line = json.dumps({"type": of, "limit": limit}).encode()
    with pytest.raises(Exception, match=r"limit|malformed|decoded|int"):
        wire.parse_request(line)


def test_r27_nobody_says_by_what_a_list_is_sorted() -> None:
    """No request and no command has a word for it: an unknown field is refused."""
    with pytest.raises(Exception):  # noqa: B017, PT011
        wire.parse_request(b'{"type":"sessions","sort":"user;--"}')
