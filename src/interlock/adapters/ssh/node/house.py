"""What a visitor needs of the node that it is in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.environment import SessionFacts
from interlock.adapters.ssh.node.forwarding.reach import Protected
from interlock.adapters.ssh.node.forwarding.session import SessionForwards
from interlock.adapters.ssh.node.live import Live
from interlock.adapters.ssh.node.refusals import Refusals
from interlock.adapters.ssh.node.stay import Occupant
from interlock.adapters.ssh.seams.node import NodeConnection, NodeSession
from interlock.core.extensions import JoinMode
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.identity import Claims, Forwarded, Joining
from interlock.domain.session import SessionContext
from interlock.domain.target import Target
from interlock.ports import Admission, ClaimsReader, Clock, Entropy
from interlock.services.access.tenure import Tenures


class Caller(Protocol):
    """One connection, as the node that it is in sees it."""

    @property
    def decided(self) -> bool:
        """Whether authentication is over."""
        ...

    @property
    def connection(self) -> NodeConnection | None:
        """It, once it was made."""
        ...


class House(Protocol):
    """The node, as one of its connections sees it."""

    @property
    def target(self) -> Target:
        """This node."""
        ...

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        ...

    @property
    def claims(self) -> ClaimsReader:
        """Judge of certificates."""
        ...

    @property
    def admission(self) -> Admission:
        """Judge of people."""
        ...

    @property
    def protected(self) -> Protected:
        """The gateway's own listeners, to which nothing may be forwarded."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def entropy(self) -> Entropy:
        """Chance."""
        ...

    @property
    def tenures(self) -> Tenures:
        """How long people may stay."""
        ...

    def occupants(self, connection: NodeConnection) -> Sequence[Occupant]:
        """The sessions of one connection."""
        ...

    def answers(self, request: str) -> bool:
        """Whether a query about session IDs is answered with SUCCESS."""
        ...

    def forwarded(self, claims: Claims) -> Forwarded | None:
        """What a forwarder said in the certificate, if there is one and the node reads it."""
        ...

    def report(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Emit an audit event that belongs to no session."""
        ...

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Emit the event that a session was rejected."""
        ...

    def agree(self, ctx: SessionContext) -> Live:
        """A session under an ID that is agreed from now on; InterlockError refuses it."""
        ...

    def begin(
        self,
        connection: NodeConnection,
        live: Live,
        account: Account,
        facts: SessionFacts,
        refusals: Refusals,
        forwards: SessionForwards,
        on_over: Callable[[], None],
    ) -> NodeSession:
        """What takes the channel of a session that was agreed."""
        ...

    def join(
        self, connection: NodeConnection, ctx: SessionContext, joining: Joining, mode: JoinMode | None
    ) -> NodeSession:
        """A channel of somebody who takes part in a session here; ``ctx`` says who. InterlockError refuses it."""
        ...

    def arrived(self, visitor: Caller) -> bool:
        """A connection was accepted; False if there are too many that nobody has vouched for."""
        ...

    def left(self, visitor: Caller) -> None:
        """The connection is over."""
        ...
