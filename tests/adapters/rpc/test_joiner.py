"""Joining over real TLS: who is believed, and who never hears the secret."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.rpc.joiner import join, trust_root
from interlock.adapters.rpc.tls import server_certificate, split_address
from interlock.core.errors import ConfigError, Denied, SignInFailed, StoreError
from interlock.ports import TokenKind
from interlock.services.keys.daemonca import DaemonCa, KeyPair, create_key, read_identity
from interlock.services.keys.joining import create_token
from interlock.testing.auth import CLUSTER, HOST_KEY, Auth


async def test_a_token_gives_a_daemon_everything_it_needs(auth: Auth) -> None:
    """One call answers with identity, host certificate, trust, cluster, and where to go from here."""
    membership, identity = await auth.join("db1", "db1.example.com")
    reply = membership.reply
    assert reply.cluster == CLUSTER
    assert reply.names == ("db1", "db1.example.com")
    assert reply.host_certificate == f"{HOST_KEY} signed for db1,db1.example.com,{reply.id}"
    assert reply.trust.user_cas == ("user-ca",)
    assert membership.service == auth.bound.service
    named = read_identity(identity.certificate, cluster=CLUSTER)
    assert (named.id, named.names) == (reply.id, reply.names)
    client = auth.client(membership, identity)
    assert (await client.trust()).host_cas == ("host-ca",)
    await client.close()


async def test_a_token_lets_one_daemon_in(auth: Auth) -> None:
    """The second use is refused, in words that do not tell why."""
    token = await auth.token()
    await join(auth.bound.join, token, names=("a",), key=create_key(), host_key=HOST_KEY)
    with pytest.raises(SignInFailed) as refusal:
        await join(auth.bound.join, token, names=("b",), key=create_key(), host_key=HOST_KEY)
    assert "not valid" in refusal.value.public
    assert refusal.value.reason == refusal.value.public


async def test_an_expired_token_is_refused(auth: Auth) -> None:
    """A token is good for its time and no longer."""
    token = await create_token(
        auth.stores, pin=auth.ca.pin, clock=auth.clock, entropy=auth.entropy, ttl=timedelta(microseconds=1)
    )
    with pytest.raises(SignInFailed):
        await join(auth.bound.join, token, names=("a",), key=create_key(), host_key=HOST_KEY)


async def test_a_refused_name_does_not_cost_the_token(auth: Auth) -> None:
    """Whoever mistypes a name can try again with the same token."""
    token = await auth.token()
    with pytest.raises(Denied, match="reserved"):
        await join(auth.bound.join, token, names=("proxy.example.com",), key=create_key(), host_key=HOST_KEY)
    await join(auth.bound.join, token, names=("db1",), key=create_key(), host_key=HOST_KEY)


async def test_the_secret_is_not_said_to_a_server_with_another_pin(auth: Auth, tmp_path: Path) -> None:
    """A token of another cluster: the joining side stops before it asks to join."""
    other = Auth(tmp_path / "other")
    foreign = await other.token()
    with pytest.raises(ConfigError, match="not the auth service"):
        await join(auth.bound.join, foreign, names=("a",), key=create_key(), host_key=HOST_KEY)
    assert not other.stores.nodes


async def test_somebody_in_between_who_replays_the_authority_learns_nothing(auth: Auth, tmp_path: Path) -> None:
    """The right authority shown by the wrong server does not help it: the handshake under the pin fails."""
    impostor = Auth(tmp_path / "impostor")
    own = impostor.ca.issue_server(now=auth.clock.now())
    impostor.ca = _Replayed(auth.ca, own)
    impostor.stores.join_tokens = auth.stores.join_tokens
    await impostor.start()
    try:
        token = await auth.token()
        with pytest.raises(StoreError):
            await join(impostor.bound.join, token, names=("a",), key=create_key(), host_key=HOST_KEY)
        assert auth.stores.join_tokens[token.id].uses == 1
    finally:
        await impostor.stop()


class _Replayed(DaemonCa):
    """Another cluster's authority with our own certificate under it: what somebody in between has."""

    def __init__(self, real: DaemonCa, own: KeyPair) -> None:
        self.certificate = real.certificate
        self.pin = real.pin
        self._own = own

    def issue_server(self, *, now: object) -> KeyPair:  # noqa: ARG002
        return self._own


async def test_a_node_cannot_pass_for_auth(auth: Auth, tmp_path: Path) -> None:
    """A daemon's own certificate, genuine as it is, does not make a server that others would join."""
    _membership, identity = await auth.join("evil")
    evil = Auth(tmp_path / "evil")
    evil.ca = _Replayed(auth.ca, identity)
    await evil.start()
    try:
        with pytest.raises(StoreError):
            await join(evil.bound.join, await auth.token(), names=("a",), key=create_key(), host_key=HOST_KEY)
    finally:
        await evil.stop()


async def test_a_server_that_is_away_is_an_error_to_try_again(auth: Auth) -> None:
    """One sentence that names the address."""
    address = auth.bound.join
    await auth.stop()
    with pytest.raises(StoreError, match=f"auth cannot be reached at {address}"):
        await join(address, await auth.token(), names=("a",), key=create_key(), host_key=HOST_KEY)


async def test_the_unverified_handshake_shows_the_servers_certificate(auth: Auth) -> None:
    """It is auth's own, but nobody has verified that yet."""
    assert "BEGIN CERTIFICATE" in await server_certificate(auth.bound.join)


async def test_a_server_that_speaks_no_tls_is_an_error() -> None:
    """Something else listens there: the answer is an error of ours, not a traceback."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreError):
            await server_certificate(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:65536", "::1:22", "unix:/x:1"])
def test_a_malformed_address_is_refused(address: str) -> None:
    """Nothing but a host and a port gets near the network."""
    with pytest.raises(ConfigError):
        split_address(address)


def test_addresses_are_split() -> None:
    """Names, IPv4 and IPv6."""
    assert split_address("auth.example.com:3025") == ("auth.example.com", 3025)
    assert split_address("[::1]:22") == ("::1", 22)


async def test_a_leaf_trusts_its_root(auth: Auth) -> None:
    """By a token for clusters: the leaf gets the root's user authority and the root knows the leaf."""
    token = await auth.token(kind=TokenKind.CLUSTER)
    leaf_id = "22222222-0000-4000-8000-000000000002"
    reply = await trust_root(
        auth.bound.join, token, name="leaf", cluster_id=leaf_id, proxy="leaf:3023", host_cas=(HOST_KEY,)
    )
    assert (reply.name, reply.user_cas) == ("example", ("user-ca",))
    [leaf] = await auth.trusts.trusted_clusters()
    assert (leaf.name, leaf.id, leaf.host_cas) == ("leaf", leaf_id, (HOST_KEY,))


async def test_a_leafs_secret_is_told_to_the_pinned_root_only(auth: Auth, tmp_path: Path) -> None:
    """As a joining node's."""
    other = Auth(tmp_path / "other")
    await other.start()
    token = await auth.token(kind=TokenKind.CLUSTER)
    try:
        with pytest.raises(ConfigError, match="is not the auth service that the join token was made by"):
            await trust_root(
                other.bound.join, token, name="leaf", cluster_id=CLUSTER, proxy="leaf:3023", host_cas=(HOST_KEY,)
            )
    finally:
        await other.stop()
    assert other.trusts.stored == {}
