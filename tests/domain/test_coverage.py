"""The manifest: what it lists, what it counts, and that it never grows without end."""

from hypothesis import given
from hypothesis import strategies as st

from interlock.core.limits import MAX_COVERED, MAX_COVERED_TEXT
from interlock.domain.coverage import Covered, Level, Manifest, coverage_field, cut_off

FORWARD = Covered("direct-tcpip", Level.METADATA, "peers and counts", "10.0.0.1:80")


def test_each_row_is_listed_in_order() -> None:
    """With what is known of it and no more."""
    manifest = Manifest()
    manifest.add(FORWARD)
    manifest.add(Covered("session", Level.FULL))
    assert coverage_field(manifest.rows) == {
        "coverage": [
            {"what": "direct-tcpip", "level": "metadata", "why": "peers and counts", "where": "10.0.0.1:80"},
            {"what": "session", "level": "full"},
        ]
    }


def test_beyond_the_limit_those_alike_are_counted() -> None:
    """Nothing is left out, and a client that opens forwards for days fills no memory."""
    manifest = Manifest()
    for number in range(MAX_COVERED + 500):
        manifest.add(Covered("direct-tcpip", Level.METADATA, where=f"10.0.0.1:{number}"))
    *_, last = manifest.rows
    assert len(manifest.rows) == MAX_COVERED + 1
    assert last.row() == {"what": "direct-tcpip", "level": "metadata", "count": 500}


@given(st.lists(st.builds(Covered, st.text(max_size=5), st.sampled_from(Level), st.text(max_size=2)), max_size=9))
def test_every_row_is_counted_once(rows: list[Covered]) -> None:
    """However many there are of which kind: also when there are too many kinds."""
    manifest = Manifest()
    for number in range(3 * MAX_COVERED):
        manifest.add(Covered(f"kind {number}", Level.NONE))
    for row in rows:
        manifest.add(row)
    assert sum(row.count for row in manifest.rows) == 3 * MAX_COVERED + len(rows)
    assert len(manifest.rows) <= 2 * MAX_COVERED + 1


def test_what_a_client_says_is_cut_and_visible() -> None:
    """A host name of a megabyte, or one that is no text."""
    kept = Manifest().add(Covered("direct-tcpip", Level.NONE, where="\udcff" + "x" * 1_000_000))
    assert kept.where.startswith("\\udcff")
    assert len(kept.where.encode()) <= MAX_COVERED_TEXT


def test_of_a_session_that_was_cut_off_nothing_counts_as_whole() -> None:
    """Also if the recorder had not listed anything yet."""
    rows = cut_off([Covered("session", Level.FULL), FORWARD], "it died")
    assert rows == (Covered("session", Level.PARTIAL, "it died"), FORWARD)
    assert cut_off([], "it died") == (Covered("session", Level.PARTIAL, "it died"),)
