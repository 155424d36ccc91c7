"""The portal protocol's codec: strict, bounded, and blind to how the bytes were cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core import portal
from interlock.core.errors import RemoteProtocolError, Rule

REQUESTS: list[tuple[portal.AnyRequest, dict[str, object]]] = [
    (portal.Sign("ssh-ed25519 AAAA", 60), {"type": "sign", "public_key": "ssh-ed25519 AAAA", "ttl": 60}),
    (portal.Nodes(), {"type": "nodes"}),
    (portal.Sessions(), {"type": "sessions"}),
    (portal.Recordings(), {"type": "recordings"}),
    (portal.Recording("x"), {"type": "recording", "sid": "x"}),
    (portal.WhoAmI(), {"type": "whoami"}),
    (portal.Cluster(), {"type": "cluster"}),
]


@pytest.mark.parametrize(("request_", "wire"), REQUESTS)
def test_a_request_is_one_line_of_json(request_: portal.AnyRequest, wire: dict[str, object]) -> None:
    """Each request has its tag and survives the way there."""
    line = portal.encode(request_)
    assert line.count(b"\n") == 1
    assert json.loads(line) == wire
    assert portal.parse_request(line[:-1]) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"reboot"}',
        b'{"type":"sign"}',
        b'{"type":"nodes","all":true}',
        b'{"type":"sign","public_key":"k","ttl":"60"}',
        b'{"type":"recording","sid":1}',
        b"\xff\xfe",
        b'{"type":"nodes","cluster":"\xff"}',
        b"[" * 60_000,
    ],
)
def test_a_request_that_is_none_of_ours_is_the_peers_offence(line: bytes) -> None:
    """Unknown types, unknown or missing fields and broken JSON never pass."""
    with pytest.raises(RemoteProtocolError) as caught:
        portal.parse_request(line)
    assert caught.value.rule is Rule.MALFORMED_MESSAGE


def test_a_reply_that_is_no_text_is_the_peers_offence() -> None:
    """Leaf clusters reply too."""
    with pytest.raises(RemoteProtocolError):
        portal.parse_reply(b'{"type":"stream","sid":"\xff"}')


def test_an_older_tool_reads_a_newer_reply() -> None:
    """Fields that a reply gained later are passed over."""
    assert portal.parse_reply(b'{"type":"streamed","size":3,"sha256":"x"}') == portal.Streamed(3)


def read_all(reader: portal.ReplyReader) -> list[portal.AnyReply | bytes]:
    """All that the reader can give now, neighbouring pieces of a recording joined."""
    items: list[portal.AnyReply | bytes] = []
    while (item := reader.next()) is not None:
        last = items[-1] if items else None
        if isinstance(item, bytes) and isinstance(last, bytes):
            items[-1] = last + item
        else:
            items.append(item)
    return items


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_replies_and_recordings_do_not_depend_on_packet_boundaries(pieces: list[bytes], cuts: list[int]) -> None:
    """However the stream is cut, the same replies and the same recording come out."""
    wire = portal.encode(portal.Stream("s"))
    for piece in pieces:
        wire += b"".join(portal.chunks(piece))
    wire += portal.END_OF_CHUNKS + portal.encode(portal.Streamed(7)) + portal.encode(portal.NodeList([]))
    reader = portal.ReplyReader()
    items: list[portal.AnyReply | bytes] = []
    step = 0
    while wire:
        size = cuts[step % len(cuts)]
        step += 1
        reader.add(wire[:size])
        wire = wire[size:]
        items += read_all(reader)
    recording = b"".join(item for item in items if isinstance(item, bytes))
    assert recording == b"".join(pieces)
    assert [item for item in items if not isinstance(item, bytes)] == [
        portal.Stream("s"),
        portal.Streamed(7),
        portal.NodeList([]),
    ]


def test_a_recording_is_cut_into_chunks_of_at_most_the_limit() -> None:
    """A piece longer than a chunk becomes several chunks; an empty one becomes none."""
    frames = list(portal.chunks(b"x" * (2 * portal.CHUNK + 1)))
    assert [int.from_bytes(frame[:4], "big") for frame in frames] == [portal.CHUNK, portal.CHUNK, 1]
    assert list(portal.chunks(b"")) == []


def test_a_chunk_beyond_the_limit_is_refused() -> None:
    """A length that no honest gateway sends ends the connection before anything is held for it."""
    reader = portal.ReplyReader()
    reader.add(portal.encode(portal.Stream("s")) + (portal.CHUNK + 1).to_bytes(4, "big"))
    assert reader.next() == portal.Stream("s")
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next()
    assert caught.value.rule is Rule.OVERSIZED_PACKET


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_beyond_the_limit_is_refused_with_and_without_its_end(ending: bytes) -> None:
    """The reader holds no more than one line of the limit's length."""
    reader = portal.LineReader(limit=8)
    reader.add(b"12345678\n")
    assert reader.next() == b"12345678"
    reader.add(b"123456789" + ending)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next()
    assert caught.value.rule is Rule.OVERSIZED_PACKET


def test_lines_come_out_one_at_a_time_and_what_is_incomplete_waits() -> None:
    """Pipelined requests keep their order."""
    reader = portal.LineReader()
    reader.add(b"a\n\nb")
    assert [reader.next(), reader.next(), reader.next()] == [b"a", b"", None]
    reader.add(b"c\n")
    assert reader.next() == b"bc"
    assert len(reader) == 0
