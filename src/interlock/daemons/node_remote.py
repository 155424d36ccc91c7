"""A node apart from auth: it joins once, then keeps itself going through restarts and absences of either side.

With a stored identity the node listens at once, whether auth answers or not: forwarded sessions need nothing of
auth at that moment, events and recordings wait until it is back. Without one, it needs a token and an auth.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.joiner import join
from interlock.adapters.rpc.tls import UNIX, split_address
from interlock.adapters.ssh.node.server import NodeServer
from interlock.adapters.ssh.tunnel.agent import Credential, TunnelAgent
from interlock.core.errors import ConfigError, InterlockError, StoreError, TargetError
from interlock.core.ids import parse_name
from interlock.core.tunnel import Listener
from interlock.daemons.config import proxy_address
from interlock.daemons.local import prepare_data_dir
from interlock.daemons.node import NodePorts, NodeSettings, serve_node
from interlock.daemons.node_identity import IdentityFile, NodeIdentity, create_host_key, public_line
from interlock.daemons.node_terms import NodeTerms
from interlock.ports import Clock, Entropy
from interlock.services.certificates import CertificateReader
from interlock.services.daemonca import certificate_pin, create_key, expiry, half_life
from interlock.services.joining import TokenText

REFRESH_S = 30.0
"""Seconds between two questions to auth about whom to trust."""

RETRY_S = 5.0
"""Seconds between two attempts while auth is away."""

_HOW = "--join TOKEN and --auth HOST:PORT or --proxy HOST:PORT"

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JoinBy:
    """How to enter the cluster."""

    address: str  # of auth's join listener, or of a proxy's one port, host:port
    token: TokenText
    tunnel: bool = False  # it is a proxy's, and so is the way to this node


async def run_node(
    settings: NodeSettings,
    *,
    join_by: JoinBy | None,
    clock: Clock,
    entropy: Entropy,
    stopping: asyncio.Event,
    on_ready: Callable[[str, int], None] = lambda _host, _port: None,
    watch: str = "",
) -> None:
    """Run a node of its own until ``stopping`` is set.

    ``join_by`` is needed for the first start only, and ignored later unless it leads to another cluster or the
    identity has expired. ConfigError, SignInFailed or Denied end it; an auth that cannot be reached does not.
    """
    prepare_data_dir(settings.data_dir)
    for name in settings.all_names:
        _check_name(name)
    file = IdentityFile(settings.data_dir)
    identity = _usable(file.load(), settings, join_by, clock)
    if identity is None:
        if join_by is None:
            raise ConfigError(f"this node has not joined a cluster yet: start it with {_HOW}")
        identity = await _until_joined(settings, join_by, stopping)
        if identity is None:
            return
        file.save(identity)
    terms = NodeTerms(settings.data_dir, identity.id, clock=clock, entropy=entropy)
    keeper = IdentityKeeper(identity, file, terms, clock)
    proxy = settings.proxy or identity.proxy
    async with contextlib.AsyncExitStack() as stack:
        agent: TunnelAgent | None = None
        service, reached_at = identity.service, ""
        if proxy:
            agent = TunnelAgent(proxy_address("node.proxy", proxy), keeper.credential)
            keeper.on_renewed = agent.retire
            service = f"{UNIX}{await stack.enter_async_context(agent.auth_socket())}"
        else:
            reached_at = await _own_address(service)
        client = AuthClient(service, roots=identity.roots, identity=identity.pair, clock=clock)
        stack.push_async_callback(client.close)
        await serve_node(
            settings,
            identity,
            NodePorts(client, client, client, client, client, client, client, sync=lambda _id: client),
            claims=keeper.claims,
            keeper=lambda server: keeper.run(server, client),
            reached_at=reached_at,
            clock=clock,
            entropy=entropy,
            stopping=stopping,
            signer=terms.signer,
            agent=agent,
            watch=watch,
            on_ready=on_ready,
        )


class IdentityKeeper:
    """Follows auth's authorities and its terms, and renews the node's certificates at half-life."""

    def __init__(self, identity: NodeIdentity, file: IdentityFile, terms: NodeTerms, clock: Clock) -> None:
        self._terms = terms
        self.claims = CertificateReader(identity.user_cas)  # follows
        self._identity = identity
        self._file = file
        self._clock = clock
        self.on_renewed: Callable[[], None] = lambda: None

    def credential(self) -> Credential:
        """For the tunnel, as it is now."""
        identity = self._identity
        return Credential(identity.host_key, identity.tunnel_certificate, identity.host_cas)

    async def run(self, server: NodeServer, client: AuthClient) -> None:
        """Until cancelled. What fails is tried again; a new failure is logged once."""
        failing = ""
        while True:
            try:
                await self.refresh(server, client)
            except InterlockError as error:
                if error.public != failing:
                    _log.warning("node.auth_away", error=error.public, reason=error.reason)
                failing = error.public
            else:
                if failing:
                    _log.info("node.auth_back")
                failing = ""
            await asyncio.sleep(RETRY_S if failing else REFRESH_S)

    async def refresh(self, server: NodeServer, client: AuthClient) -> None:
        """Ask once, renew if it is time, and keep what has changed."""
        await self._refresh_identity(server, client)
        await self._terms.refresh(client)

    async def _refresh_identity(self, server: NodeServer, client: AuthClient) -> None:
        identity = self._identity
        if self._clock.now() >= half_life(identity.certificate):
            identity = identity.renewed(await client.renew(identity.host_public_key))
        else:
            identity = identity.trusting(await client.trust())
        if identity == self._identity:
            return
        renewed = identity.certificate != self._identity.certificate
        self.claims.trust(identity.user_cas)
        self._file.save(identity)
        self._identity = identity
        if renewed:
            await server.renew(identity.host_certificate)
            await client.use(identity.pair)
            self.on_renewed()
            _log.info("node.renewed", until=expiry(identity.certificate).isoformat())


def _usable(
    stored: NodeIdentity | None, settings: NodeSettings, join_by: JoinBy | None, clock: Clock
) -> NodeIdentity | None:
    """The stored identity. None, so that the node joins anew, if a token is at hand and there is a reason to."""
    if stored is None or not stored.certificate:
        return None
    missing = [name for name in settings.all_names if name not in stored.names]
    why = ""
    if missing:
        why = f"it joined as {', '.join(stored.names)}, not as {', '.join(missing)}"
    elif clock.now() >= expiry(stored.certificate):
        why = "it was away for so long that its identity has expired"
    elif join_by is not None and certificate_pin(stored.roots) != join_by.token.pin:
        why = "it belongs to another cluster"
    elif settings.proxy and not stored.tunnel_certificate:
        why = "it joined when there were no tunnels"
    elif not (stored.service or settings.proxy or stored.proxy):
        why = "it only knows the way to auth by a proxy"
    if why and join_by is None:
        raise ConfigError(f"this node has to join again, since {why}: give it {_HOW}")
    return None if why else stored


async def _until_joined(settings: NodeSettings, join_by: JoinBy, stopping: asyncio.Event) -> NodeIdentity | None:
    """A fresh identity, however long auth is away; None if the node was stopped meanwhile."""
    key, host_key = create_key(), create_host_key()
    pause = FIRST_PAUSE_S
    while not stopping.is_set():
        try:
            async with _join_listener(join_by) as address:
                membership = await join(
                    address,
                    join_by.token,
                    names=settings.all_names,
                    key=key,
                    host_key=public_line(host_key),
                )
        except (StoreError, TargetError) as error:
            _log.warning("node.waiting", error=f"{error.public}; trying again", reason=error.reason)
            await _pause(stopping, pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            continue
        reply = membership.reply
        _log.info("node.joined", cluster=reply.cluster, node=reply.id)
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


async def _own_address(service: str) -> str:
    """The address from which this host reaches auth; no packet is sent to find out."""
    loop = asyncio.get_running_loop()
    try:
        transport, _protocol = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=split_address(service)
        )
    except OSError:
        return "127.0.0.1"
    found = transport.get_extra_info("sockname")[0]
    transport.close()
    return str(found)


def _check_name(name: str) -> None:
    try:
        parse_name(name)
    except ValueError as error:
        raise ConfigError(f"the node's name is wrong: {error}") from None
