"""What is forwarded over a connection beside sessions: channel types, their addresses, and who may open them.

Ports (RFC 4254 §7), sockets in the file system (OpenSSH PROTOCOL §2.4), X11 (§6.3) and the key agent
(OpenSSH PROTOCOL.agent). One table says of each channel type who opens it, which grant it needs, and what people
call it; addresses are read here, and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from interlock.core.address import format_address
from interlock.core.channel import Channel
from interlock.core.limits import MAX_FORWARD_ADDRESS
from interlock.core.sides import Side
from interlock.core.wire import Reader

X11_REQUEST = "x11-req"
AGENT_REQUEST = "auth-agent-req@openssh.com"
LISTEN_PORT = "tcpip-forward"
LISTEN_SOCKET = "streamlocal-forward@openssh.com"


@dataclass(frozen=True, slots=True)
class Grants:
    """What the client's roles let it forward. ``judges``: False if the target judges that by itself."""

    local: bool = False
    remote: bool = False
    x11: bool = False
    agent: bool = False
    pty: bool = True  # a terminal; only a certificate or key withholds it
    judges: bool = True

    def allow(self, grant: str) -> bool:
        """Whether this grant, a field's name, was given, or is not ours to judge."""
        return not self.judges or bool(getattr(self, grant))


NOTHING_FORWARDED = Grants()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a forwarded channel leads, and from where, as its opener says."""

    address: str  # host:port, [v6]:port or a path; for X11 and the agent what was asked for, in words
    origin: str = ""  # host:port; what the opener claims
    host: str = ""  # of the address, if it is one of IP or DNS
    port: int = 0


class Kind(Enum):
    """Channel types that forward; the value is the name on the wire."""

    PORT = "direct-tcpip"
    SOCKET = "direct-streamlocal@openssh.com"
    FROM_PORT = "forwarded-tcpip"
    FROM_SOCKET = "forwarded-streamlocal@openssh.com"
    X11 = "x11"
    AGENT = "auth-agent@openssh.com"


@dataclass(frozen=True, slots=True)
class Rules:
    """What is true of one channel type."""

    opener: Side
    grant: str  # the field of `Grants` that it needs
    words: str  # what people call it
    read: Callable[[Reader], Endpoints]


def _short(text: str) -> str:
    return text[:MAX_FORWARD_ADDRESS]


def _tcp(reader: Reader) -> Endpoints:
    host, port, origin, origin_port = reader.text(), reader.uint32(), reader.text(), reader.uint32()
    address = _short(format_address(host, port))
    return Endpoints(address, _short(format_address(origin, origin_port)), host, port)


def _path(reader: Reader) -> str:
    """A path is bytes to the kernel; to people, and here, it is text."""
    return reader.string().decode("utf-8", "backslashreplace")


def _direct_socket(reader: Reader) -> Endpoints:
    path = _path(reader)
    reader.string()  # reserved
    reader.uint32()  # reserved
    return Endpoints(_short(path))


def _forwarded_socket(reader: Reader) -> Endpoints:
    path = _path(reader)
    reader.string()  # reserved
    return Endpoints(_short(path))


def _x11(reader: Reader) -> Endpoints:
    return Endpoints("X11 display", _short(format_address(reader.text(), reader.uint32())))


def _agent(_reader: Reader) -> Endpoints:
    return Endpoints("key agent")


RULES: dict[Kind, Rules] = {
    Kind.PORT: Rules(Side.CLIENT, "local", "port forwarding", _tcp),
    Kind.SOCKET: Rules(Side.CLIENT, "local", "socket forwarding", _direct_socket),
    Kind.FROM_PORT: Rules(Side.TARGET, "remote", "remote port forwarding", _tcp),
    Kind.FROM_SOCKET: Rules(Side.TARGET, "remote", "remote socket forwarding", _forwarded_socket),
    Kind.X11: Rules(Side.TARGET, "x11", "X11 forwarding", _x11),
    Kind.AGENT: Rules(Side.TARGET, "agent", "agent forwarding", _agent),
}

REQUEST_WORDS = {
    X11_REQUEST: "X11 forwarding",
    AGENT_REQUEST: "agent forwarding",
    LISTEN_PORT: "remote port forwarding",
    LISTEN_SOCKET: "remote socket forwarding",
    "tun@openssh.com": "tunnel forwarding",
}
"""What people call the things that they ask for by other names than those of `Kind`."""


def kind_of(name: str) -> Kind | None:
    """The kind of a channel type; None for all that forwards nothing."""
    try:
        return Kind(name)
    except ValueError:
        return None


def not_allowed(words: str) -> str:
    """The public text of a refusal by role."""
    return f"{words} is not allowed by your roles"


@dataclass(frozen=True, slots=True)
class Listening:
    """Something at the target that accepts connections for the client (RFC 4254 §7.1)."""

    request: str  # LISTEN_PORT or LISTEN_SOCKET
    host: str  # the address to bind; for sockets empty
    port: int  # 0: the target chooses
    path: str = ""

    @property
    def address(self) -> str:
        """As audit events show it."""
        return _short(self.path or format_address(self.host, self.port))

    @property
    def key(self) -> int | str:
        """What identifies it in the channels that it leads to: hosts are spelled in many ways, ports are not."""
        return self.path or self.port

    @classmethod
    def decode(cls, request: str, data: bytes) -> "Listening":
        """Read what follows want_reply, of a request to listen or to stop listening."""
        reader = Reader(data)
        if request.endswith(LISTEN_SOCKET):
            made = cls(LISTEN_SOCKET, "", 0, _path(reader))
        else:
            made = cls(LISTEN_PORT, reader.text(), reader.uint32())
        reader.end()
        return made


@dataclass(slots=True, eq=False, kw_only=True)
class ForwardChannel(Channel):
    """A channel of one of the kinds above."""

    id: int  # of this connection, for those who are told of it
    kind: Kind
    ends: Endpoints
    session: int | None = None  # the client's number of the session that it belongs to, where the kind tells
    told: bool = False  # the performer knows of it
