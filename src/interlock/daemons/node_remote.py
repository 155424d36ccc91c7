"""A node apart from auth: it joins once, then keeps itself going through restarts and absences of either side.

With a stored identity the node listens at once, whether auth answers or not: forwarded sessions need nothing of
auth at that moment, events and recordings wait until it is back. Without one, it needs a token and an auth.
"""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.tls import UNIX
from interlock.adapters.ssh.tunnel.agent import TunnelAgent
from interlock.core.errors import ConfigError
from interlock.core.ids import parse_name
from interlock.daemons.config import proxy_address
from interlock.daemons.local import prepare_data_dir
from interlock.daemons.membership import IdentityKeeper, JoinBy, own_address, until_joined, usable
from interlock.daemons.node import NodePorts, NodeSettings, serve_node
from interlock.daemons.node_identity import IdentityFile, NodeIdentity
from interlock.daemons.node_terms import NodeTerms
from interlock.ports import Clock, Entropy

_HOW = "--join TOKEN and --auth HOST:PORT or --proxy HOST:PORT"

_log = structlog.get_logger()


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

    ``join_by`` is needed for the first start only, and ignored later unless it leads to another cluster, the
    identity has expired, or the node was removed. ConfigError, SignInFailed or Denied end it; an auth that cannot
    be reached does not.
    """
    prepare_data_dir(settings.data_dir)
    for name in settings.all_names:
        _check_name(name)
    file = IdentityFile(settings.data_dir)
    identity = _usable(file.load(), settings, join_by, clock)
    if identity is None:
        if join_by is None:
            raise ConfigError(f"this node has not joined a cluster yet: start it with {_HOW}")
        identity = await until_joined(settings.all_names, join_by, stopping)
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
            reached_at = await own_address(service)
        client = AuthClient(service, roots=identity.roots, identity=identity.pair, clock=clock)
        stack.push_async_callback(client.close)
        await serve_node(
            settings,
            identity,
            NodePorts(client, client, client, client, client, client, client, client, sync=lambda _id: client),
            claims=keeper.claims,
            keeper=lambda server: keeper.run(server, client),
            reached_at=reached_at,
            clock=clock,
            entropy=entropy,
            stopping=stopping,
            signer=terms.signer,
            content=terms,
            agent=agent,
            watch=watch,
            on_trust=keeper.wake,
            on_ready=on_ready,
        )


def _usable(
    stored: NodeIdentity | None, settings: NodeSettings, join_by: JoinBy | None, clock: Clock
) -> NodeIdentity | None:
    """See `usable`; a node has to know a way to auth, too."""
    why = ""
    if stored is not None and stored.removed:
        why = "it was removed from the cluster"
    elif stored is not None and settings.proxy and not stored.tunnel_certificate:
        why = "it joined when there were no tunnels"
    elif stored is not None and not (stored.service or settings.proxy or stored.proxy):
        why = "it only knows the way to auth by a proxy"
    return usable(stored, settings.all_names, join_by, clock, kind="node", how=_HOW, why=why)


def _check_name(name: str) -> None:
    try:
        parse_name(name)
    except ValueError as error:
        raise ConfigError(f"the node's name is wrong: {error}") from None
