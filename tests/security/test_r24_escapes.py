"""R24: nothing that a session shows, and no text of a stranger, acts on the terminal of who looks at it."""

import re

import pytest

from interlock.cli.output import Format, more, print_error, print_json, print_rows, printable
from interlock.cli.play import PlayFormat, play
from interlock.core import wire
from interlock.core.extensions import JoinMode
from interlock.core.messages import channel_request
from interlock.core.wire import string, uint32
from interlock.domain.access import RoleOptions
from interlock.domain.notice import notice
from interlock.domain.recording import Frame, Output, Stream
from interlock.domain.target import SubKind
from interlock.domain.terminal import RESTORE, TerminalFilter, party_screen, plain_text, screen
from interlock.testing.escapes import ANSWERED, HOSTILE
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.offences import announce, as_node, confirm, data, open_session
from interlock.testing.recordings import HEADER
from interlock.testing.ssh_pair import Gateway

ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a listing must not have; line ends are the listing's own."""


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", [PlayFormat.PTY, PlayFormat.TEXT, PlayFormat.JSON])
def test_r24_playing_a_recording_only_draws(name: str, form: PlayFormat) -> None:
    """Whole or cut anywhere, on both streams, in every form that is printed."""
    raw = b"before" + HOSTILE[name].encode() + b"after"
    for cut in range(len(raw)):
        written: list[str] = []
        frames = [
            Frame(0, HEADER),
            *(Frame(1, Output(stream, part)) for stream in Stream for part in (raw[:cut], raw[cut:])),
        ]
        play(frames, written.append, form=form, sleep=lambda _seconds: None)
        shown = "".join(written).removesuffix(RESTORE)
        assert not ACTS.search(shown), ascii(shown)


@pytest.mark.parametrize("name", HOSTILE)
def test_r24_a_screen_is_the_same_in_whatever_pieces(name: str) -> None:
    """A sequence that is cut between two messages is still one."""
    raw = b"before" + HOSTILE[name].encode() + b"after"
    for made in (screen, plain_text):
        for cut in range(len(raw)):
            filtered = made()
            assert filtered.feed(raw[:cut]) + filtered.feed(raw[cut:]) + filtered.close() == "beforeafter"


@pytest.mark.parametrize("name", ANSWERED)
def test_r24_nobody_who_joins_answers_into_the_session(name: str) -> None:
    """What a terminal would answer does not reach it; an answer would count as typed."""
    filtered: TerminalFilter = party_screen()
    raw = b"before" + HOSTILE[name].encode() + b"after"
    shown = "".join(filtered.feed(raw[at : at + 1]) for at in range(len(raw))) + filtered.close()
    assert HOSTILE[name] not in shown
    assert "before" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_r24_listings_errors_and_notices_show_names_and_do_what_none_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables, JSON, one-sentence errors, hints, and lines between other people's output."""
    text = f"web1{HOSTILE[name]}\r\nforged"
    print_rows(
        [{"name": text, "labels": {text: text}, "many": [text]}],
        {"name": "N", "labels": "L", "many": "M"},
        Format.TEXT,
    )
    print_json({text: text})
    print_error(text)
    more(f"--after {text}")
    printed = capsys.readouterr()
    assert not ACTS.search(printed.out + printed.err), ascii(printed)
    assert "\nforged" not in printed.out + printed.err
    assert not ACTS.search(printable(text))
    said = notice(text).decode()
    assert not ACTS.search(said.strip("\r\n").removeprefix("\x1b[0;7m").removesuffix("\x1b[0m"))


OWNED = "\x1b]52;c;cm0gLXJmIC8K\x07\x1b]0;owned\x07\x1b[6n"


@pytest.mark.slow
@pytest.mark.parametrize("says", ["goodbye", "output", "error output", "refusal"])
async def test_r24_a_targets_words_act_on_nobodys_terminal_who_joined(world: Gateway, says: str) -> None:
    """Whatever way they come: as output, or as the reason why it goes."""
    world.add_person("bob", RoleOptions(join_sessions=(JoinMode.OBSERVER,)))

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        peer.send(confirm(opened))
        peer.send(announce(opened))
        while b"shell" not in await peer.expect(wire.CHANNEL_REQUEST):
            pass
        peer.send(bytes([wire.CHANNEL_SUCCESS]) + uint32(opened.sender))
        peer.send(data(opened.sender, b"ready"))
        await peer.expect(wire.CHANNEL_DATA)  # the owner says go on
        match says:
            case "output":
                peer.send(data(opened.sender, OWNED.encode()))
            case "error output":
                peer.send(bytes([95]) + uint32(opened.sender) + uint32(1) + string(OWNED))
            case "refusal":
                peer.send(
                    channel_request(
                        opened.sender, b"exit-signal", data=string("TERM") + b"\0" + string(OWNED) + string("")
                    )
                )
            case _:
                pass
        peer.send(bytes([1]) + uint32(2) + string(f"bye{OWNED}") + string(""))
        await peer.flush()
        await peer.wait_gone()

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as owner:
            owner.send(open_session())
            number = wire.Reader((await owner.expect(91))[5:]).uint32()
            size = string("xterm") + uint32(80) + uint32(24) + uint32(0) * 2 + string("")
            owner.send(channel_request(number, b"pty-req", data=size))
            owner.send(channel_request(number, b"shell", want_reply=True))
            await owner.expect(wire.CHANNEL_DATA)
            [live] = world.sessions.live
            async with (
                await world.client("", user=f"join%{live.sid}", as_user="bob") as client,
                client.create_process(term_type="xterm", encoding=None) as bob,
            ):
                seen = await bob.stdout.read(4096)
                owner.send(data(number, b"go on"))
                seen += await bob.stdout.read()
                seen += await bob.stderr.read()
    assert b"\x1b]" not in seen
    assert b"[6n" not in seen
