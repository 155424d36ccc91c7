"""What a node and the proxy say in a reverse tunnel beyond SSH: names and payloads (PROTOCOL.md §2.8)."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from interlock.core.wire import Reader, string, uint32

TUNNEL_USER = "-tunnel"
"""SSH user name of a node that brings its tunnel. No person and no route can have it, because of the dash."""

JOIN_USER = "-join"
"""SSH user name of a node that has no identity yet; it reaches auth's join listener and nothing else."""

TO_NODE = b"tunnel-ssh@interlock.dev"
"""Channel type, proxy to node: a connection to the node's SSH server. Payload: `Visit`."""

TO_AUTH = b"tunnel-auth@interlock.dev"
"""Channel type, node to proxy: a connection to auth, TLS inside. Payload: a `Listener`."""


class Listener(Enum):
    """Which of auth's two listeners a node wants to reach; the value is the wire's."""

    SERVICE = "service"
    JOIN = "join"

    def encode(self) -> bytes:
        """Payload of a `TO_AUTH` channel open."""
        return string(self.value)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read it; RemoteProtocolError if it is cut short, ValueError if there is no such listener."""
        reader = Reader(payload)
        name = reader.text()
        reader.end()
        return cls(name)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who comes to the node through the tunnel: the address of the person's client, as the proxy sees it."""

    host: str
    port: int

    def encode(self) -> bytes:
        """Payload of a `TO_NODE` channel open."""
        return string(self.host) + uint32(self.port)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read it; RemoteProtocolError if it is malformed."""
        reader = Reader(payload)
        visit = cls(reader.text(), reader.uint32())
        reader.end()
        return visit
