"""How a daemon gets its first identity: a join token, a few names, and one answer with everything it needs.

A token is one line, safe in any shell: ``ilj1.<id>.<secret>.<pin>``. The ID finds the stored token, the secret
(256 random bits, stored as a hash only) proves that an administrator gave it, and the pin is the hash of the
daemons' authority, by which the joining side recognises auth before it says the secret to anybody.

What is refused is refused with one text whatever the cause, so that guessing teaches nothing; the cause goes to
the log. Transport, and the check of the pin, are adapters/rpc.
"""

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from interlock.core.errors import ConfigError, Denied, SignInFailed
from interlock.core.ids import DaemonId, parse_name
from interlock.domain.target import SubKind
from interlock.ports import (
    Clock,
    Entropy,
    HostIssuer,
    JoinToken,
    MemberProxy,
    ProxyStore,
    TargetSource,
    TokenKind,
    TokenStore,
    TrustBundle,
    TrustSource,
    TunnelIssuer,
)
from interlock.services.keys.daemonca import AUTH_SERVER_NAME, DaemonKind, HostIdentity
from interlock.services.keys.daemonroots import DaemonCas

TOKEN_TTL = timedelta(hours=1)
"""How long a join token can be used unless the administrator says otherwise."""

MAX_TOKEN_TTL = timedelta(days=7)
"""A token is a password for a place in the cluster: no longer than a week."""

MAX_NAMES = 16
"""Host names of one daemon."""

MAX_FAILURES = 10
"""Refused attempts of one source within `FAILURE_WINDOW_S`, after which it has to wait."""

FAILURE_WINDOW_S = 60.0

MAX_SOURCES = 4096
"""Sources whose failures are remembered; the longest silent is forgotten first."""

