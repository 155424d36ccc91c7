"""JSON columns are read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.db.columns import (
    dump,
    dump_labels,
    dump_strings,
    load_labels,
    load_strings,
    whole_text,
)

TEXT = st.text(st.characters(codec="utf-8"))


@given(st.lists(TEXT), st.dictionaries(TEXT, TEXT))
def test_what_was_written_is_read(strings: list[str], labels: dict[str, str]) -> None:
    """Any text."""
    assert load_strings(dump_strings(strings)) == tuple(strings)
    assert load_labels(dump_labels(labels)) == labels


@pytest.mark.parametrize("column", ["", "null", "1", '"x"', "{}", "[null]", "[[]]", "[1]"])
def test_other_shapes_are_no_strings(column: str) -> None:
    """Never an empty default."""
    with pytest.raises(ValueError, match=r".+"):
        load_strings(column)


@pytest.mark.parametrize("column", ["", "null", "[]", '{"a": null}', '{"a": 1}', '{"a": {}}'])
def test_other_shapes_are_no_labels(column: str) -> None:
    """Never an empty default."""
    with pytest.raises(ValueError, match=r".+"):
        load_labels(column)


def test_half_characters_do_not_stop_a_write() -> None:
    """A client's bytes may be no UTF-8; the event about them is stored all the same, legibly."""
    half = b"caf\xc3".decode(errors="surrogateescape")
    stored = dump({"command": half, "argv": [half], "labels": {half: half}, "n": 1, "none": None})
    assert stored.encode()
    assert "caf\\\\udcc3" in stored
    assert whole_text("caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"
