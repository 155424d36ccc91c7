"""How a daemon apart from auth becomes a member of the cluster and stays one: joining, trust, renewal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.joiner import join
from interlock.adapters.rpc.tls import UNIX, first_address
from interlock.adapters.ssh.tunnel.agent import Credential, TunnelAgent
from interlock.core.errors import Away, ConfigError, Denied, InterlockError, StoreError, TargetError
from interlock.core.tunnel import Listener
from interlock.daemons.config import proxy_address
from interlock.daemons.node_identity import IdentityFile, NodeIdentity, create_host_key, public_line
from interlock.daemons.node_terms import NodeTerms
from interlock.domain.target import REMOVED
from interlock.ports import Clock
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.daemonca import create_key, expiry, half_life
from interlock.services.keys.daemonroots import root_pins
from interlock.services.keys.joining import TokenText

REFRESH_S = 30.0
"""Seconds between two questions to auth about whom to trust."""

RETRY_S = 5.0
"""Seconds between two attempts while auth is away."""

NEEDED_S = 0.25
"""The same while a session waits for the answer."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0

_log = structlog.get_logger()


class Renewable(Protocol):
    """An SSH server with a host certificate."""

    async def renew(self, host_certificate: str) -> None:
        """Show another one from now on."""
        ...


@dataclass(frozen=True, slots=True)
class JoinBy:
    """How to enter the cluster."""

    address: str  # of auth's join listener, or of a proxy's one port, host:port
    token: TokenText
    tunnel: bool = False  # it is a proxy's, and so is the way to the node that joins


def usable(
    stored: NodeIdentity | None,
    names: Sequence[str],
    join_by: JoinBy | None,
    clock: Clock,
    *,
    kind: str,
    how: str,
    why: str = "",
) -> NodeIdentity | None:
    """The stored identity. None, so that the daemon joins anew, if a token is at hand and there is a reason to.

    ConfigError if there is a reason and no token. ``names``: those that it is to have. ``kind``: node or proxy.
    ``how``: the options with which it joins. ``why``: a reason of its kind, if no common one comes before.
    """
    if stored is None or not stored.certificate:
        return None
    missing = [name for name in names if name not in stored.names]
    if missing:
        why = f"it joined as {', '.join(stored.names)}, not as {', '.join(missing)}"
    elif clock.now() >= expiry(stored.certificate):
        why = "it was away for so long that its identity has expired"
    elif join_by is not None and join_by.token.pin not in stored.known_pins:
        why = "it belongs to another cluster, or to this one by an authority of before"
    if why and join_by is None:
        raise ConfigError(f"this {kind} has to join again, since {why}: give it {how}")
    return None if why else stored


