"""The cluster's authorities: makes their keys on first start and signs users, hosts, forwarders and recorders.

One for each purpose, so that trusting one never means trusting another: ``user`` vouches for people to our own
servers, ``host`` for servers to clients, ``openssh`` for people to plain sshd, all three by SSH certificates;
``recordings`` for the keys with which daemons sign recordings, by warrants (`domain.signing`); ``audit`` signs the
audit log's checkpoints itself. Reading certificates is `certificates`, the X.509 authority of daemons `daemonca`.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_public_key,
)

from interlock.core.certificate import Certificate, CertKind, PublicKey
from interlock.core.errors import ConfigError, Denied, NotFound, StoreError
from interlock.core.ids import DaemonId, parse_login, parse_name
from interlock.domain.access import Access
from interlock.domain.audit import AuditEvent, JsonValue, Kind, rfc3339
from interlock.domain.bot import Bot
from interlock.domain.cluster import LeafPass, door_of
from interlock.domain.identity import Forwarded, Identity, parse_client
from interlock.domain.permit import Permit
from interlock.domain.rotation import RotatedKind
from interlock.domain.signing import DaemonRole, SigningKey, issue_warrant
from interlock.domain.target import SubKind
from interlock.ports import (
    AuthorityKey,
    AuthorityStore,
    Clock,
    Entropy,
    EventSink,
    KeyRingSource,
    KeyToken,
    TargetCredential,
    TrustBundle,
)
from interlock.services.keys.certificates import (
    BOT_EXTENSION,
    IDENTITY_EXTENSION,
    SOURCE_ADDRESS,
    TUNNEL_EXTENSION,
    encode_claims,
    encode_devices,
)

MAX_USER_TTL = timedelta(hours=30)
"""Longest life of a person's certificate: a day's work and the night after it (R14)."""

TARGET_TTL = timedelta(minutes=5)
"""Life of a forwarder's certificate. It is checked once, when the upstream connection authenticates."""

HOST_TTL = timedelta(days=30)
"""Life of a host certificate unless the caller says otherwise; daemons renew theirs long before."""

TUNNEL_TTL = timedelta(days=7)
"""Life of a node's certificate for its tunnel: as long as its X.509 identity, with which it is renewed."""

MAX_HOST_TTL = timedelta(days=3660)
"""Longest life of a host certificate that an administrator installs by hand."""

WARRANT_TTL = timedelta(days=30)
"""How long a daemon may sign recordings with one warrant: longer than it can do without auth for other reasons."""

CLOCK_SKEW = timedelta(minutes=1)
"""Certificates are valid from this long before now, for hosts whose clocks are slow."""

PORTAL_LOGIN = "portal"
"""The principal of a certificate for a leaf's portal: there must be one, and no login is asked for there."""

RECORDINGS, AUDIT = "recordings", "audit"
_IN_TOKEN = ("user", "host", "openssh")
_KINDS = (*_IN_TOKEN, RECORDINGS, AUDIT)
IN_TOKEN = "pkcs11:object="  # noqa: S105 - no password
"""Before a key's name, in the place of a private key (RFC 7512)."""

_PERMISSIONS: dict[str, Callable[[Access], bool]] = {
    "permit-X11-forwarding": lambda access: access.x11_forwarding,
    "permit-agent-forwarding": lambda access: access.agent_forwarding,
    "permit-port-forwarding": lambda access: access.local_forwarding or access.remote_forwarding,
    "permit-pty": lambda _: True,
    "permit-user-rc": lambda _: True,
}
_RSA_BITS = range(2048, 8193)  # shorter ones are breakable, longer ones are a way to burn our CPU (R17)
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


