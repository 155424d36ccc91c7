"""Cursors: a number for each writer, strict in form, and a line that can be verified."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import NotFound
from interlock.domain.chain import genesis, link
from interlock.domain.export import Batch, Cursor, fitting, in_order

BODY = '{"ei":0,"event":"exec","code":"T3002I","time":"2026-01-10T22:23:57.642Z","uid":"u1","cluster_name":"demo"}'


@given(st.integers(0, 10**17), st.dictionaries(st.integers(0, 10**8), st.integers(0, 10**17), max_size=5))
def test_a_cursor_is_read_as_it_was_written(checkpoint: int, numbers: dict[int, int]) -> None:
    """Any."""
    cursor = Cursor(checkpoint, numbers)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "x", "1.", "1.2", "1.2:", "1.2:3.", "-1", "1.2:-3", "1 ", "1.2:3:4", "٣"])
def test_what_is_no_cursor_is_not_found(text: str) -> None:
    """Rather than read as the beginning, from which everything would be sent again."""
    with pytest.raises(NotFound):
        Cursor.parse(text)


def test_a_line_has_the_body_as_it_is_stored_and_what_proves_its_place() -> None:
    """Cut at the last mark, it hashes to what it says."""
    hash_ = link(genesis("one"), BODY.encode())
    [record] = in_order(Cursor(3, {2: 7}), [(1, "one", 1, "u1", BODY, hash_)], [])
    stored, _, _ = record.line.rpartition(',"audit":')
    told = json.loads(record.line)["audit"]
    assert link(genesis(told["writer"]), f"{stored}}}".encode()).hex() == told["hash"]
    assert (told["number"], told["cursor"]) == (1, "3.1:1.2:7")


def test_a_checkpoint_is_a_record_too() -> None:
    """With a uid of its own, and as `ilctl events verify --checkpoints` takes it."""
    said = json.dumps({"cluster": "demo", "number": 4, "time": "2026-01-10T22:23:57.642Z"})
    [record] = in_order(Cursor(), [], [(4, said, b"\x01\x02")])
    told = json.loads(record.line)
    assert (told["event"], told["body"], told["signature"]) == ("audit.checkpoint", said, "0102")
    assert told["audit"]["cursor"] == "4"


def test_batches_are_bounded_and_their_keys_are_theirs() -> None:
    """One record at least, however large; another end or another export is another key."""
    events = [(1, "one", number, f"u{number}", BODY, b"h") for number in range(1, 6)]
    records = in_order(Cursor(), events, [])
    assert len(fitting(records, len(BODY) * 3)) == 3
    assert len(fitting(records, 1)) == 1
    assert len(fitting(records)) == 5
    keys = {Batch(name, Cursor(), tuple(records[:size])).key for name in ("a", "b") for size in (1, 2, 5)} | {
        Batch("a", records[0].cursor, tuple(records[1:])).key
    }
    assert len(keys) == 7
