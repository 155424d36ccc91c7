"""What roles say of the sessions that they allow: options per role, and what several roles come to together.

A role leaves an option unsaid with None. Grants are given by any role that says so and by none otherwise; a
restriction holds as soon as one role says so, and of two the stricter one. Only the roles that allow the login on
the target are asked. `MERGE` is that rule, option by option, and a test walks it.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import msgspec

from interlock.core.address import within
from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.core.extensions import JoinMode
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission
from interlock.domain.pattern import check_pattern


class FileTransfer(Enum):
    """Which way files may go, as far as the gateway can tell: SFTP and SCP."""

    BOTH = "both"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    NONE = "none"

    @property
    def downloads(self) -> bool:
        """Whether files may come from the target."""
        return self in {FileTransfer.BOTH, FileTransfer.DOWNLOAD}

    @property
    def uploads(self) -> bool:
        """Whether files may go to the target, and whether names there may change."""
        return self in {FileTransfer.BOTH, FileTransfer.UPLOAD}


class Strictness(Enum):
    """What becomes of a session whose recorder fails."""

    BEST_EFFORT = "best_effort"  # it goes on, and an event says from when on it is not recorded
    STRICT = "strict"  # it ends, with a message


class OnLeave(Enum):
    """What becomes of a moderated session that has too few moderators left."""

    PAUSE = "pause"
    TERMINATE = "terminate"


class SecondFactor(Enum):
    """When a role asks for a second factor."""

    SIGN_IN = "sign_in"  # the certificate must come from a sign-in with one
    SESSION = "session"  # each connection is confirmed with one, after the certificate


class HardwareKey(Enum):
    """What the key on hardware has shown, or has to show, with which somebody has signed on a connection."""

    TOUCH = "touch"  # somebody has touched it
    PIN = "pin"  # and it has verified them, by PIN or finger

    @classmethod
    def shown_by(cls, flags: int | None) -> "HardwareKey | None":
        """By the flags of a signature (OpenSSH's PROTOCOL.u2f); None: it is of another key, or shows nothing."""
        if flags is None or not flags & TOUCHED:
            return None
        return cls.PIN if flags & VERIFIED else cls.TOUCH


class SessionKind(Enum):
    """What a session channel may begin, as roles say it."""

    SHELL = "shell"
    EXEC = "exec"  # any command: scp -O, rsync and git, too, and a shell by its name
    SFTP = "sftp"  # also what scp speaks unless it is told -O
    SUBSYSTEM = "subsystem"  # any other one


Seconds = int
"""A duration as options are stored; on the command line 90, 90s, 15m, 8h or 1d."""


class Verb(Enum):
    """What may be done with sessions, recordings and events of others, on nodes that a role reaches."""

    LIST_SESSIONS = "sessions:list"
    END_SESSIONS = "sessions:end"
    LIST_RECORDINGS = "recordings:list"
    PLAY_RECORDINGS = "recordings:play"
    LIST_EVENTS = "events:list"  # the audit log; what is about no node, by a role that reaches every node
    OWN_RECORDINGS = "recordings:own"  # one's own; everybody may unless it is denied


class Deny(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a role takes away from everybody who has it, whatever other roles allow; None: not said.

    Logins alone: on every target. Labels alone: with every login. Both: these logins there. Verbs: these, on such
    targets; then labels without logins deny no login.
    """

    logins: tuple[str, ...] | None = None  # patterns
    node_labels: dict[str, str] | None = None  # as roles have them
    verbs: tuple[Verb, ...] | None = None


class RoleOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one role says beside logins and labels; None: the role does not say.

    A name that is not here voids a stored role (R6): an older version does not read it without what it denies.
    """

    local_forwarding: bool | None = None  # -L, -D and -W through the target, to ports and sockets
    remote_forwarding: bool | None = None  # -R, from ports and sockets of the target
    x11_forwarding: bool | None = None
    agent_forwarding: bool | None = None
    file_transfer: FileTransfer | None = None
    max_connections: int | None = None  # of one user at once, in the whole cluster
    max_sessions: int | None = None  # session channels on one connection
    client_idle_timeout: Seconds | None = None
    max_session_ttl: Seconds | None = None
    disconnect_expired_cert: bool | None = None
    recording: str | None = None  # a recording mode, instead of the cluster's
    record_session: Strictness | None = None
    record_input: bool | None = None  # what is typed into commands without a terminal
    exec_output_limit: int | None = None  # bytes of output kept of a session without a terminal
    join_sessions: tuple[JoinMode, ...] | None = None  # of others, on targets that the role reaches
    require_moderators: int | None = None
    on_leave: OnLeave | None = None
    second_factor: SecondFactor | None = None
    session_kinds: tuple[SessionKind, ...] | None = None  # nothing else may begin
    source_networks: tuple[str, ...] | None = None  # CIDR: from nowhere else
    hardware_key: HardwareKey | None = None  # each connection must be signed by one that was touched, or verified
    deny: Deny | None = None
    allow: tuple[Verb, ...] | None = None
    request_roles: tuple[str, ...] | None = None  # patterns: roles that one may ask for (`domain.request`)
    review_roles: tuple[str, ...] | None = None  # patterns: roles of which one may decide who gets them
    approvals: int | None = None  # how many it takes to get this role by a request
    max_request_ttl: Seconds | None = None  # for how long it is had by a request
    max_certificate_ttl: Seconds | None = None
    pin_source_ip: bool | None = None  # certificates count from the address alone from which one has signed in


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is allowed on one connection, and how it is watched: the roles' options together.

    It travels as it is, to a node that asks auth and in a forwarder's certificate.
    """

    local_forwarding: bool = False
    remote_forwarding: bool = False
    x11_forwarding: bool = False
    agent_forwarding: bool = False
    file_transfer: FileTransfer = FileTransfer.BOTH
    max_connections: int | None = None
    max_sessions: int | None = None
    client_idle_timeout: Seconds | None = None
    max_session_ttl: Seconds | None = None
    disconnect_expired_cert: bool = False
    recording: str | None = None  # what roles say; in a permit, the mode that was found (`domain.modes`)
    record_session: Strictness = Strictness.STRICT
    record_input: bool = False
    exec_output_limit: int | None = None
    join_sessions: tuple[JoinMode, ...] = ()
    require_moderators: int = 0
    on_leave: OnLeave = OnLeave.PAUSE
    second_factor: SecondFactor | None = None  # what roles say; no permit has it, as who has one has satisfied it
    session_kinds: tuple[SessionKind, ...] | None = None  # None: all
    source_networks: tuple[str, ...] | None = None  # None: from anywhere; none: from nowhere
    hardware_key: HardwareKey | None = None  # what roles say; in no permit, as for `second_factor`
    pty: bool = True  # this and what follows: what the person's certificate or key leaves, see `BY_KEY`
    user_rc: bool = True
    command: str | None = None  # what runs, whatever is asked for

    def allows_source(self, address: str) -> bool:
        """Whether a client there, with or without a port, may come."""
        return self.source_networks is None or within(self.source_networks, address)

    @property
    def guarded(self) -> bool:
        """Whether something is said that only whoever has a session's record enforces."""
        restricts = self.file_transfer is not FileTransfer.BOTH or self.session_kinds is not None
        return restricts or self.require_moderators > 0

    @classmethod
    def of(cls, roles: Iterable[RoleOptions]) -> "Access":
        """What these roles come to together."""
        asked = list(roles)
        said = {name: [value for role in asked if (value := getattr(role, name)) is not None] for name in MERGE}
        return cls(**{name: MERGE[name](values) for name, values in said.items() if values})

    def within(self, bounds: Bounds) -> "Access":
        """What a certificate or key with these bounds leaves of it."""
        if bounds == NO_BOUNDS:
            return self
        taken = {field: False for each in bounds.withheld for field in WITHHELD[each]}
        command = self.command if bounds.command is None else bounds.command
        return msgspec.structs.replace(self, command=command, **taken)


WITHHELD: dict[Permission, tuple[str, ...]] = {
    Permission.X11: ("x11_forwarding",),
    Permission.AGENT: ("agent_forwarding",),
    Permission.PORTS: ("local_forwarding", "remote_forwarding"),
    Permission.PTY: ("pty",),
    Permission.USER_RC: ("user_rc",),
}
"""What of an access a certificate takes away that does not give the permission."""

BY_KEY = ("pty", "user_rc", "command")
"""What is of an access and no role says: only a person's certificate or key restricts it."""

NOTHING_SPECIAL = Access()
"""What roles without options come to."""

MAX_NETWORKS = 64
"""Networks that a role may name."""

_Network = IPv4Network | IPv6Network

RECORDING_ORDER = ("off", "node", "proxy", "node-sync", "proxy-sync")
"""Recording modes, each stricter than the ones before."""


def _strictest_mode(values: list[str]) -> str:
    return max(values, key=RECORDING_ORDER.index)


def _narrowest(values: list[FileTransfer]) -> FileTransfer:
    both_ways = (all(each.downloads for each in values), all(each.uploads for each in values))
    return {
        (True, True): FileTransfer.BOTH,
        (True, False): FileTransfer.DOWNLOAD,
        (False, True): FileTransfer.UPLOAD,
        (False, False): FileTransfer.NONE,
    }[both_ways]


def _strictest(order: type[Enum]) -> Callable[[list[Any]], Any]:
    """The member that stands last in its class."""
    return lambda values: max(values, key=list(order).index)


def _together(values: list[tuple[JoinMode, ...]]) -> tuple[JoinMode, ...]:
    granted = {mode for modes in values for mode in modes}
    return tuple(mode for mode in JoinMode if mode in granted)


def _in_common(values: list[tuple[SessionKind, ...]]) -> tuple[SessionKind, ...]:
    return tuple(kind for kind in SessionKind if all(kind in kinds for kinds in values))


def _in_all(values: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Of two networks one is in the other, or they share nothing: the smaller ones that all lists have."""
    found = [ip_network(each, strict=False) for each in values[0]]
    for others in values[1:]:
        theirs = [ip_network(each, strict=False) for each in others]
        found = [small for one in found for other in theirs if (small := _smaller(one, other)) is not None]
    return tuple(dict.fromkeys(map(str, found)))


def _smaller(one: _Network, other: _Network) -> _Network | None:
    if one.version != other.version or not one.overlaps(other):
        return None
    return max(one, other, key=lambda each: each.prefixlen)


MERGE: dict[str, Callable[[list[Any]], Any]] = {
    "local_forwarding": any,
    "remote_forwarding": any,
    "x11_forwarding": any,
    "agent_forwarding": any,
    "file_transfer": _narrowest,
    "max_connections": min,
    "max_sessions": min,
    "client_idle_timeout": min,
    "max_session_ttl": min,
    "disconnect_expired_cert": any,
    "recording": _strictest_mode,
    "record_session": _strictest(Strictness),
    "record_input": any,
    "exec_output_limit": max,
    "join_sessions": _together,
    "require_moderators": max,
    "on_leave": _strictest(OnLeave),
    "second_factor": _strictest(SecondFactor),
    "session_kinds": _in_common,
    "source_networks": _in_all,
    "hardware_key": _strictest(HardwareKey),
}
"""How the values of the roles that say something become one. What is not of a connection is in `APART`."""

APART = (
    "deny",
    "allow",
    "request_roles",
    "review_roles",
    "approvals",
    "max_request_ttl",
    "max_certificate_ttl",
    "pin_source_ip",
)
"""What roles say that no connection carries: it is judged before there is one."""

AT_AUTH = tuple(name for name in APART if name != "deny")
"""What auth alone goes by. Proxies apart are not told, so that those which do not know it yet read the rest."""

_POSITIVE = (
    "max_connections",
    "max_sessions",
    "client_idle_timeout",
    "max_session_ttl",
    "approvals",
    "max_request_ttl",
    "max_certificate_ttl",
)
_PATTERNS = ("request_roles", "review_roles")
_NOT_NEGATIVE = ("exec_output_limit", "require_moderators")


def check_options(options: RoleOptions) -> RoleOptions:
    """The options, if every value makes sense; ValueError naming the one that does not."""
    for name in _POSITIVE:
        value = getattr(options, name)
        if value is not None and value < 1:
            msg = f"{name} must be at least 1"
            raise ValueError(msg)
    for name in _NOT_NEGATIVE:
        value = getattr(options, name)
        if value is not None and value < 0:
            msg = f"{name} must not be negative"
            raise ValueError(msg)
    for network in options.source_networks or ():
        ip_network(network, strict=False)
    if len(options.source_networks or ()) > MAX_NETWORKS:
        msg = f"source_networks can be {MAX_NETWORKS} at most"
        raise ValueError(msg)
    for name in _PATTERNS:
        for pattern in getattr(options, name) or ():
            check_pattern(pattern)
    if options.recording is not None and options.recording not in RECORDING_ORDER:
        msg = f"recording must be one of {', '.join(RECORDING_ORDER)}"
        raise ValueError(msg)
    return options


def for_proxies(options: RoleOptions) -> RoleOptions:
    """The options without those that auth alone goes by."""
    said = {name: None for name in AT_AUTH if getattr(options, name) is not None}
    return msgspec.structs.replace(options, **said) if said else options


_DECODER = msgspec.json.Decoder(RoleOptions, strict=True)
_ENCODER = msgspec.json.Encoder()


def dump_options(options: RoleOptions) -> str:
    """JSON text with what the role says and nothing else."""
    return _ENCODER.encode(check_options(options)).decode()


def load_options(text: str) -> RoleOptions:
    """The options in JSON text; ValueError for an unknown name or a value that makes no sense (R6)."""
    return check_options(_DECODER.decode(text))
