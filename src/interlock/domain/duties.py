"""Who records, emits and tracks a session: the one table, walked by one test.

The forwarder and the node each look up their own row, so both sides of the contract are here and
nothing else in the code asks for the recording mode to decide who does something. ADR-0001 gives the reason for
the tracker cells, ADR-0007 tells how a session's mode is found.
"""

from dataclasses import dataclass
from enum import Enum

from interlock.domain.target import SubKind


class RecordingMode(Enum):
    """Where a session with our own node is recorded, and whether it is on auth's storage as it happens."""

    OFF = "off"
    NODE = "node"
    PROXY = "proxy"
    NODE_SYNC = "node-sync"
    PROXY_SYNC = "proxy-sync"

    @property
    def at_proxy(self) -> bool:
        """Whether the forwarding node does it also when the target is our node."""
        return self in {RecordingMode.PROXY, RecordingMode.PROXY_SYNC}

    @property
    def sync(self) -> bool:
        """Whether the stream is on auth's storage as it happens."""
        return self in {RecordingMode.NODE_SYNC, RecordingMode.PROXY_SYNC}

    @property
    def at_node(self) -> "RecordingMode":
        """The same level, kept by a node that no forwarder relieves of its duties."""
        return _AT_NODE.get(self, self)


_AT_NODE = {RecordingMode.PROXY: RecordingMode.NODE, RecordingMode.PROXY_SYNC: RecordingMode.NODE_SYNC}


@dataclass(frozen=True, slots=True)
class Duties:
    """What one of the two SSH servers of a session does."""

    mints: bool  # decides the session ID when the other side does not
    records: bool  # makes the recording
    emits: bool  # emits the session's audit events, and claims its ID
    tracks: bool  # keeps the session tracker in auth
    names_forwarder: bool  # events carry forwarded_by
    names_mode: bool  # events carry session_recording


NONE = Duties(mints=False, records=False, emits=False, tracks=False, names_forwarder=False, names_mode=False)


def _all(
    *, mints: bool = True, records: bool = True, names_forwarder: bool = False, names_mode: bool = False
) -> Duties:
    """Of a server that has the events and the tracker."""
    return Duties(mints, records, True, True, names_forwarder, names_mode)


FORWARDER_DUTIES: dict[tuple[RecordingMode, SubKind], Duties] = {
    (RecordingMode.OFF, SubKind.NODE): NONE,
    (RecordingMode.NODE, SubKind.NODE): NONE,
    (RecordingMode.NODE_SYNC, SubKind.NODE): NONE,
    (RecordingMode.PROXY, SubKind.NODE): _all(mints=False, names_forwarder=True, names_mode=True),
    (RecordingMode.PROXY_SYNC, SubKind.NODE): _all(mints=False, names_forwarder=True, names_mode=True),
    (RecordingMode.OFF, SubKind.AGENTLESS): _all(records=False, names_mode=True),
    (RecordingMode.NODE, SubKind.AGENTLESS): _all(),
    (RecordingMode.NODE_SYNC, SubKind.AGENTLESS): _all(names_mode=True),
    (RecordingMode.PROXY, SubKind.AGENTLESS): _all(names_forwarder=True, names_mode=True),
    (RecordingMode.PROXY_SYNC, SubKind.AGENTLESS): _all(names_forwarder=True, names_mode=True),
}

_RELIEVED = Duties(mints=True, records=False, emits=False, tracks=False, names_forwarder=False, names_mode=False)

NODE_DUTIES: dict[tuple[RecordingMode, bool], Duties] = {
    # key: the session's mode, and whether the connection's certificate says that a forwarder has the other duties
    **{(mode, True): _RELIEVED for mode in RecordingMode},
    (RecordingMode.OFF, False): _all(records=False, names_mode=True),
    (RecordingMode.NODE, False): _all(),
    (RecordingMode.NODE_SYNC, False): _all(names_mode=True),
    (RecordingMode.PROXY, False): _all(),  # whoever comes past the proxy is recorded all the same
    (RecordingMode.PROXY_SYNC, False): _all(names_mode=True),
}

LEAF_DUTIES: dict[SubKind, Duties] = {
    # of a leaf's forwarder while the root's has the session's record: it offered that, and the leaf accepted
    SubKind.NODE: NONE,
    SubKind.AGENTLESS: _RELIEVED,
}


def root_offers(mode: RecordingMode) -> bool:
    """Whether a root's forwarder would record what happens in a leaf: as it would of a node of its own."""
    return FORWARDER_DUTIES[mode, SubKind.NODE].records


def root_duties(mode: RecordingMode, *, accepted: bool) -> Duties:
    """Of a root's forwarder. To it a leaf's proxy is a node: that mints the ID, and announces it."""
    return FORWARDER_DUTIES[mode, SubKind.NODE] if accepted else NONE


def leaf_accepts(mode: RecordingMode, *, offered: bool, insists: bool, guarded: bool) -> bool:
    """Whether the leaf, in this mode, leaves a session's record to the root: if it is offered.

    A leaf that insists on recording itself does not, unless it would record nothing. ``guarded``: its roles say
    what only whoever has the record can enforce, which is not left to another cluster.
    """
    return offered and not guarded and not (insists and mode is not RecordingMode.OFF)
