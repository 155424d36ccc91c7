"""Targets: the hosts behind the gateway, and the two ways a person may name one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from interlock.core.address import format_address
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId, parse_login, parse_name

ROUTE_SEPARATORS = "%+"


class SubKind(Enum):
    """What answers at a target; the value is the ``server_sub_kind`` of audit events."""

    NODE = "interlock"
    AGENTLESS = "openssh"


@dataclass(frozen=True, slots=True)
class Target:
    """A host that sessions can be routed to."""

    id: DaemonId
    hostname: str
    host: str
    port: int
    sub_kind: SubKind
    labels: Mapping[str, str] = field(default_factory=dict)
    host_keys: tuple[str, ...] = ()  # pinned OpenSSH public keys; empty: a certificate of our host CA is required
    version: str = ""
    expires: datetime | None = None  # None: registered by hand, does not expire
    tunnel: bool = False  # it dials out to the proxy, and has no address of its own to be reached at

    @property
    def addr(self) -> str:
        """Address and port as audit events show them; empty if it is reached by its tunnel."""
        return "" if self.tunnel else format_address(self.host, self.port)


def unknown_node(name: str, *, reason: str = "") -> NotFound:
    """There is no live target of this hostname or ID, or none that the person may know of (``reason``)."""
    return NotFound(f"unknown node {name}: run `ilsh ls` to see the nodes you can reach", reason=reason)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection wants to go: OS login and target name."""

    login: str
    target: str


def parse_route(user_name: str) -> Route | None:
    """Read an SSH user name as ``login%target`` or ``login+target``; None if it names no target.

    Denied if it has a separator but is not a route, for example ``root%`` or ``a%b%c``.
    """
    at = next((i for i, c in enumerate(user_name) if c in ROUTE_SEPARATORS), None)
    if at is None:
        return None
    try:
        return Route(parse_login(user_name[:at]), parse_name(user_name[at + 1 :]))
    except ValueError as error:
        public = "malformed route: use login%node, for example root%web1"
        raise Denied(public, reason=f"{public}: {error}") from None


DELIVERS_FOR = timedelta(minutes=10)
"""How long a removed node may tell how its sessions ended, and hear that they have to, as long as a lock on it."""

REMOVED = "this node was removed from the cluster: to take it in again, start it with a new join token"
"""What such a node is told, by which it knows."""


def removed_node(node: DaemonId) -> Denied:
    """The refusal of a node that an administrator has removed, whatever it asks."""
    return Denied(REMOVED, reason=f"node {node} was removed")
