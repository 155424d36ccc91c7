"""Strangers' refusals: told up to a number, counted beyond it, whoever they say that they are."""

from datetime import timedelta

from interlock.domain.audit import AuditEvent, Kind
from interlock.services.audit.sparing import ALL_AT_ONCE, AT_ONCE, EACH_S, MAX_SOURCES, STRANGERS, Sparing
from interlock.testing.clock import START


def refused(
    number: int, source: str = "192.0.2.7", *, after: float = 0.0, kind: Kind = Kind.AUTH_FAILURE
) -> AuditEvent:
    """Of somebody who is somebody else each time."""
    fields = {"user": f"user{number}", "addr.remote": f"{source}:{1024 + number % 60000}"}
    return AuditEvent(kind, START + timedelta(seconds=after), f"u{number}", "test", fields=fields)


def test_one_source_is_told_of_so_often_and_then_counted() -> None:
    """As time goes on again, with the number of those that were left out."""
    sparing = Sparing()
    told = [sparing.spare(refused(number)) for number in range(AT_ONCE + 50)]
    assert [each is not None for each in told] == [True] * AT_ONCE + [False] * 50
    later = sparing.spare(refused(1, after=EACH_S))
    assert later is not None
    assert later.fields["untold"] == 50
    assert sparing.spare(refused(2, after=EACH_S)) is None
    assert "untold" not in (told[0] or later).fields


def test_others_are_told_of_all_the_same() -> None:
    """Another source, and what is no refusal of a stranger's."""
    sparing = Sparing()
    for number in range(10 * AT_ONCE):
        sparing.spare(refused(number))
    assert sparing.spare(refused(1, "192.0.2.8")) is not None
    for kind in Kind:
        assert (sparing.spare(refused(1, kind=kind)) is None) is (kind in STRANGERS)


def test_many_sources_together_fill_no_log() -> None:
    """Nor this process's memory; the addresses of one IPv6 site are one source."""
    sparing = Sparing()
    told = [
        sparing.spare(refused(1, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        for number in range(20_000)
    ]
    assert sum(each is not None for each in told) == ALL_AT_ONCE
    assert len(sparing._sources) == MAX_SOURCES
    site = [sparing.spare(refused(1, f"[2001:db8::{number:x}]", after=3600)) for number in range(AT_ONCE + 10)]
    assert sum(each is not None for each in site) == AT_ONCE
    assert site[0] is not None
    assert site[0].fields["untold"] == 20_000 - ALL_AT_ONCE - MAX_SOURCES + 1  # of those that are forgotten
