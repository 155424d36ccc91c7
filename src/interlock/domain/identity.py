"""Who somebody is: what a verified certificate claims, and nothing that it does not."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import ip_address

from interlock.core.address import parse_address, within
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.core.presence import NO_PRESENCE, Presence
from interlock.domain.access import NOTHING_SPECIAL, Access, HardwareKey
from interlock.domain.bounds import NO_BOUNDS, Bounds


def parse_client(text: str) -> tuple[str, int]:
    """IP address and port of a client; ValueError for host names too, since no peer of a connection is a name."""
    host, port = parse_address(text)
    return str(ip_address(host)), port


RECOVERY = "recovery-code"
"""What stands for the device when somebody used a recovery code instead."""

CLOCK_SKEW = timedelta(minutes=1)
"""Certificates are valid from this long before they are issued, for hosts whose clocks are slow."""

SLOWEST = timedelta(seconds=2)
"""How far the clocks of auths may be apart; a certificate has whole seconds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A gateway user as a certificate vouches for it."""

    user: str
    roles: tuple[str, ...]
    cluster: str
    device: str = ""  # the second-factor device of the sign-in, or `RECOVERY`; empty: it was without one
    confirmed: str = ""  # the one with which the person has answered on this connection; empty: nobody asked
    certificate: str = field(default="", compare=False)  # serial of the one that was shown; empty: none was
    keys: tuple[str, ...] = field(default=(), compare=False)  # fingerprints of its key, and of who signed it
    requests: tuple[str, ...] = ()  # approved requests for access by which some of the roles are had
    hardware: HardwareKey | None = None  # what the key has shown that has signed on this connection

    @property
    def devices(self) -> tuple[str, ...]:
        """All with which the person has proved to be there."""
        return tuple(each for each in (self.device, self.confirmed) if each)

    def origin(self, here: str) -> str:
        """The cluster that the user is of, if that is another one than ``here``; empty otherwise."""
        return "" if self.cluster == here else self.cluster

    def named(self, here: str) -> str:
        """The user's name in the cluster ``here``, as no namesake there is called: no user's name has a slash."""
        return self.user if self.cluster == here else f"{self.cluster}/{self.user}"


@dataclass(frozen=True, slots=True)
class Joining:
    """The one session that a connection is good for, and how its owner may take part there."""

    sid: SessionId
    modes: tuple[JoinMode, ...]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Present in the certificates that auth issues to a forwarding node, for one target and minutes only.

    ``records`` is the duty hand-over, signed by auth: the node behind may leave recording, events and
    tracker to the forwarder if and only if its own certificate check finds it true (ADR-0002).
    """

    target: DaemonId
    by: DaemonId
    records: bool
    client: str = ""  # host:port of the person's client as the forwarder sees it; empty: not said
    access: Access = NOTHING_SPECIAL  # what the roles allow on this connection
    joining: Joining | None = None  # a session on the target that is to be joined; then nothing else is allowed

    @property
    def client_address(self) -> tuple[str, int] | None:
        """The same, parsed: the node sees the forwarder's address only; ValueError if it was never checked."""
        return parse_client(self.client) if self.client else None


@dataclass(frozen=True, slots=True)
class TunnelPass:
    """What a node shows at the tunnel entrance: which node it is, and nothing that a person's certificate says."""

    node: DaemonId
    valid_before: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """The contents of a user certificate, to be issued or just verified."""

    identity: Identity
    logins: tuple[str, ...]  # the principals; never empty (R14)
    valid_after: datetime
    valid_before: datetime
    serial: int
    forwarded: Forwarded | None = None
    source_networks: tuple[str, ...] = ()  # CIDR; empty: from anywhere (the critical option source-address)
    bot: int = 0  # number of a bot's certificate (`services.bots.bots`); 0: a person's
    certificate: bytes = field(default=b"", repr=False, compare=False)  # for whoever has to show it; or the key
    presence: Presence = field(default=NO_PRESENCE, repr=False, compare=False)  # likewise
    enrolled: bool = False  # by a key that its user has enrolled: there is no certificate
    verified: bool = False  # a security key has to have verified its person, not only to have been touched
    untouched: bool = False  # it need not even have been touched (the extension no-touch-required)
    bounds: Bounds = NO_BOUNDS  # what the certificate or the key withholds

    def older_than(self, account: datetime) -> bool:
        """Whether it was issued before an account of its user's name was created, so to somebody else."""
        return self.valid_after + CLOCK_SKEW + SLOWEST < account

    def signed_with(self, hardware: HardwareKey | None) -> "Claims":
        """With what the key has shown that has signed here. A forwarder's own key says nothing of its person's."""
        if self.forwarded is not None:
            return self
        return replace(self, identity=replace(self.identity, hardware=hardware))

    @property
    def named(self) -> str:
        """What was shown, for reasons in the audit log: an enrolled key has no serial to look up."""
        what = f"key {', '.join(self.identity.keys)}" if self.enrolled else f"certificate {self.serial}"
        return f"{what} of {self.identity.user}"

    @property
    def restricted(self) -> bool:
        """Whether it is for less than a sign-in gives, apart from where it may be used from."""
        return self.verified or self.untouched or self.bounds != NO_BOUNDS

    def allows_source(self, address: str) -> bool:
        """Whether a client at this IP address may use the certificate; the SSH servers must ask (R12)."""
        return not self.source_networks or within(self.source_networks, address)
