"""The ways between proxies on different machines: TLS, with which a proxy reaches the UNIX socket of another one.

Nothing is said here that `neighbours` does not say already. For each peer there is a UNIX socket on this side;
what comes in there goes, encrypted, to the peer's socket on the other side, as to a process of the same gateway.

Both sides show the certificate by which auth knows them, and look whether the other one is a proxy of this cluster
that auth lists: a node's certificate opens nothing here, nor does a proxy's that was removed.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from interlock.adapters.ssh.pipe import StreamEnd, link
from interlock.adapters.ssh.tunnel.accepting import Sleep, next_caller
from interlock.adapters.ssh.tunnel.neighbours import listen_at, socket_path
from interlock.core.address import parse_address
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.services.keys.daemonca import DaemonKind, KeyPair, read_identity

HANDSHAKES = 64
"""Peers that may be shaking hands at once; others wait in the listener's queue."""

FROM_ONE = 2048
"""Ways that one peer may hold here, one for each person whom it leads to a node or a session of ours."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Another proxy."""

    id: DaemonId
    addr: str  # host:port


@dataclass(frozen=True, slots=True)
class Membership:
    """What a proxy shows to its peers, and whom it believes."""

    cluster: str
    pair: KeyPair
    roots: str  # PEM


class PeerDoor:
    """One proxy's side. `run` belongs into a TaskGroup; `know` may be called at any time."""

    def __init__(
        self, own: DaemonId, sockets: Path, membership: Membership, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        """``sockets``: the directory of `neighbours`, where our own socket is, too."""
        self._sleep = sleep
        self._own = own
        self._sockets = sockets
        self._membership = membership
        self._inside, self._outside = _contexts(membership, sockets)
        self._peers: dict[DaemonId, str] = {}
        self._served: dict[DaemonId, asyncio.Task[None]] = {}
        self._held: Counter[DaemonId] = Counter()  # ways, by who came in
        self._handshakes = asyncio.Semaphore(HANDSHAKES)
        self._tasks: asyncio.TaskGroup | None = None  # while `run` runs

    def use(self, membership: Membership) -> None:
        """Show another certificate from the next connection on."""
        self._membership = membership
        self._inside, self._outside = _contexts(membership, self._sockets)

    def know(self, peers: Iterable[PeerAddress]) -> None:
        """These are the others now: they may come in, and are reached by a socket that has their name."""
        self._peers = {each.id: each.addr for each in peers if each.id != self._own}
        if self._tasks is None:
            return
        for gone in self._served.keys() - self._peers.keys():
            self._served.pop(gone).cancel()
        for new in self._peers.keys() - self._served.keys():
            if self._peers[new]:
                self._served[new] = self._tasks.create_task(self._serve(new), name="peers.way")

    async def run(self, listener: socket.socket | None) -> None:
        """Let peers in and lead to them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.know([PeerAddress(peer, addr) for peer, addr in self._peers.items()])
            if listener is None:
                await asyncio.get_running_loop().create_future()
            else:
                await self._let_in(listener, tasks)

    # --- to a peer --------------------------------------------------------------------------------

    async def _serve(self, peer: DaemonId) -> None:
        """Take what is to go to this peer."""
        path = socket_path(self._sockets, peer)
        path.unlink(missing_ok=True)
        listener = listen_at(path)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    caller = await next_caller(listener, self._sleep)
                    tasks.create_task(self._lead(caller, peer), name="peers.caller")
        finally:
            listener.close()
            path.unlink(missing_ok=True)

    async def _lead(self, caller: socket.socket, peer: DaemonId) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as failing:
            failing.callback(caller.close)
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    host, port = parse_address(self._peers[peer])
                    _, far = await loop.create_connection(_TlsEnd, host, port, ssl=self._outside)
                    failing.callback(far.close)
                    self._check(far, peer)
                    _, near = await loop.create_unix_connection(StreamEnd, sock=caller)
            except (OSError, TimeoutError, ValueError, KeyError, Denied) as error:
                _log.warning("peers.unreachable", peer=peer, error=repr(error))
                return
            failing.pop_all()
            _join(near, far)

    # --- from a peer ------------------------------------------------------------------------------

    async def _let_in(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._handshakes.acquire()
            try:
                caller = await next_caller(listener, self._sleep)
            except BaseException:
                self._handshakes.release()
                raise
            tasks.create_task(self._admit(caller), name="peers.arrival")

    async def _admit(self, caller: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as failing:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):  # the socket is asyncio's from here on, failing or not
                    _, far = await loop.connect_accepted_socket(_TlsEnd, caller, ssl=self._inside)
                    failing.callback(far.close)
                    self._count(far, self._check(far, None))
                    own = str(socket_path(self._sockets, self._own))
                    _, near = await loop.create_unix_connection(StreamEnd, own)
            except (OSError, TimeoutError, ValueError, Denied) as error:
                _log.warning("peers.refused", error=repr(error))
                return
            finally:
                self._handshakes.release()
            failing.pop_all()
            _join(near, far)

    def _count(self, end: "_TlsEnd", peer: DaemonId) -> None:
        """Denied if the peer holds as much as it may."""
        if self._held[peer] >= FROM_ONE:
            raise Denied("this proxy holds too many connections here", reason=f"proxy {peer} wanted one more")
        self._held[peer] += 1
        end.on_lost = partial(self._forget, peer)

    def _forget(self, peer: DaemonId) -> None:
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]

    def _check(self, end: "_TlsEnd", expected: DaemonId | None) -> DaemonId:
        """Who the other side is; Denied unless it is a proxy that auth lists, and the one that is expected."""
        found = read_identity(end.certificate, cluster=self._membership.cluster)
        known = found.id in self._peers and expected in (None, found.id)
        if found.kind is not DaemonKind.PROXY or not known:
            raise Denied("not a proxy of this cluster", reason=f"{found.kind.value} {found.id}")
        return found.id


class _TlsEnd(StreamEnd):
    """A TLS connection; it knows no half-closed state."""

    on_lost: Callable[[], None] = staticmethod(lambda: None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        super().connection_lost(exc)
        self.on_lost()

    def eof_received(self) -> bool:
        """The connection closes with it."""
        super().eof_received()
        return False

    @property
    def certificate(self) -> str:
        """The other side's, PEM, which TLS has verified."""
        tls: ssl.SSLObject = self.transport.get_extra_info("ssl_object")
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")


def _join(near: StreamEnd, far: StreamEnd) -> None:
    link(near, far)
    near.resume()
    far.resume()


def _contexts(membership: Membership, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For those who come in, and for where we go. What counts is who the certificate names, not a host's name."""
    found = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=membership.roots)
        _load(context, membership.pair, directory)
        found.append(context)
    return found[0], found[1]


def _load(context: ssl.SSLContext, pair: KeyPair, directory: Path) -> None:
    """Give a context our key: it takes nothing but a file, which exists for this moment, readable by us alone."""
    descriptor, name = tempfile.mkstemp(dir=directory)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(pair.key + pair.certificate)
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
