"""The joining side: recognise auth by the token's pin first, only then say the token's secret.

1. a TLS handshake that verifies nothing shows the certificate of whoever answers;
2. with that as the only root, the server is asked for the authority above it, which is compared with the pin;
3. with the pinned authority as the only root, the server must prove to be auth; it gets the secret.

Somebody in between can replay the right authority in step 2, but not pass step 3, and learns nothing before it.
"""

from dataclasses import dataclass

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc.calling import call
from interlock.adapters.rpc.tls import UNIX, check_pin, open_channel, server_certificate
from interlock.services.clusters.trusting import LeafRequest, RootReply
from interlock.services.keys.daemonca import create_request
from interlock.services.keys.daemonroots import root_pins, vouches
from interlock.services.keys.joining import JoinReply, JoinRequest, TokenText


@dataclass(frozen=True, slots=True)
class Membership:
    """What joining gave."""

    reply: JoinReply
    roots: str  # the daemons' authorities, PEM
    service: str  # address of auth's service for daemons, host:port; empty if it was not reached by one


async def join(address: str, token: TokenText, *, names: tuple[str, ...], key: str, host_key: str) -> Membership:
    """Join the cluster with a new identity for ``key`` (PEM) and SSH ``host_key``.

    ``address`` of a join listener: host:port, or ``unix:`` and a path, behind which auth's service is not said.

    ConfigError if the server is not the one that the token was made by or the address is malformed, StoreError if
    it cannot be reached, SignInFailed or Denied as auth decides.
    """
    roots = await _pinned_roots(address, token)
    request = JoinRequest(token.id, token.secret, names, create_request(key), host_key)
    async with open_channel(address, roots, max_message=m.MAX_MESSAGE) as channel:
        joined = await call(channel, m.JOIN, request)
    service = joined.service
    if address.startswith(UNIX):
        service = ""
    elif service.startswith(":"):
        service = address.rpartition(":")[0] + service
    return Membership(joined.reply, "".join(joined.reply.trust.roots) or roots, service)


async def trust_root(
    address: str, token: TokenText, *, name: str, cluster_id: str, proxy: str, host_cas: tuple[str, ...]
) -> RootReply:
    """Tell the root cluster behind a join listener (host:port) of the leaf; what it tells in return.

    Errors as those of `join`.
    """
    roots = await _pinned_roots(address, token)
    request = LeafRequest(token.id, token.secret, name, cluster_id, proxy, host_cas)
    async with open_channel(address, roots, max_message=m.MAX_MESSAGE) as channel:
        return await call(channel, m.TRUST_LEAF, request)


async def _pinned_roots(address: str, token: TokenText) -> str:
    """The authority of the daemons there, PEM, which the token's pin vouches for: itself, or by the one before."""
    shown = await server_certificate(address)
    async with open_channel(address, shown, max_message=m.MAX_MESSAGE) as channel:
        said = await call(channel, m.AUTHORITY, m.Nothing())
    by_word = vouches(said.before, said.word, said.certificate)
    is_older = by_word and token.pin in root_pins(said.before)
    check_pin(said.before if is_older else said.certificate, token.pin)
    return said.certificate