class Authority:
    """Signs with keys parsed once: `ports.HostIssuer`, `TargetIssuer`, `TunnelIssuer` and `TrustSource`."""

    def __init__(
        self,
        keys: Sequence[AuthorityKey],
        *,
        cluster: str,
        daemon_id: DaemonId,
        clock: Clock,
        entropy: Entropy,
        token: KeyToken | None = None,
    ) -> None:
        self.token = token  # where new keys are made; None: in memory
        self._signers = {key.kind: _Signer(key, token) for key in keys}  # those that sign now
        self._trusted: dict[str, tuple[_Signer, ...]]
        self._trusted = {kind: (signer,) for kind, signer in self._signers.items()}  # first the one that signs
        self._ring: KeyRingSource | None = None
        self._seen: object = None  # what the signers were made of
        self._cluster = cluster
        self._daemon_id = daemon_id
        self._clock = clock
        self._entropy = entropy
        self._sink: EventSink | None = None

    @classmethod
    async def load(
        cls,
        store: AuthorityStore,
        ring: KeyRingSource | None = None,
        *,
        cluster: str,
        daemon_id: DaemonId,
        clock: Clock,
        entropy: Entropy,
        token: KeyToken | None = None,
    ) -> Self:
        """Read the authorities' keys, making those that do not exist yet. ``daemon_id`` signs for itself.

        ``ring``: where they are as they change; None: they do not. ``token``: has those that were made there, and
        gets new ones.
        """
        keys = [await _ensured(store, kind, clock.now(), token) for kind in _KINDS]
        made = cls(keys, cluster=cluster, daemon_id=daemon_id, clock=clock, entropy=entropy, token=token)
        made._ring = ring
        await made.refresh()
        return made

    async def refresh(self) -> bool:
        """Go by the authorities as they are now; whether anything has changed. StoreError if that is not known."""
        if self._ring is None:
            return False
        ring = await self._ring.keyring()
        seen = (
            {kind: key.public for kind, key in ring.current.items()},
            {kind: (key.public, ring.rotations[RotatedKind(kind)].phase) for kind, key in ring.coming.items()},
        )
        if seen == self._seen:
            return False
        trusted: dict[str, tuple[_Signer, ...]]
        trusted = {kind: (_Signer(key, self.token),) for kind, key in ring.current.items() if kind in _KINDS}
        for kind, key in ring.coming.items():
            new, old = _Signer(key, self.token), trusted[kind][0]
            trusted[kind] = (new, old) if ring.rotations[RotatedKind(kind)].signs_with_new else (old, new)
        self._trusted, self._seen = trusted, seen
        self._signers = {kind: signers[0] for kind, signers in trusted.items()}
        return True

    def report_to(self, sink: EventSink) -> None:
        """Emit ``cert.create`` for people's certificates from now on."""
        self._sink = sink

    def trusted(self, kind: str) -> tuple[str, ...]:
        """An authority's public keys, one line each; KeyError if there is no such authority.

        There are two while one takes the other's place: first the one that signs.
        """
        return tuple(each.public.line(f"interlock-{kind}-ca@{self._cluster}") for each in self._trusted[kind])

    def export(self, kind: str) -> str:
        """The same as the lines of a file."""
        return "\n".join(self.trusted(kind))

    @property
    def in_token(self) -> bool:
        """Whether a key is in a token, which has to be there from then on."""
        return any(each.in_token for signers in self._trusted.values() for each in signers)

    @property
    def audit_key(self) -> SigningKey:
        """The key that signs how far the audit log goes."""
        return self._signers[AUDIT].key

    def warrant(self, daemon: DaemonId, role: DaemonRole, public: bytes) -> bytes:
        """Say whose the raw Ed25519 public key is with which recordings are signed. Denied if it is none."""
        now = self._clock.now()
        return issue_warrant(
            self._signers[RECORDINGS].key,
            cluster=self._cluster,
            daemon=daemon,
            role=role,
            public=public,
            valid_from=now - CLOCK_SKEW,
            valid_until=now + WARRANT_TTL,
        )

    async def trust(self) -> TrustBundle:
        """`ports.TrustSource`: the authorities that our own servers and all clients rely on."""
        with contextlib.suppress(StoreError):  # what was known last counts
            await self.refresh()
        return TrustBundle(user_cas=self.trusted("user"), host_cas=self.trusted("host"))

    async def issue_user(
        self,
        user: str,
        roles: Sequence[str],
        logins: Sequence[str],
        public_key: str,
        ttl: timedelta,
        *,
        device: str = "",
        requests: Sequence[str] = (),
        source_networks: Sequence[str] = (),
    ) -> str:
        """A person's certificate, one line; Denied for weak keys, bad names, no logins or too long a life.

        ``device``, ``requests``: as in `Identity`. ``source_networks``: where alone it may be used from (CIDR).
        """
        if not timedelta(0) < ttl <= MAX_USER_TTL:
            hours = int(MAX_USER_TTL.total_seconds()) // 3600
            raise Denied(f"a certificate can be valid for at most {hours} hours", reason=f"{user} asked for {ttl}")
        names = tuple(_checked(parse_name, role) for role in roles)
        identity = Identity(_checked(parse_name, user), names, self._cluster, device, requests=tuple(requests))
        extensions = (
            *_permissions(None),
            (IDENTITY_EXTENSION, encode_claims(identity, None)),
            *encode_devices(identity),
        )
        critical = ((SOURCE_ADDRESS, ",".join(source_networks)),) if source_networks else ()
        return self._issue(identity, logins, public_key, ttl, extensions, critical)

    async def issue_bot(
        self, bot: Bot, roles: Sequence[str], logins: Sequence[str], public_key: str, generation: int
    ) -> str:
        """`bots.BotCertifier`: for the bot's life, and from where it may come (R29)."""
        names = tuple(_checked(parse_name, role) for role in roles)
        identity = Identity(_checked(parse_name, bot.user), names, self._cluster)
        extensions = (
            *_permissions(None),
            (IDENTITY_EXTENSION, encode_claims(identity, None)),
            (BOT_EXTENSION, str(generation)),
        )
        critical = ((SOURCE_ADDRESS, ",".join(bot.sources)),) if bot.sources else ()
        return self._issue(identity, logins, public_key, bot.life, extensions, critical)

    def _issue(
        self,
        identity: Identity,
        logins: Sequence[str],
        public_key: str,
        ttl: timedelta,
        extensions: tuple[tuple[str, str | None], ...],
        critical: tuple[tuple[str, str | None], ...] = (),
    ) -> str:
        now, user, serial = self._clock.now(), identity.user, self._serial()
        names, before = _logins(logins), self._clock.now() + ttl
        kind = CertKind.USER
        line = self._sign("user", kind, public_key, user, names, before, extensions, serial, critical=critical)
        if self._sink is not None:
            self._sink.emit(self._created(identity, tuple(logins), now, before, serial))
        return line

    async def issue_for_target(
        self, permit: Permit, public_key: str, *, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """`ports.TargetIssuer`: sign for exactly the permit's user, login and target, for minutes."""
        by = self._daemon_id
        return self.sign_for_target(permit, public_key, by=by, records=records, client_addr=client_addr)

    def sign_for_target(
        self, permit: Permit, public_key: str, *, by: DaemonId, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """The same on behalf of the forwarder ``by``.

        Our node learns from ``records`` that it need not record, and from ``client_addr`` where the person is.
        """
        now = self._clock.now()
        if now >= permit.expires:
            public = "your certificate has expired: run ilsh login"
            raise Denied(public, reason=f"the permit of {permit.identity.user} expired at {permit.expires}")
        before = min(now + TARGET_TTL, permit.expires)
        kind, extensions = "openssh", _permissions(permit.access)  # our node judges by `access` itself
        if permit.target.sub_kind is SubKind.NODE:
            access = msgspec.structs.replace(permit.access, source_networks=None)  # that was judged
            forwarded = Forwarded(permit.target.id, by, records, _client(client_addr), access, permit.joining)
            kind, extensions = (
                "user",
                (
                    *_permissions(None),
                    (IDENTITY_EXTENSION, encode_claims(permit.identity, forwarded)),
                    *encode_devices(permit.identity),
                ),
            )
        user = _checked(parse_name, permit.identity.user)
        line = self._sign(kind, CertKind.USER, public_key, user, _logins([permit.login]), before, extensions)
        return TargetCredential(line)

    async def issue_for_leaf(
        self, granted: LeafPass, public_key: str, *, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """`ports.LeafIssuer`, for the forwarder in this process."""
        by = self._daemon_id
        return self.sign_for_leaf(granted, public_key, by=by, offers=offers, client_addr=client_addr)

    def sign_for_leaf(
        self, granted: LeafPass, public_key: str, *, by: DaemonId, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """The same on behalf of the forwarder ``by``: sign for exactly this user, login and leaf, for minutes.

        Nothing but the door of that leaf takes it: it names a cluster's proxy as its target, which no node is.
        """
        before = min(self._clock.now() + TARGET_TTL, granted.expires)
        forwarded = Forwarded(door_of(granted.leaf.id), by, offers, _client(client_addr))
        known = replace(granted.identity, requests=())  # they are looked after here; to the leaf they say nothing
        said = encode_claims(known, forwarded)
        extensions = (*_permissions(None), (IDENTITY_EXTENSION, said), *encode_devices(granted.identity))
        user = _checked(parse_name, granted.identity.user)
        logins = _logins([granted.login or PORTAL_LOGIN])
        return TargetCredential(self._sign("user", CertKind.USER, public_key, user, logins, before, extensions))

    async def issue_host(self, public_key: str, principals: Sequence[str], *, ttl: timedelta = HOST_TTL) -> str:
        """A host certificate for these names and addresses, one line; Denied for bad names or keys."""
        if not timedelta(0) < ttl <= MAX_HOST_TTL:
            raise Denied(f"a host certificate can be valid for at most {MAX_HOST_TTL.days} days")
        names = _unique(_checked(_parse_host, each) for each in principals)
        before = self._clock.now() + ttl
        return self._sign("host", CertKind.HOST, public_key, names[0] if names else "", names, before, ())

    async def issue_tunnel(self, public_key: str, node: DaemonId) -> str:
        """`ports.TunnelIssuer`: for the tunnel entrance and nothing else, as it carries no identity."""
        before = self._clock.now() + TUNNEL_TTL
        extensions = ((TUNNEL_EXTENSION, node),)
        return self._sign("user", CertKind.USER, public_key, node, (node,), before, extensions)

    def _sign(
        self,
        authority: str,
        kind: CertKind,
        public_key: str,
        key_id: str,
        principals: tuple[str, ...],
        before: datetime,
        extensions: tuple[tuple[str, str | None], ...],
        serial: int | None = None,
        critical: tuple[tuple[str, str | None], ...] = (),
    ) -> str:
        if not principals:  # OpenSSH would read it as "valid for everybody" (R14)
            raise Denied("a certificate needs at least one name", reason=f"no principals for {key_id!r}")
        signer = self._signers[authority]
        certificate = Certificate(
            nonce=self._entropy.token(32),
            key=certifiable(public_key),
            serial=self._serial() if serial is None else serial,
            kind=kind,
            key_id=key_id,
            principals=principals,
            valid_after=int((self._clock.now() - CLOCK_SKEW).timestamp()),
            valid_before=int(before.timestamp()),
            critical_options=critical,
            extensions=extensions,
            authority=signer.public,
        )
        return signer.sign(certificate)

    def _serial(self) -> int:
        return int.from_bytes(self._entropy.token(8), "big") or 1  # no revocation list can name zero

    def _created(
        self, identity: Identity, logins: tuple[str, ...], now: datetime, expires: datetime, serial: int
    ) -> AuditEvent:
        facts = {
            "user": identity.user,
            "roles": ",".join(identity.roles),
            "logins": ",".join(logins),
            "expires": rfc3339(expires),
            "serial": str(serial),
        }
        if identity.device:
            facts["mfa_device_uuid"] = identity.device
        if identity.requests:
            facts["access_requests"] = ",".join(identity.requests)
        fields: dict[str, JsonValue] = {"cert_type": "user", "user": identity.user, "identity": facts}
        return AuditEvent(Kind.CERT_CREATE, now, self._entropy.uuid(), self._cluster, fields=fields)


class _Signer:
    """One authority's key, ready to sign: in memory, or in a token."""

    def __init__(self, key: AuthorityKey, token: KeyToken | None) -> None:
        self.in_token = key.private_key.startswith(IN_TOKEN)
        if self.in_token:
            if token is None:
                public = f"the key of the {key.kind} authority is in a PKCS#11 token: name it in [auth.keys]"
                raise ConfigError(public)
            name = key.private_key.removeprefix(IN_TOKEN)
            self.public = PublicKey.parse(key.public)
            self._sign: Callable[[bytes], bytes] = lambda message: token.sign(name, message)
            return
        private = load_pem_private_key(key.private_key.encode(), None)
        if not isinstance(private, Ed25519PrivateKey):
            raise StoreError(
                "the gateway's keys cannot be read", reason=f"the {key.kind} authority is not Ed25519"
            )
        self._sign = private.sign
        self.key = SigningKey(private)
        self.public = PublicKey("ssh-ed25519", (private.public_key().public_bytes_raw(),))

    def sign(self, certificate: Certificate) -> str:
        return certificate.line(self._sign(certificate.signed_part()))


async def _ensured(store: AuthorityStore, kind: str, now: datetime, token: KeyToken | None) -> AuthorityKey:
    if token is not None:  # no key is made there that nobody needs
        with contextlib.suppress(NotFound):
            return await store.authority(kind)
    return await store.ensure_authority(new_authority(kind, now, token))


def new_authority(kind: str, now: datetime, token: KeyToken | None = None) -> AuthorityKey:
    """A fresh key pair for an authority; in the token if there is one and the key signs certificates."""
    if token is not None and kind in _IN_TOKEN:
        name = f"interlock-{kind}-{now:%Y%m%dT%H%M%S%f}"
        public = PublicKey("ssh-ed25519", (token.make_signing_key(name),))
        return AuthorityKey(kind, IN_TOKEN + name, public.line(), now.astimezone(UTC))
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return AuthorityKey(kind, pem, line, now.astimezone(UTC))


def _permissions(access: Access | None) -> tuple[tuple[str, str | None], ...]:
    """The extensions of OpenSSH that stand for permissions; without ``access`` all: our own servers ask policy."""
    return tuple((name, None) for name, allowed in _PERMISSIONS.items() if access is None or allowed(access))


def _checked(parse: Callable[[str], str], text: str) -> str:
    """A name for a certificate, parsed; Denied instead of ValueError, because a peer may have chosen it."""
    try:
        return parse(text)
    except ValueError as error:
        raise Denied("that name cannot stand in a certificate", reason=str(error)) from None


def _client(address: str) -> str:
    """The claim about the person's address, checked; empty if there is nothing to say."""
    try:
        if address:
            parse_client(address)
    except ValueError as error:
        raise Denied("the address of your client is not known", reason=str(error)) from None
    return address


def _logins(logins: Iterable[str]) -> tuple[str, ...]:
    return _unique(_checked(parse_login, each) for each in logins)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _parse_host(text: str) -> str:
    """A host's name or IP address; no wildcards, which OpenSSH would honour; ValueError otherwise."""
    if _HOST_NAME.fullmatch(text):
        return text
    return str(ip_address(text))


def certifiable(line: str) -> PublicKey:
    """A public key, one line, that may count for somebody; Denied if weak, malformed, or a certificate (R15)."""
    try:
        key = PublicKey.parse(line)
        parsed = load_ssh_public_key(key.line().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Denied("this public key cannot be certified", reason=str(error)) from None
    if isinstance(parsed, RSAPublicKey) and parsed.key_size not in _RSA_BITS:
        public = f"RSA keys need {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits: use an Ed25519 key"
        raise Denied(public, reason=f"an RSA key of {parsed.key_size} bits")
    return key
