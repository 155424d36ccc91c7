"""What the proxy is made of: the services behind its one SSH port."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.browser import Confirming, Nowhere
from interlock.adapters.ssh.dial import Dialler
from interlock.adapters.ssh.fronted import Network
from interlock.adapters.ssh.guarded import Gate
from interlock.adapters.ssh.leaf import LeafDialler
from interlock.adapters.ssh.portal import Answerer, PasswordCheck
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.core.ids import DaemonId
from interlock.core.limits import KEEPALIVE_INTERVAL_S, MAX_CONNECTIONS_PREAUTH
from interlock.domain.cluster import TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.ports import Entropy, HostIssuer
from interlock.services.access.tenure import Tenures
from interlock.services.clusters.federation import Leaves
from interlock.services.sessions.desk import Desk
from interlock.services.sessions.sessions import Sessions
from interlock.services.timers import CallLater, call_later


class Permits(Protocol):
    """The proxy's questions to policy."""

    async def permit_for(
        self, claims: Claims, login: str, target: Target, *, source: str | None, named: str
    ) -> Permit:
        """Proof that the login is allowed from the address ``source``; Denied otherwise.

        NotFound to somebody whose roles do not reach the target, which is ``named`` so.
        """
        ...

    async def asks(self, claims: Claims, login: str, name: str) -> bool:
        """Whether a connection to this target has to be confirmed with a second factor; without names, to any."""
        ...

    async def asks_on(self, claims: Claims, target: Target) -> bool:
        """The same of any login on this target; Denied for whoever is nobody any more."""
        ...

    async def mode_before_login(self, claims: Claims, target: Target, named: str) -> RecordingMode:
        """The strictest mode that any login there may have; NotFound if no role reaches the target."""
        ...

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The roles that count now; Denied if the account is gone, Locked if a lock says so."""
        ...

    async def find(self, claims: Claims, name: str) -> Target:
        """The target that a person names; NotFound or Denied if there is not exactly one."""
        ...

    async def root_of(self, claims: Claims) -> TrustedCluster:
        """The cluster that somebody from elsewhere comes from; Denied if it is not trusted any more."""
        ...


@dataclass(frozen=True, slots=True)
class ProxyParts:
    """What the proxy is made of."""

    daemon_id: DaemonId
    gate: Gate
    permits: Permits
    leaves: Leaves
    leaf_dialler: LeafDialler
    dialler: Dialler
    hosts: HostIssuer
    sessions: Sessions
    tenures: Tenures
    passwords: PasswordCheck
    portal: Answerer
    desk: Desk
    entropy: Entropy
    tunnels: TunnelEntrance
    names: Sequence[str]  # what clients call the proxy: principals of its host certificate
    ciphers: Sequence[str] = algorithms.FAST_CIPHERS
    keepalive_interval: float = KEEPALIVE_INTERVAL_S
    call_later: CallLater = call_later  # for the long waits of connections
    strangers: int = MAX_CONNECTIONS_PREAUTH  # that may be here at once before they have authenticated
    confirming: Confirming = field(default_factory=Nowhere)  # sign-in by browser
    fronts: Sequence[Network] = ()  # where load balancers are, which say whose connection it is
    coordinates: bool = True  # False: the forwarder of before the contract, which mints and hands nothing over
