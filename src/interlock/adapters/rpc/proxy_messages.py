"""What a proxy apart from auth may ask beyond what a node may: further methods of the same service.

``certificate`` is always a person's, in wire form, as it was shown to the proxy. See `messages` for the rules.
"""

from dataclasses import dataclass

from interlock.adapters.rpc.messages import AUTH_SERVICE, Method, Nothing
from interlock.core.ids import DaemonId, SessionId
from interlock.core.presence import Proof
from interlock.domain.cluster import TrustedCluster
from interlock.domain.identity import Claims
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.domain.twin import Twin
from interlock.ports import TargetCredential
from interlock.services.access.standing import Standing
from interlock.services.fleet.signing import ForTarget
from interlock.services.signin.signin import Confirmation


@dataclass(frozen=True, slots=True)
class Who:
    """Whose standing? Or whose key?"""

    certificate: bytes
    bounds: bool = False  # the proxy goes by what a key withholds; those of before do not say


@dataclass(frozen=True, slots=True)
class Find:
    """Which target does the person mean?"""

    certificate: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Name:
    """A target's ID."""

    name: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """The clusters that this one has to do with."""

    clusters: tuple[TrustedCluster, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """One session."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is known of it; no tracker: it does not live."""

    tracker: Tracker | None
    known: bool


@dataclass(frozen=True, slots=True)
class SignForTarget:
    """A certificate for a dial, please."""

    certificate: bytes
    wanted: ForTarget
    proof: Proof | None = None  # that the person is connected; here and below
    ticket: bytes = b""  # that the connection was confirmed with a second factor


@dataclass(frozen=True, slots=True)
class SignForLeaf:
    """A certificate for a leaf's door, please; without login and node: for its portal."""

    certificate: bytes
    login: str
    node: str
    leaf: str
    public_key: str
    offers: bool
    client_addr: str
    proof: Proof | None = None
    ticket: bytes = b""


@dataclass(frozen=True, slots=True)
class SignForJump:
    """A host certificate for the end of a jump, please."""

    public_key: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """OpenSSH one-line form."""

    line: str


@dataclass(frozen=True, slots=True)
class PutTwin:
    """Expect a node's twin of the caller's session."""

    twin: Twin


@dataclass(frozen=True, slots=True)
class Password:
    """Judge it, and replace it if there is a new one. ``source``: the person's client, host:port."""

    user: str
    password: str
    source: str
    new: str | None = None
    code: str = ""  # of a second factor


@dataclass(frozen=True, slots=True)
class Judged:
    """A `signin.SignInResult`, with a ticket if the person is signed in now."""

    result: str
    ticket: bytes


@dataclass(frozen=True, slots=True)
class AskBrowser:
    """Let somebody confirm a sign-in in a browser. ``user``: empty for whoever does."""

    user: str
    source: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person is shown, and by which ID it is collected."""

    id: str
    code: str
    url: str


@dataclass(frozen=True, slots=True)
class CollectBrowser:
    """Has somebody confirmed it?"""

    id: str


@dataclass(frozen=True, slots=True)
class Collected:
    """Who, with a ticket; empty: nobody yet."""

    user: str
    device: str
    ticket: bytes


@dataclass(frozen=True, slots=True)
class Confirm:
    """Judge a second factor of whoever has proved this certificate; without a code: what is to be asked?"""

    certificate: bytes
    code: str
    source: str
    session: bytes = b""  # `Presence.session`


@dataclass(frozen=True, slots=True)
class AskPortal:
    """A person's request, a line of core.portal. ``shown``: the certificate or the ticket."""

    shown: bytes
    by_ticket: bool
    methods: tuple[str, ...]
    source: str
    request: bytes
    proof: Proof | None = None  # with a certificate


@dataclass(frozen=True, slots=True)
class Piece:
    """First the reply, a line of core.portal; behind a ``stream`` the recording's bytes, piece by piece."""

    reply: bytes = b""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """The caller lives, is reached at ``peer`` (host:port; empty: nowhere), and has these nodes' tunnels."""

    peer: str
    tunnels: tuple[DaemonId, ...]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class AskBeacon:
    """What are my connections to carry? ``host_key``: what clients are shown, one line."""

    host_key: str


@dataclass(frozen=True, slots=True)
class Beacon:
    """For the next half minute."""

    value: bytes


@dataclass(frozen=True, slots=True)
class AskPeers:
    """Who are the other proxies? ``known``: the digest of the last answer."""

    known: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """Another proxy that lives."""

    id: DaemonId
    peer: str
    tunnels: tuple[DaemonId, ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """All others that live; None: the same as before."""

    digest: bytes
    peers: tuple[Peer, ...] | None


STANDING = Method(AUTH_SERVICE, "Standing", Who, Standing)
FIND = Method(AUTH_SERVICE, "Find", Find, Target)
TARGET = Method(AUTH_SERVICE, "Target", Name, Target)
TRUSTED = Method(AUTH_SERVICE, "Trusted", Nothing, Trusted)
TRACKED = Method(AUTH_SERVICE, "Tracked", Session, Tracked)
CLAIM = Method(AUTH_SERVICE, "Claim", Session, Nothing)
PUT_TWIN = Method(AUTH_SERVICE, "PutTwin", PutTwin, Nothing)
SIGN_FOR_TARGET = Method(AUTH_SERVICE, "SignForTarget", SignForTarget, TargetCredential)
SIGN_FOR_LEAF = Method(AUTH_SERVICE, "SignForLeaf", SignForLeaf, TargetCredential)
SIGN_FOR_JUMP = Method(AUTH_SERVICE, "SignForJump", SignForJump, HostCertificate)
PASSWORD = Method(AUTH_SERVICE, "Password", Password, Judged, once=True)
ASK_BROWSER = Method(AUTH_SERVICE, "AskBrowser", AskBrowser, Asked, once=True)
COLLECT_BROWSER = Method(AUTH_SERVICE, "CollectBrowser", CollectBrowser, Collected, once=True)
ENROLLED = Method(AUTH_SERVICE, "EnrolledKey", Who, Claims)
CONFIRM = Method(AUTH_SERVICE, "ConfirmConnection", Confirm, Confirmation, once=True)
PORTAL = Method(AUTH_SERVICE, "Portal", AskPortal, Piece)  # the reply is a stream
REPORT = Method(AUTH_SERVICE, "Report", Report, Nothing)
BEACON = Method(AUTH_SERVICE, "Beacon", AskBeacon, Beacon)
PEERS = Method(AUTH_SERVICE, "Peers", AskPeers, Peers)
