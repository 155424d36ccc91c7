"""The audit log for people at the portal to whom a role shows it: of the nodes that the role reaches.

Whatever names no node (sign-ins, what administrators do) is shown by a role that reaches every node, unless some
are denied: it may be about one of those. The labels of a node are those that it has now; of one that is gone,
those that the event has.
"""

from collections.abc import Mapping, Sequence

import msgspec

from interlock.core import portal as wire
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Verb
from interlock.domain.audit import ENVELOPE, JsonValue
from interlock.domain.rbac import Role, may
from interlock.domain.target import SubKind, Target
from interlock.ports import EventFilter, EventPages, TargetSource

PAGES = 10
"""Pages of the log that are looked through for one reply: the person asks on for more."""

LOOKED_AT = 200
"""Events that are read at once."""

MAX_OCTETS = 2 * 1024 * 1024
"""Bytes of the events in one reply, beyond which it ends: through a proxy apart it is one message of 4 MiB. Of an
event that is larger by itself, which only a daemon that was taken over can make, the envelope is shown."""


class EventsShown:
    """See the module's docstring."""

    def __init__(self, log: EventPages, *, targets: TargetSource) -> None:
        self._log = log
        self._targets = targets

    async def page(self, user: str, roles: Sequence[Role], request: wire.Events) -> wire.EventList:
        """What the person may see, and where it goes on; Denied if no role shows anything."""
        if not any(Verb.LIST_EVENTS in (role.options.allow or ()) for role in roles):
            public = "access denied: no role of yours shows the audit log (events:list)"
            raise Denied(public, reason=f"{user} asked for the audit log")
        known = {target.id: target for target in await self._targets.targets()}
        forwards, place = request.after is not None, request.before if request.after is None else request.after
        shown, octets = list[dict[str, object]](), 0
        for _ in range(PAGES):
            found = await self._log.page(_filter(request, place))
            for cursor, event in found if forwards else reversed(found):
                if may(roles, Verb.LIST_EVENTS, _node(event, known)):
                    item, size = _item(event, cursor)
                    if octets + size > MAX_OCTETS:
                        return _reply(shown, place, forwards=forwards)
                    shown.append(item)
                    octets += size
                place = cursor
                if len(shown) == request.limit:
                    return _reply(shown, place, forwards=forwards)
            if len(found) < LOOKED_AT:
                return _reply(shown, None, forwards=forwards)
        return _reply(shown, place, forwards=forwards)


def _item(event: Mapping[str, JsonValue], cursor: int) -> tuple[dict[str, object], int]:
    """An event as it is shown, and its size."""
    size = len(msgspec.json.encode(event))
    if size <= MAX_OCTETS:
        return {**event, "cursor": str(cursor)}, size
    envelope = {name: value for name, value in event.items() if name in ENVELOPE}
    return {**envelope, "error": f"an event of {size} bytes is not shown", "cursor": str(cursor)}, 0


def _filter(request: wire.Events, place: int | None) -> EventFilter:
    forwards = request.after is not None
    return EventFilter(
        request.sid or None,
        request.user or None,
        request.event or None,
        LOOKED_AT,
        newest=not forwards,
        duplicates=request.duplicates,
        before=request.before if forwards else place,
        after=place if forwards else None,
    )


def _reply(shown: list[dict[str, object]], place: int | None, *, forwards: bool) -> wire.EventList:
    return wire.EventList(shown if forwards else shown[::-1], "" if place is None else str(place))


def _node(event: Mapping[str, JsonValue], known: Mapping[DaemonId, Target]) -> Target | None:
    """Which one it is about; None if that is not known, or it is about none."""
    node = DaemonId(str(event.get("server_id", "")))
    if node in known:
        return known[node]
    labels = event.get("server_labels")
    if not node or not isinstance(labels, dict):
        return None
    return Target(node, str(event.get("server_hostname", "")), "", 0, SubKind.NODE, labels)
