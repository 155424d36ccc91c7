"""``ilctl holds``."""

from collections.abc import Callable
from typing import Any

Ilctl = Callable[..., Any]
SID = "aaaaaaaa-0000-4000-8000-000000000001"


def test_a_hold_is_added_listed_and_removed_and_told_of(ilctl: Ilctl) -> None:
    """With who did it and why."""
    shown = ilctl("holds", "add", "--user", "bob", "--reason", "case 7")
    assert shown.code == 0
    added = ilctl("holds", "add", "--session", SID, "--format", "json").json()
    assert (added["kind"], added["name"]) == ("session", SID)
    rows = ilctl("holds", "ls", "--format", "json").json()
    found = [(row["kind"], row["name"], row["reason"]) for row in rows]
    assert found == [("user", "bob", "case 7"), ("session", SID, "")]
    assert "case 7" in ilctl("holds", "ls").out
    assert ilctl("holds", "rm", rows[0]["id"]).code == 0
    assert ilctl("holds", "rm", rows[0]["id"]).code == 3
    told = ilctl("events", "ls", "--format", "json").json()
    assert [(each["event"], each["target"]) for each in told] == [
        ("hold.created", {"user": "bob"}),
        ("hold.created", {"session": SID}),
        ("hold.deleted", {"user": "bob"}),
    ]


def test_a_hold_names_one_thing(ilctl: Ilctl) -> None:
    """Neither nothing nor two, and its reason is a line."""
    assert ilctl("holds", "add").code == 2
    assert ilctl("holds", "add", "--user", "bob", "--session", SID).code == 2
    assert ilctl("holds", "add", "--user", "bob", "--reason", "a\nb").code == 2