class IdentityKeeper:
    """Follows auth's authorities and renews the daemon's certificates at half-life.

    ``kind``: for the log. ``terms``: what else auth says now and then is asked for with it.
    """

    def __init__(
        self, identity: NodeIdentity, file: IdentityFile, terms: NodeTerms, clock: Clock, kind: str = "node"
    ) -> None:
        self.claims = CertificateReader(identity.user_cas)  # follows
        self._identity = identity
        self._file = file
        self._terms = terms
        self._kind = kind
        self._clock = clock
        self._woken = asyncio.Event()
        self.on_trust: Callable[[], None] = lambda: None  # other authorities are trusted
        self.on_renewed: Callable[[], None] = lambda: None
        self.on_moved: Callable[[], None] = lambda: None  # auths are elsewhere, or there are others

    @property
    def identity(self) -> NodeIdentity:
        """As it is now."""
        return self._identity

    def credential(self) -> Credential:
        """For the tunnel, as it is now."""
        identity = self._identity
        return Credential(identity.host_key, identity.tunnel_certificate, identity.host_cas)

    async def run(self, server: Renewable, client: AuthClient) -> None:
        """Until cancelled. What fails is tried again; a new failure is logged once."""
        failing = ""
        while True:
            try:
                await self._refresh_or_say(server, client, again=bool(failing))
            except InterlockError as error:
                if isinstance(error, Denied) and error.public == REMOVED:
                    self._mark(removed=True)
                if error.public != failing:
                    _log.warning(f"{self._kind}.auth_away", error=error.public, reason=error.reason)
                failing = error.public
            else:
                self._mark(removed=False)
                if failing:
                    _log.info(f"{self._kind}.auth_back")
                failing = ""
            await self._pause(RETRY_S if failing else REFRESH_S)

    async def _refresh_or_say(self, server: Renewable, client: AuthClient, *, again: bool) -> None:
        """`refresh`; if that fails ``again``, Denied if it is not auth that is away, but this daemon that was."""
        try:
            await self.refresh(server, client)
        except Away:
            if again:
                with contextlib.suppress(StoreError):
                    await client.check_roots()
            raise

    def _mark(self, *, removed: bool) -> None:
        """Keep whether auth has removed this daemon: with a new token it joins anew at its next start."""
        if self._identity.removed != removed:
            self._identity = replace(self._identity, removed=removed)
            self._file.save(self._identity)

    def wake(self) -> None:
        """Auth has other authorities: ask now."""
        self._woken.set()

    async def _pause(self, seconds: float) -> None:
        needed = self._terms.needed
        if needed.is_set():
            await asyncio.sleep(NEEDED_S)
            return
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(each.wait(), name="keeper.pause") for each in (needed, self._woken)]
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
        self._woken.clear()

    async def refresh(self, server: Renewable, client: AuthClient) -> None:
        """Ask once, renew if it is time, and keep what has changed; first what a session waits for."""
        if self._terms.needed.is_set():
            await self._terms.refresh(client)
        await self._refresh_identity(server, client)
        await self._terms.refresh(client)

    async def _refresh_identity(self, server: Renewable, client: AuthClient) -> None:
        identity = self._identity
        due = self._clock.now() >= half_life(identity.certificate)
        if not due:
            identity = identity.trusting(await client.trust())
        if due or identity.signed_by_others:
            identity = identity.renewed(await client.renew(identity.host_public_key))
        if identity == self._identity:
            return
        renewed = identity.certificate != self._identity.certificate
        moved = identity.service != self._identity.service
        rooted = identity.roots != self._identity.roots
        self.claims.trust(identity.user_cas)
        self._file.save(identity)
        self._identity = identity
        self.on_trust()
        if moved:
            self.on_moved()
            await client.move(identity.service)
            _log.info(f"{self._kind}.auth_moved", service=identity.service)
        if rooted or renewed:
            await client.use(identity.pair, identity.roots)
            self._woken.set()  # so that auth hears what is trusted here, and sees what is shown
        if rooted:
            _log.info(f"{self._kind}.roots_changed", pins=root_pins(identity.roots))
        if renewed:
            await server.renew(identity.host_certificate)
            self.on_renewed()
            _log.info(f"{self._kind}.renewed", until=expiry(identity.certificate).isoformat())


async def until_joined(names: tuple[str, ...], join_by: JoinBy, stopping: asyncio.Event) -> NodeIdentity | None:
    """A fresh identity, however long auth is away; None if the daemon was stopped meanwhile."""
    key, host_key = create_key(), create_host_key()
    pause = FIRST_PAUSE_S
    while not stopping.is_set():
        try:
            async with _join_listener(join_by) as address:
                membership = await join(
                    address,
                    join_by.token,
                    names=names,
                    key=key,
                    host_key=public_line(host_key),
                )
        except (StoreError, TargetError) as error:
            _log.warning(
                f"{join_by.token.kind.value}.waiting", error=f"{error.public}; trying again", reason=error.reason
            )
            await _pause(stopping, pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            continue
        reply = membership.reply
        _log.info(f"{join_by.token.kind.value}.joined", cluster=reply.cluster, id=reply.id)
        return NodeIdentity(
            id=reply.id,
            cluster=reply.cluster,
            names=reply.names,
            host_key=host_key,
            host_certificate=reply.host_certificate,
            user_cas=reply.trust.user_cas,
            host_cas=reply.trust.host_cas,
            service=membership.service,
            roots=membership.roots,
            key=key,
            certificate=reply.certificate,
            tunnel_certificate=reply.tunnel_certificate,
            proxy=join_by.address if join_by.tunnel else "",
            join="" if join_by.tunnel else join_by.address,
            cluster_id=reply.cluster_id,
        )
    return None


@contextlib.asynccontextmanager
async def _join_listener(join_by: JoinBy) -> AsyncIterator[str]:
    """The address at which auth's join listener answers: its own, or that of a socket that leads there."""
    if not join_by.tunnel:
        yield join_by.address
        return
    agent = TunnelAgent(proxy_address("--proxy", join_by.address), None)
    async with agent.auth_socket(Listener.JOIN) as path:
        await agent.dial()
        yield f"{UNIX}{path}"


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


async def own_address(service: str) -> str:
    """The address from which this host reaches auth; no packet is sent to find out."""
    loop = asyncio.get_running_loop()
    try:
        transport, _protocol = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=first_address(service)
        )
    except OSError:
        return "127.0.0.1"
    found = transport.get_extra_info("sockname")[0]
    transport.close()
    return str(found)