_PREFIXES = {TokenKind.NODE: "ilj1", TokenKind.PROXY: "ilp1", TokenKind.CLUSTER: "ilc1"}
_TEXT = re.compile(r"(il[jpc]1)\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")
_IS_FOR = {
    TokenKind.NODE: "a node",
    TokenKind.PROXY: "a proxy",
    TokenKind.CLUSTER: "a leaf cluster, to be used there with ilctl clusters trust",
}
_DAEMONS = {TokenKind.NODE: DaemonKind.NODE, TokenKind.PROXY: DaemonKind.PROXY}
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFUSED = "the join token is not valid: it may be used up or expired; make a new one with ilctl tokens add"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TokenText:
    """A join token as its holder has it."""

    id: str
    secret: str
    pin: str  # daemonca.certificate_pin of the daemons' authority
    kind: TokenKind = TokenKind.NODE

    def __str__(self) -> str:
        """The one line that `parse` reads."""
        return f"{_PREFIXES[self.kind]}.{self.id}.{self.secret}.{self.pin}"

    @classmethod
    def parse(cls, text: str, kind: TokenKind = TokenKind.NODE) -> "TokenText":
        """Read a token of this kind; ConfigError, without repeating it, if it is none."""
        prefix = _PREFIXES[kind]
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"this is not a join token: it starts with {prefix}. and is one line of ilctl tokens add"
            )
        if match[1] != prefix:
            found = next(each for each, known in _PREFIXES.items() if known == match[1])
            public = f"this join token is for {_IS_FOR[found]}: make one with ilctl tokens add --type {kind.value}"
            raise ConfigError(public)
        return cls(match[2], match[3], match[4], kind)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What the joining daemon sends."""

    token_id: str
    secret: str
    names: tuple[str, ...]  # its host names, the most important first
    csr: bytes  # for its X.509 identity, DER
    host_key: str  # its SSH host key, OpenSSH one-line form


@dataclass(frozen=True, slots=True)
class JoinReply:
    """What the daemon is from now on."""

    id: DaemonId
    cluster: str
    names: tuple[str, ...]
    certificate: str  # X.509 client certificate, PEM
    host_certificate: str  # SSH, OpenSSH one-line form
    trust: TrustBundle
    tunnel_certificate: str = ""  # the host key's certificate for the tunnel entrance, OpenSSH one-line form
    cluster_id: str = ""


@dataclass(frozen=True, slots=True)
class Renewed:
    """Fresh certificates for a daemon that has joined before."""

    certificate: str
    host_certificate: str
    trust: TrustBundle
    tunnel_certificate: str = ""


async def create_token(
    tokens: TokenStore,
    *,
    pin: str,
    clock: Clock,
    entropy: Entropy,
    ttl: timedelta = TOKEN_TTL,
    uses: int = 1,
    kind: TokenKind = TokenKind.NODE,
) -> TokenText:
    """Make and store a token; its text is nowhere but in the result. ConfigError if ttl or uses are too much."""
    if not timedelta(0) < ttl <= MAX_TOKEN_TTL or not 1 <= uses <= 1000:
        raise ConfigError("a join token lasts at most 7 days and lets 1 to 1000 daemons in")
    secret = _base64(entropy.token(32))
    text = TokenText(entropy.token(8).hex(), secret, pin, kind)
    now = clock.now()
    stored = JoinToken(text.id, _hash(secret), created=now, expires=now + ttl, uses=uses, kind=kind)
    await tokens.add_token(stored)
    return text


async def check_token(
    tokens: TokenStore, token_id: str, secret: str, *kinds: TokenKind, now: datetime
) -> JoinToken:
    """The stored token of one of these kinds that this secret belongs to and that may still be spent.

    SignInFailed otherwise.
    """
    token = await tokens.token(token_id)
    expected = b"\0" * 32 if token is None else token.secret_hash
    matches = hmac.compare_digest(expected, _hash(secret))
    if token is None or not matches or token.kind not in kinds:
        wanted = " or ".join(kind.value for kind in kinds)
        raise SignInFailed(REFUSED, reason=f"no {wanted} join token {token_id[:32]!r} with this secret")
    if now >= token.expires:
        raise SignInFailed(REFUSED, reason=f"join token {token.id} has expired")
    if token.uses < 1:
        raise SignInFailed(REFUSED, reason=f"join token {token.id} was used up before")
    return token


class Joining:
    """Admits daemons and renews their certificates."""

    def __init__(
        self,
        *,
        cluster: str,
        cluster_id: str,
        tokens: TokenStore,
        ca: DaemonCas,
        hosts: HostIssuer,
        tunnels: TunnelIssuer,
        targets: TargetSource,
        trust: TrustSource,
        proxies: ProxyStore,
        clock: Clock,
        entropy: Entropy,
        reserved: Iterable[str] = (),
    ) -> None:
        """``reserved``: names that no daemon may have, above all those under which the proxy is reached."""
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._tokens = tokens
        self._ca = ca
        self._hosts = hosts
        self._tunnels = tunnels
        self._targets = targets
        self._trust = trust
        self._proxies = proxies
        self._clock = clock
        self._entropy = entropy
        self._reserved = frozenset({AUTH_SERVER_NAME, *reserved})
        self._failures = FailureCounter(clock)

    async def join(self, request: JoinRequest, *, source: str) -> JoinReply:
        """Spend a token's use on a new identity.

        SignInFailed if the token does not count (one public text for every cause) or the source failed too often;
        Denied if a name is malformed, reserved, or another target's. ``source`` is the address of the caller.
        """
        if self._failures.exhausted(source):
            raise SignInFailed(
                "too many refused attempts to join: wait a minute", reason=f"{source} failed too often"
            )
        try:
            now = self._clock.now()
            token = await check_token(self._tokens, request.token_id, request.secret, *_DAEMONS, now=now)
        except SignInFailed as error:
            self._failures.add(source)
            _log.warning("join.refused", source=source, reason=error.reason)
            raise
        kind = _DAEMONS[token.kind]
        names = await self._free_names(request.names, kind)
        identity = HostIdentity(self._cluster, DaemonId(self._entropy.uuid()), names, kind)
        fresh = await self._certify(identity, request.csr, request.host_key)
        # Last, so that a request that could not be served does not cost the token.
        if not await self._tokens.spend_token(request.token_id):
            raise SignInFailed(REFUSED, reason=f"join token {request.token_id} was used up meanwhile")
        if kind is DaemonKind.PROXY:
            await self._proxies.add_proxy(MemberProxy(identity.id, names, now))
        _log.info(
            "join.admitted",
            source=source,
            kind=kind.value,
            daemon=identity.id,
            names=names,
            token=request.token_id,
        )
        return JoinReply(
            identity.id,
            self._cluster,
            names,
            fresh.certificate,
            fresh.host_certificate,
            fresh.trust,
            fresh.tunnel_certificate,
            self._cluster_id,
        )

    async def renew(self, identity: HostIdentity, csr: bytes, host_key: str) -> Renewed:
        """New certificates for the same daemon and the same names; Denied to a proxy that was removed."""
        if identity.kind is DaemonKind.PROXY:
            await self._check_proxy(identity)
        return await self._certify(identity, csr, host_key)

    async def _certify(self, identity: HostIdentity, csr: bytes, host_key: str) -> Renewed:
        await self._ca.refresh()
        return Renewed(
            self._ca.issue_daemon(csr, identity, now=self._clock.now()),
            await self._hosts.issue_host(host_key, self._principals(identity)),
            replace(await self._trust.trust(), roots=self._ca.roots),
            await self._tunnels.issue_tunnel(host_key, identity.id) if identity.kind is DaemonKind.NODE else "",
        )

    async def _check_proxy(self, identity: HostIdentity) -> None:
        if identity.id not in {each.id for each in await self._proxies.proxies()}:
            public = "this proxy was removed from the cluster"
            raise Denied(public, reason=f"there is no proxy {identity.id}")

    def _principals(self, identity: HostIdentity) -> list[str]:
        """What a daemon's SSH host certificate vouches for: its names and its ID.

        A proxy's is for root clusters too, which know it by the cluster's ID, and for clients on its machine.
        """
        if identity.kind is DaemonKind.PROXY:
            return [*identity.names, identity.id, self._cluster_id, *_LOOPBACK_NAMES]
        return [*identity.names, identity.id]

    async def _free_names(self, names: Sequence[str], kind: DaemonKind) -> tuple[str, ...]:
        """The names, each valid and no registered host's: a token must not divert its sessions.

        Nodes may share a name: whoever asks for it is then told to say which one (`access.admission`). Proxies
        share theirs, as people reach whichever is there, and have none of a node.
        """
        taken_by = frozenset(SubKind) if kind is DaemonKind.PROXY else frozenset({SubKind.AGENTLESS})
        reserved = {AUTH_SERVER_NAME}
        if kind is DaemonKind.NODE:
            reserved |= self._reserved.union(*(each.names for each in await self._proxies.proxies()))
        if not 1 <= len(names) <= MAX_NAMES:
            raise Denied(f"a {kind.value} needs 1 to {MAX_NAMES} names")
        for name in names:
            _check_name(name)
            if name in reserved:
                raise Denied(f"the name {name} is reserved for the gateway itself: give the node another")
            for taken in await self._targets.named(name):
                if taken.sub_kind in taken_by:
                    public = f"the name {name} is another host's: remove that with ilctl nodes rm"
                    raise Denied(public, reason=f"{public} (target {taken.id})")
        return tuple(dict.fromkeys(names))


class JoinSources:
    """Where joining nodes really are that auth sees at the proxy's address, because they came through its port.

    Otherwise one who fails too often there would lock out all who join that way.
    """

    def __init__(self) -> None:
        self._true: dict[str, str] = {}  # by the proxy's own host:port towards auth

    def note(self, bridge: str, source: str) -> None:
        """A bridge to the join listener is open."""
        self._true[bridge] = source

    def forget(self, bridge: str) -> None:
        """It is closed."""
        self._true.pop(bridge, None)

    def of(self, peer: str) -> str:
        """The address, without its port, behind a connection's host:port."""
        return self._true.get(peer) or peer.rpartition(":")[0]


class FailureCounter:
    """Refused attempts by source, in bounded memory; no source can lock out another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: OrderedDict[str, tuple[float, int]] = (
            OrderedDict()
        )  # source: window's start, failures in it

    def exhausted(self, source: str) -> bool:
        """Whether the source has to wait."""
        start, count = self._sources.get(source, (0.0, 0))
        return count >= MAX_FAILURES and self._clock.monotonic() - start < FAILURE_WINDOW_S

    def add(self, source: str) -> None:
        """Note a refusal."""
        now = self._clock.monotonic()
        start, count = self._sources.pop(source, (now, 0))
        self._sources[source] = (start, count + 1) if now - start < FAILURE_WINDOW_S else (now, 1)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)


def _check_name(name: str) -> None:
    try:
        parse_name(name)
    except ValueError as error:
        raise Denied(str(error)) from None
    if _UUID.fullmatch(name.lower()):
        raise Denied("a node's name must not look like a node's ID")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
