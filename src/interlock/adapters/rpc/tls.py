"""TLS on both sides. What counts is the daemons' authority; addresses and DNS prove nothing here.

Auth's certificate carries one fixed name, which clients insist on whatever address they dial; that, and its
purpose, keep a daemon's certificate from passing as auth's.
"""

import asyncio
import hmac
import ssl
from datetime import datetime
from ipaddress import ip_address

import grpc

from interlock.core.address import parse_address
from interlock.core.errors import ConfigError, StoreError
from interlock.ports import Clock
from interlock.services.keys.daemonca import AUTH_SERVER_NAME, DaemonCa, KeyPair, certificate_pin, half_life
from interlock.services.keys.daemonroots import DaemonCas

UNIX = "unix:"
"""How gRPC writes the address of a socket in the file system."""

HANDSHAKE_TIMEOUT_S = 10.0

KEEPALIVE_S = 4.0
"""Seconds of silence from auth after which it is asked whether it is there, while a call runs."""

KEEPALIVE_TIMEOUT_S = 3.0
"""Seconds that it has to say so. An auth that does not is left, its calls fail, and another one is looked for."""

CONNECT_TIMEOUT_S = 2.0
"""Seconds to connect to an auth and to shake hands; the next one is tried at the same time after 250 ms."""

_CHANNEL_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.ssl_target_name_override", AUTH_SERVER_NAME),
    ("grpc.enable_http_proxy", 0),  # daemons speak to auth directly, whatever the environment says
    ("grpc.keepalive_time_ms", round(KEEPALIVE_S * 1000)),
    ("grpc.keepalive_timeout_ms", round(KEEPALIVE_TIMEOUT_S * 1000)),
    ("grpc.http2.ping_timeout_ms", round(KEEPALIVE_TIMEOUT_S * 1000)),  # of every ping; else a minute
    ("grpc.http2.max_pings_without_data", 0),  # any number: who only watches sends no data
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", round(CONNECT_TIMEOUT_S * 1000)),  # that is what gRPC takes it for
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_SOCKET_OPTIONS: list[tuple[str, str | int]] = [
    # The way through a tunnel is there the moment the tunnel is, and sessions come by it at once.
    ("grpc.max_reconnect_backoff_ms", 250),
]


class ServerTls:
    """Auth's own certificate: a new one at every start, at half-life, and when another authority is to sign it."""

    def __init__(self, cas: DaemonCas, clock: Clock) -> None:
        self._cas = cas
        self._clock = clock
        self._made = self._make(cas.shown)

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """Credentials of a listener; ``mutual`` ones require a client certificate of the daemons' authorities."""

        def configuration() -> grpc.ServerCertificateConfiguration:
            # Asked at every handshake, in a thread of gRPC's.
            pair = self._current()
            roots = "".join(self._cas.roots).encode() if mutual else None
            chain = [(pair.key.encode(), pair.certificate.encode())]
            return grpc.ssl_server_certificate_configuration(chain, roots)

        return grpc.dynamic_ssl_server_credentials(configuration(), configuration, mutual)

    def _current(self) -> KeyPair:
        ca, (by, pair, due) = self._cas.shown, self._made
        if by is ca and self._clock.now() < due:
            return pair
        self._made = self._make(ca)
        return self._made[1]

    def _make(self, ca: DaemonCa) -> tuple[DaemonCa, KeyPair, datetime]:
        pair = ca.issue_server(now=self._clock.now())
        return ca, pair, half_life(pair.certificate)


def open_channel(
    address: str, roots: str, identity: KeyPair | None = None, *, max_message: int
) -> grpc.aio.Channel:
    """A channel to auth, whose certificate must be under ``roots`` (PEM); ``identity`` is shown when asked for.

    ``address``: where auth listens, or several auths, separated by commas: the first that answers is used, and
    another one as soon as it does not any more.
    """
    key, chain = (None, None) if identity is None else (identity.key.encode(), identity.certificate.encode())
    credentials = grpc.ssl_channel_credentials(roots.encode(), key, chain)
    sizes = [("grpc.max_receive_message_length", max_message), ("grpc.max_send_message_length", max_message)]
    options = dict(_CHANNEL_OPTIONS) | dict(_SOCKET_OPTIONS if address.startswith(UNIX) else ()) | dict(sizes)
    return grpc.aio.secure_channel(_target(address), credentials, options=list(options.items()))


def first_address(addresses: str) -> tuple[str, int]:
    """Host and port of the first of several; ConfigError if it is malformed."""
    return split_address(addresses.partition(",")[0])


def split_addresses(addresses: str) -> tuple[tuple[str, int], ...]:
    """Host and port of each; ConfigError if one is malformed, or there are several and one is a name."""
    found = tuple(split_address(each) for each in addresses.split(","))
    try:
        if len(found) > 1:
            versions = {ip_address(host).version for host, _ in found}
            if len(versions) > 1:
                raise ConfigError("the addresses of several auths must all be IPv4, or all IPv6")
    except ValueError:
        raise ConfigError("the addresses of several auths must be IP addresses, not names") from None
    return found


def _target(address: str) -> str:
    """As gRPC names it, which knows several by their IP addresses only."""
    if "," not in address:
        return address
    host, _ = split_addresses(address)[0]
    return f"ipv{ip_address(host).version}:{address}"


async def server_certificate(address: str) -> str:
    """The certificate, PEM, that a server shows: unverified, good for nothing but asking for more to verify.

    ``address``: host:port, or ``unix:`` and a path. ConfigError if it is neither, StoreError if nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            if address.startswith(UNIX):
                path = address.removeprefix(UNIX)
                _reader, writer = await asyncio.open_unix_connection(path, ssl=context, server_hostname="auth")
            else:
                host, port = split_address(address)
                _reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError) as error:
        public = f"auth cannot be reached at {address}"
        raise StoreError(public, reason=f"{public}: {type(error).__name__} {error}") from None
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(certificate or b"")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``; ConfigError if it is neither."""
    try:
        return parse_address(address)
    except ValueError:
        raise ConfigError(f"the address of auth must be HOST:PORT, not {address[:100]!r}") from None


def check_pin(certificate: str, pin: str) -> None:
    """Return if a PEM certificate is the one that a pin stands for; ConfigError otherwise."""
    try:
        matches = hmac.compare_digest(certificate_pin(certificate), pin)
    except ValueError:
        matches = False
    if not matches:
        public = (
            "the server is not the auth service that the join token was made by: check the address; if the "
            "cluster has changed its daemons' authority since, make a new token with ilctl tokens add"
        )
        raise ConfigError(public, reason="the server's authority does not match the pin of the join token")
