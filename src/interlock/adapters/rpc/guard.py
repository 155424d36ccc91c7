"""What a daemon may say: only what is about itself. Every rule is here; the server asks before it acts.

The caller is who its client certificate names; nothing in a message can change that. A session ID belongs to the
daemon that named it first, in this process or to auth, so that a node cannot add to, end or replace the record of
another's session, nor claim one that the proxy records.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc import proxy_messages as p
from interlock.core.address import parse_address
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.audit import ABOUT_FILES, BY_AUTH, ENVELOPE, SYNTHESIZED, AuditEvent, Kind, repeatable_uid
from interlock.domain.granted import Granted
from interlock.domain.lease import MAX_SEMAPHORE
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker
from interlock.ports import EventFilter, EventReader, TrackerLookup
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.services.sessions.claiming import Claim
from interlock.services.sessions.claims import SessionClaims

MAX_TTL_S = 300.0
"""Longest time, in seconds, for which a daemon may report itself or a session as alive."""

MAX_WATCHES_OF_ONE = 2
"""Watches of one daemon at once: one that has not noticed yet that its connection is gone, and the new one."""

MAX_LABELS = 32 * 1024
"""Characters of a node's labels and version together: they are read with every list of nodes, and told to leaves'
roots, which take twice as much."""

MAX_TRACKER = 128 * 1024
"""Bytes of a session's tracker in a message: a command of 8 Ki characters, who takes part, a reason."""

RANDOM = 4
"""Version of a UUID that was drawn."""

NODES_TELL = frozenset(
    {
        Kind.SESSION_START,
        Kind.SESSION_JOIN,
        Kind.SESSION_RESIZE,
        Kind.SESSION_LEAVE,
        Kind.SESSION_END,
        Kind.SESSION_UPLOAD,
        Kind.SESSION_DATA,
        Kind.RECORDING_LAPSE,
        Kind.RECORDING_QUARANTINED,
        Kind.RECORDING_DIFFERS,
        Kind.ROOM_LESS,
        Kind.ROOM_MORE,
        Kind.SESSION_REJECTED,
        Kind.EXEC,
        Kind.EXEC_FAILURE,
        Kind.SUBSYSTEM,
        Kind.SUBSYSTEM_FAILURE,
        Kind.PORT,
        Kind.PORT_FAILURE,
        Kind.PORT_CLOSED,
        Kind.X11,
        Kind.X11_FAILURE,
        Kind.AGENT,
        Kind.AGENT_FAILURE,
        Kind.CLIENT_DISCONNECT,
        Kind.AUTH_FAILURE,
        Kind.OFFLINE_ACCESS,
        *ABOUT_FILES,
    }
)
"""Events about what happens on a node; the others are about what only auth and its administrators do."""


ANYWHERE = frozenset({Kind.SESSION_REJECTED})
"""What a proxy may tell within a session that is a node's: that somebody was refused there."""

PROXIES_TELL = NODES_TELL | {Kind.SESSION_ELSEWHERE}
"""The same of what happens at a proxy apart from auth; sign-ins and certificates auth tells itself."""

_TELLS = {DaemonKind.NODE: NODES_TELL, DaemonKind.PROXY: PROXIES_TELL}

_NODE, _PROXY = frozenset({DaemonKind.NODE}), frozenset({DaemonKind.PROXY})
_BOTH = _NODE | _PROXY

MAY_CALL: Mapping[str, frozenset[DaemonKind]] = {
    m.APPEND.name: _BOTH,  # of its own sessions, `own_events`
    m.PUT_TRACKER.name: _BOTH,  # of its own sessions, `check_tracker`
    m.KEEP_TRACKERS.name: _BOTH,  # its own
    m.WATCH_LOCKS.name: _BOTH,
    m.ACQUIRE.name: _BOTH,  # the lease is the caller's
    m.RENEW_LEASES.name: _BOTH,  # its own
    m.RELEASE.name: _BOTH,  # its own
    m.RELEASE_ALL.name: _BOTH,  # its own
    m.RENEW.name: _BOTH,  # for the same ID and names
    m.TRUST.name: _BOTH,
    m.STORE_RECORDING.name: _BOTH,  # of its own sessions
    m.SYNC_READY.name: _BOTH,  # of its own sessions
    m.SYNC_EXTEND.name: _BOTH,  # of its own sessions
    m.RECORDING_TERMS.name: _BOTH,  # for its own key
    m.HEARTBEAT.name: _NODE,  # of itself, `check_node`
    m.ADMIT.name: _NODE,  # to itself
    m.REMAINS.name: _BOTH,  # a node on itself, `check_granted`; a proxy of whose certificate it shows
    p.STANDING.name: _PROXY,  # of whose certificate it shows
    p.FIND.name: _PROXY,  # for whose certificate it shows
    p.TARGET.name: _PROXY,
    p.TRUSTED.name: _PROXY,
    p.TRACKED.name: _PROXY,  # by the ID of the session
    p.CLAIM.name: _PROXY,  # what is nobody's yet
    p.PUT_TWIN.name: _PROXY,  # of its own sessions
    p.SIGN_FOR_TARGET.name: _PROXY,  # for who has just signed at it, if policy allows it now
    p.SIGN_FOR_LEAF.name: _PROXY,  # the same
    p.SIGN_FOR_JUMP.name: _PROXY,  # in the name of a target
    p.PASSWORD.name: _PROXY,  # under the brake that all proxies share
    p.ASK_BROWSER.name: _PROXY,  # for whoever is there; it is confirmed elsewhere
    p.COLLECT_BROWSER.name: _PROXY,  # by the secret ID of what it asked
    p.REPORT.name: _PROXY,  # of itself
    p.PEERS.name: _PROXY,
    p.BEACON.name: _PROXY,  # for itself
    p.ENROLLED.name: _PROXY,  # to whom it was offered; without a proof of presence it gets nothing by it
    p.CONFIRM.name: _PROXY,  # for whoever has shown it a certificate, under the same brake
    p.PORTAL.name: _PROXY,  # for who has just signed at it, or whose fresh ticket it shows
}
"""Which kinds of daemons may call a method, and what each of them may say there. What is not here nobody may."""


