"""The mTLS service: who is let in, and how errors come back."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc import server
from interlock.adapters.rpc.calling import call, upload
from interlock.adapters.rpc.server import AuthRpcServer
from interlock.adapters.rpc.tls import open_channel, split_address
from interlock.core.errors import (
    ConfigError,
    Denied,
    RemoteProtocolError,
    StoreError,
)
from interlock.core.ids import DaemonId
from interlock.services.keys.daemonca import (
    DaemonCa,
    HostIdentity,
    KeyPair,
    create_authority,
    create_key,
    create_request,
)
from interlock.testing.auth import CLUSTER, SID, Auth, Node

STRANGER = DaemonId("99999999-9999-4999-8999-999999999999")


# --- who is let in -------------------------------------------------------------------------------------------


def certificate_of(ca: DaemonCa, auth: Auth, key: str, *, cluster: str = CLUSTER, days: int = 0) -> str:
    """A daemon's certificate."""
    identity = HostIdentity(cluster, STRANGER, ("db1",))
    return ca.issue_daemon(create_request(key), identity, now=auth.clock.now() - timedelta(days=days))


async def refused(auth: Auth, identity: KeyPair | None) -> None:
    """A call with these credentials fails in TLS."""
    async with open_channel(
        auth.bound.service, auth.ca.certificate, identity, max_message=m.MAX_MESSAGE
    ) as channel:
        with pytest.raises(StoreError, match="auth cannot be reached"):
            await call(channel, m.TRUST, m.AskTrust())


async def test_nobody_gets_in_without_a_certificate_of_the_daemons_authority(auth: Auth) -> None:
    """None at all, another authority's, an expired one, and auth's own, which is for serving."""
    key = create_key()
    foreign = DaemonCa(
        create_authority(CLUSTER, entropy=auth.entropy, now=auth.clock.now()),
        cluster=CLUSTER,
        entropy=auth.entropy,
    )
    await refused(auth, None)
    await refused(auth, KeyPair(key, certificate_of(foreign, auth, key)))
    await refused(auth, KeyPair(key, certificate_of(auth.ca, auth, key, days=30)))
    await refused(auth, auth.ca.issue_server(now=auth.clock.now()))


async def test_a_certificate_for_another_cluster_is_refused(auth: Auth) -> None:
    """The authority vouches for it, but not as one of us."""
    key = create_key()
    identity = KeyPair(key, certificate_of(auth.ca, auth, key, cluster="elsewhere"))
    async with open_channel(
        auth.bound.service, auth.ca.certificate, identity, max_message=m.MAX_MESSAGE
    ) as channel:
        with pytest.raises(Denied, match="daemon of this cluster"):
            await call(channel, m.TRUST, m.AskTrust())


async def test_the_join_listener_serves_nothing_but_joining(auth: Auth) -> None:
    """It knows no caller, so it has no method that needs one."""
    async with open_channel(auth.bound.join, auth.ca.certificate, max_message=m.MAX_MESSAGE) as channel:
        with pytest.raises(StoreError, match="auth is of an older version"):
            await call(channel, m.TRUST, m.AskTrust())


# --- errors --------------------------------------------------------------------------------------------------


async def test_a_store_that_is_away_is_an_error_to_try_again(node: Node) -> None:
    """With the reason, for the node's log."""
    node.auth.stores.failure = StoreError("the database is away", reason="disk I/O error")
    with pytest.raises(StoreError) as failure:
        await node.client.append([node.event()])
    assert (failure.value.public, failure.value.reason) == ("the database is away", "disk I/O error")


async def test_a_bug_in_auth_tells_nothing(node: Node) -> None:
    """The text of an exception that is not ours stays on auth."""
    node.auth.stores.failure = ValueError("secret in a message")
    with pytest.raises(StoreError) as failure:
        await node.client.append([node.event()])
    assert failure.value.public == "auth failed"
    assert "secret" not in failure.value.reason


async def test_an_auth_that_is_away_is_an_error_to_try_again(node: Node) -> None:
    """And the same client works again when it is back."""
    await node.auth.stop()
    with pytest.raises(StoreError, match="auth cannot be reached"):
        await node.client.trust()
    await node.auth.start()
    await node.reached()


async def test_what_cannot_be_read_is_refused(node: Node) -> None:
    """Garbage, an event of an unknown kind, and an upload of another length than announced."""
    channel = node.client._channel
    garbage = m.Method(m.AUTH_SERVICE, "Append", str, m.Nothing)
    with pytest.raises(RemoteProtocolError):
        await call(channel, garbage, "garbage")
    unknown = m.WireEvent("NO_SUCH_KIND", node.auth.clock.now(), "uid", CLUSTER)
    with pytest.raises(RemoteProtocolError, match="could not be decoded"):
        await call(channel, m.APPEND, m.Events((unknown,)))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"four"

    for size in (3, 5):
        with pytest.raises(RemoteProtocolError):
            await upload(channel, m.STORE_RECORDING, m.RecordingHeader(SID, size), chunks())
    assert node.auth.stores.recordings_by_sid == {}


async def test_an_address_that_is_taken_is_a_configuration_error(auth: Auth, tmp_path: Path) -> None:
    """A second auth on the same port is refused rather than sharing its calls."""
    second = AuthRpcServer(replace(auth.services(), spool=tmp_path / "second"))
    with pytest.raises(ConfigError, match=f"cannot listen on {auth.bound.service}"):
        await second.start(service=auth.bound.service, join="127.0.0.1:0")
    await second.stop(0)


async def test_who_does_not_shake_hands_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches a listener may connect to it, and each connection is a file descriptor of auth's."""
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT_S", 0.2)
    auth = Auth(tmp_path / "impatient")
    await auth.start()
    for where in (auth.bound.service, auth.bound.join):
        reader, writer = await asyncio.open_connection(*split_address(where))
        assert await reader.read() == b""
        writer.close()
    await auth.stop()


async def test_a_stranger_who_asks_nothing_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may shake hands where daemons join."""
    monkeypatch.setattr(server, "JOIN_IDLE_S", 0.2)
    auth = Auth(tmp_path / "impatient")
    await auth.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(*split_address(auth.bound.join), ssl=context)
    while await reader.read(1000):  # the server's settings, then the end
        pass
    writer.close()
    await auth.stop()
