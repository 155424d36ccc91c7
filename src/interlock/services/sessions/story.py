"""The events that a session has at least, from its recording alone: for whoever finds one that nobody finished."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from interlock.domain.audit import ENVELOPE, JsonValue, Kind
from interlock.domain.coverage import coverage_field, cut_off
from interlock.domain.recording import DIED, Header
from interlock.domain.session import Exit, SessionKind, Start, Window, end_fields
from interlock.domain.survey import Survey
from interlock.services.sessions.live import command_event


@dataclass(frozen=True, slots=True)
class Told:
    """One event."""

    kind: Kind
    fields: dict[str, JsonValue]
    time: datetime | None = None  # None: now


def story(header: Header, found: Survey) -> list[Told]:
    """The events that a session has at least, in order, as far as its recording tells them."""
    start, began = start_of(header)
    stopped = _after(began, found.last)
    fields = told_by(header)
    end = end_fields(start, began=began, ended=stopped, participants=(header.user,))
    story = [Told(Kind.SESSION_START, fields | start.fields(), began)]
    if (command := command_event(start, found.exit or Exit(error=DIED))) is not None:
        story.append(Told(command[0], fields | command[1]))
    rows = found.coverage if found.exit is not None else cut_off(found.coverage, DIED)
    story.append(Told(Kind.SESSION_END, fields | end | coverage_field(rows)))
    story.append(Told(Kind.SESSION_LEAVE, without_connection(fields)))
    return story


def start_of(header: Header) -> tuple[Start, datetime]:
    """What the session ran, and when it began."""
    window = Window(header.cols, header.rows) if header.interactive else None
    try:
        kind, began = SessionKind(header.kind), datetime.fromisoformat(header.start).astimezone(UTC)
    except (ValueError, OverflowError):
        kind, began = SessionKind.SHELL, datetime.fromtimestamp(0, UTC)
    return Start(kind, header.command, window, header.term), began


def _after(began: datetime, microseconds: int) -> datetime:
    """That much later; at once if there is no such time, as the file may have been written by anybody."""
    try:
        return began + timedelta(microseconds=microseconds)
    except OverflowError:
        return began


def told_by(header: Header) -> dict[str, JsonValue]:
    """The session's common fields; a file may have been written by anybody, so nothing more."""
    return {name: value for name, value in header.event.items() if name not in ENVELOPE}


def without_connection(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The fields of what is not about a connection."""
    return {name: value for name, value in fields.items() if name not in ("addr.remote", "addr.local", "proto")}