DELIVERS = frozenset(
    method.name
    for method in (
        m.APPEND,
        m.PUT_TRACKER,
        m.KEEP_TRACKERS,
        m.WATCH_LOCKS,
        m.RELEASE,
        m.RELEASE_ALL,
        m.STORE_RECORDING,
        m.SYNC_READY,
        m.SYNC_EXTEND,
    )
)
"""How a node that was removed just now delivers what it has in hand, and hears that its sessions have to end."""


def check_method(caller: HostIdentity, method: str) -> None:
    """Denied unless daemons of the caller's kind may call it."""
    if caller.kind not in MAY_CALL.get(method, frozenset()):
        reason = f"{caller.kind.value} {caller.id} called {method}"
        raise Denied(f"a {caller.kind.value} may not ask this", reason=reason)


class SessionOwners:
    """Which daemon a session ID belongs to: as the process knows it, else as the audit log and the trackers do."""

    def __init__(
        self,
        claims: SessionClaims,
        events: EventReader,
        trackers: TrackerLookup,
        claim: Claim | None = None,
    ) -> None:
        """``claim``: asks all auths that share the database; None if there is no other."""
        self._claims = claims
        self._events = events
        self._trackers = trackers
        self._claim = claim

    @asynccontextmanager
    async def speaking(self, caller: HostIdentity, sids: Iterable[SessionId]) -> AsyncIterator[None]:
        """Hold the sessions for the caller while it speaks of them; Denied if one is another daemon's."""
        held: list[SessionId] = []
        try:
            for sid in sids:
                check_session(caller, sid)
                if self._claims.owner(sid) is None and (owner := await self._whose(sid, caller.id)) is not None:
                    self._claims.learn(sid, owner)
                if not self._claims.hold(sid, caller.id):
                    raise _refusal(caller, f"session {sid} of daemon {self._claims.owner(sid)}")
                held.append(sid)
            yield
        finally:
            for sid in held:
                self._claims.release(sid)

    async def check_not_over(self, caller: HostIdentity, sid: SessionId) -> None:
        """Denied if there was such a session and it has ended: no other one begins under its ID."""
        if await self._events.events(EventFilter(sid=sid, event=Kind.SESSION_END.event, limit=1, as_told=True)):
            raise _refusal(caller, f"session {sid}, which has ended")

    async def _whose(self, sid: SessionId, caller: DaemonId) -> DaemonId | None:
        known = await self._look_up(sid)
        return await self._claim(sid, caller) if known is None and self._claim is not None else known

    async def _look_up(self, sid: SessionId) -> DaemonId | None:
        # A forwarder reports refusals within sessions that are the node's.
        for event in await self._events.events(EventFilter(sid=sid, limit=REFUSALS_TOLD + 1, as_told=True)):
            if event["event"] != Kind.SESSION_REJECTED.event:
                return DaemonId(str(event.get("recorded_by", "unknown")))
        tracker = await self._trackers.find(sid)
        return tracker.daemon_id if tracker is not None else None


class Watchers:
    """Who watches. One call for each daemon counts, so that none can use up the calls of all."""

    def __init__(self) -> None:
        self._places: dict[DaemonId, list[object]] = {}

    @contextmanager
    def place(self, caller: HostIdentity) -> Iterator[Callable[[], bool]]:
        """The caller watches from now on, and says whether this is its latest watch; Denied if it has too many."""
        mine, places = object(), self._places.setdefault(caller.id, [])
        if len(places) >= MAX_WATCHES_OF_ONE:
            raise Denied("this daemon watches already", reason=f"node {caller.id} wanted one more watch")
        places.append(mine)
        try:
            yield lambda: places[-1] is mine
        finally:
            places.remove(mine)
            if not places:
                self._places.pop(caller.id, None)


