"""The SSH server of a worker, or of a proxy apart, at which people join its sessions who have come in by another.

The other one's forwarder treats this one as it treats a node whose session is to be joined: it comes with a
certificate for exactly that session, and finds a node's server. Nothing else is to be had here: no session can be
begun, and nobody is admitted who shows a person's own certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from interlock.adapters.ssh.node.server import NodeOptions, NodeServer
from interlock.core.errors import Denied
from interlock.core.extensions import SOFTWARE
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.local import Local
from interlock.daemons.node_identity import create_host_key, public_line
from interlock.daemons.proxy import ProxyServices
from interlock.domain.access import Access
from interlock.domain.audit import JsonValue
from interlock.domain.identity import Claims
from interlock.domain.session import SessionContext
from interlock.domain.target import SubKind, Target
from interlock.ports import ClaimsReader
from interlock.services.sessions.desk import Desk
from interlock.services.sessions.live import LiveSession
from interlock.services.sessions.sessions import Sessions

_JOINS_ONLY = "this is for joining sessions only"


@dataclass(frozen=True, slots=True)
class Shown:
    """How those who come are met, and believed."""

    host_key: str
    host_certificate: str  # for the name
    claims: ClaimsReader


async def own_credential(local: Local, process: str) -> Shown:
    """Of a worker, made for this once."""
    host_key = create_host_key()
    certificate = await local.authority.issue_host(public_line(host_key), [process])
    return Shown(host_key, certificate, local.claims)


async def join_server(services: ProxyServices, desk: Desk, process: str, shown: Shown) -> NodeServer:
    """Ready to accept connections; it does not listen. ``process``: the name in certificates for here."""
    server = NodeServer(
        target=Target(DaemonId(process), process, "", 0, SubKind.NODE, version=SOFTWARE, tunnel=True),
        cluster=services.cluster.name,
        host_key=shown.host_key,
        host_certificate=shown.host_certificate,
        claims=shown.claims,
        admission=_Nobody(),
        sessions=_Joinable(desk, services.sessions),
        tenures=services.tenures,
        audit=services.emitter,
        clock=services.clock,
        entropy=services.entropy,
        options=NodeOptions(),
    )
    await server.prepare()
    return server


class _Nobody:
    """`ports.Admission` for people with certificates of their own."""

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """Never."""
        raise Denied(_JOINS_ONLY, reason=f"{claims.identity.user} as {login} at {target}")


class _Joinable:
    """`node.server.Registry`: the process's sessions, as far as they can be joined."""

    def __init__(self, desk: Desk, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions

    def agree(self, ctx: SessionContext) -> LiveSession:
        """Nothing begins here."""
        raise Denied(_JOINS_ONLY, reason=f"a session of {ctx.identity.user} at a worker")

    def find(self, sid: SessionId) -> LiveSession:
        """The session; Denied if it is not here or cannot be joined."""
        return self._desk.join_here(sid)

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Tell the audit log."""
        self._sessions.rejected(who, public=public, reason=reason)