def own_events(caller: HostIdentity, events: Sequence[AuditEvent]) -> list[AuditEvent]:
    """The events, each saying that the caller recorded it; Denied if one says otherwise or what only auth may."""
    for event in events:
        recorder = event.fields.get("recorded_by", caller.id)
        if event.cluster != caller.cluster or recorder != caller.id:
            raise _refusal(caller, f"event {event.kind.name} recorded by {recorder}")
        if taken := ENVELOPE & event.fields.keys():
            raise _refusal(caller, f"event {event.kind.name} with a second {min(taken)}")
        if event.sid is not None:
            check_session(caller, event.sid)
        if event.fields.get(SYNTHESIZED) == BY_AUTH or not _own_uid(event):
            raise _refusal(
                caller, f"event {event.kind.name} with uid {event.uid[:64]!r} made up by auth or for others"
            )
        if event.kind not in _TELLS[caller.kind]:
            raise _refusal(caller, f"event {event.kind.name}, which is auth's own")
    return [replace(event, fields={**event.fields, "recorded_by": caller.id}) for event in events]


def spoken_of(caller: HostIdentity, events: Iterable[AuditEvent]) -> set[SessionId]:
    """The sessions that have to be the caller's, so that it may tell these events."""
    free = ANYWHERE if caller.kind is DaemonKind.PROXY else frozenset()
    return {event.sid for event in events if event.sid is not None and event.kind not in free}


def _own_uid(event: AuditEvent) -> bool:
    """Whether the uid cannot be that of another session's event, which the log would then take for stored."""
    try:
        version = UUID(event.uid).version
    except ValueError:
        return False
    return version == RANDOM or (
        event.sid is not None and event.uid == repeatable_uid(event.sid, event.kind.event)
    )


def check_tracker(caller: HostIdentity, tracker: Tracker, size: int) -> None:
    """Denied unless the caller keeps the tracker of a session that it has: a node's are on itself.

    ``size``: bytes of the message that it came in.
    """
    target = caller.id if caller.kind is DaemonKind.NODE else tracker.target_id
    if (tracker.daemon_id, tracker.target_id, tracker.cluster) != (caller.id, target, caller.cluster):
        raise _refusal(caller, f"tracker of {tracker.daemon_id} for {tracker.target_id}")
    if size > MAX_TRACKER:
        raise _refusal(caller, f"a tracker of {size} bytes")


def check_session(caller: HostIdentity, sid: SessionId) -> None:
    """Denied unless it is a session's ID as we write them: it becomes the name of files."""
    try:
        canonical = parse_session_id(sid) == sid
    except ValueError:
        canonical = False
    if not canonical:
        raise _refusal(caller, f"session {sid[:64]!r}, which is no ID")


def check_daemon(caller: HostIdentity, daemon: DaemonId) -> None:
    """Denied unless the caller speaks of itself."""
    if daemon != caller.id:
        raise _refusal(caller, f"daemon {daemon}")


def check_granted(caller: HostIdentity, granted: Granted) -> None:
    """Denied unless it was granted on the caller."""
    check_daemon(caller, granted.target.id if granted.target is not None else DaemonId(""))


def check_lease(caller: HostIdentity, lease_id: str, semaphore: str) -> None:
    """Denied unless the lease can be a new one."""
    try:
        drawn = UUID(lease_id).version == RANDOM
    except ValueError:
        drawn = False
    if not drawn or len(semaphore) > MAX_SEMAPHORE:
        raise _refusal(caller, f"lease {lease_id[:64]!r} of {semaphore[:64]!r}")


def few_leases(caller: HostIdentity, ids: Sequence[str]) -> Sequence[str]:
    """The leases of one message; Denied if they are too many."""
    if len(ids) > m.MAX_LEASES:
        raise _refusal(caller, f"{len(ids)} leases at once")
    return ids


def check_node(caller: HostIdentity, node: Target) -> None:
    """Denied unless the node is the caller under a name that it registered when it joined, where one can be."""
    if node.id != caller.id or node.hostname not in caller.names or node.sub_kind is not SubKind.NODE:
        raise _refusal(caller, f"{node.sub_kind.value} node {node.id} named {node.hostname[:128]}")
    try:
        if not node.tunnel:
            parse_address(node.addr)
    except ValueError:
        raise _refusal(caller, f"a node at {node.host[:128]!r}:{node.port}, which is no address") from None
    if sum(map(len, (node.version, *node.labels, *node.labels.values()))) >= MAX_LABELS:
        raise _refusal(caller, f"a node with {len(node.labels)} labels, too long")


def bounded(ttl_s: float) -> timedelta:
    """The time to live that a daemon asked for, within our bounds."""
    return timedelta(seconds=min(max(ttl_s, 0.0), MAX_TTL_S))


def _refusal(caller: HostIdentity, what: str) -> Denied:
    kind = caller.kind.value
    return Denied(f"a {kind} may only speak for itself", reason=f"{kind} {caller.id} spoke for {what}")
