"""The cluster's authorities: makes their keys on first start and signs users, hosts, forwarders and recorders.

One for each purpose, so that trusting one never means trusting another: ``user`` vouches for people to our own
servers, ``host`` for servers to clients, ``openssh`` for people to plain sshd, all three by SSH certificates;
``recordings`` for the keys with which daemons sign recordings, by warrants (`domain.signing`); ``audit`` signs the
audit log's checkpoints itself. Reading certificates is `certificates`, the X.509 authority of daemons `daemonca`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

import msgspec

from interlock.core.certificate import Certificate, CertKind, PublicKey
from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId, parse_name
from interlock.domain.audit import AuditEvent, JsonValue, Kind, rfc3339
from interlock.domain.bot import Bot
from interlock.domain.bounds import NO_BOUNDS, Bounds
from interlock.domain.cluster import LeafPass, door_of
from interlock.domain.identity import CLOCK_SKEW, Forwarded, Identity
from interlock.domain.permit import Permit
from interlock.domain.signing import WARRANT_LIFE, DaemonRole, SigningKey, issue_warrant
from interlock.domain.target import SubKind
from interlock.ports import (
    AuthorityKey,
    AuthorityStore,
    Clock,
    Entropy,
    EventSink,
    FormerLine,
    KeyRingSource,
    KeyToken,
    TargetCredential,
    TrustBundle,
)
from interlock.services.keys.certificates import (
    BOT_EXTENSION,
    IDENTITY_EXTENSION,
    NO_TOUCH,
    TUNNEL_EXTENSION,
    critical_options,
    encode_claims,
    encode_devices,
)
from interlock.services.keys.contents import (
    certifiable,
    checked,
    checked_client,
    checked_logins,
    left_by,
    parse_host,
    permissions,
    unique,
)
from interlock.services.keys.signers import IN_TOKEN, Signer, ensured

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

PORTAL_LOGIN = "portal"
"""The principal of a certificate for a leaf's portal: there must be one, and no login is asked for there."""

RECORDINGS, AUDIT = "recordings", "audit"
_KINDS = (*IN_TOKEN, RECORDINGS, AUDIT)


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
        self._signers = {key.kind: Signer(key, token) for key in keys}  # those that sign now
        self._trusted: dict[str, tuple[Signer, ...]]
        self._trusted = {kind: (signer,) for kind, signer in self._signers.items()}  # first the one that signs
        self._ring: KeyRingSource | None = None
        self._former: Mapping[str, tuple[FormerLine, ...]] = {}  # what they signed is still verified
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
        keys = [await ensured(store, kind, clock.now(), token) for kind in _KINDS]
        made = cls(keys, cluster=cluster, daemon_id=daemon_id, clock=clock, entropy=entropy, token=token)
        made._ring = ring
        await made.refresh()
        return made

    async def refresh(self) -> bool:
        """Go by the authorities as they are now; whether anything has changed. StoreError if that is not known."""
        if self._ring is None:
            return False
        ring = await self._ring.keyring()
        rotations = {kind.stored: each for kind, each in ring.rotations.items()}
        seen = (
            {kind: key.public for kind, key in ring.current.items()},
            {kind: (key.public, rotations[kind].phase) for kind, key in ring.coming.items()},
        )
        if seen == self._seen:
            return False
        trusted: dict[str, tuple[Signer, ...]]
        trusted = {kind: (Signer(key, self.token),) for kind, key in ring.current.items() if kind in _KINDS}
        for kind in trusted.keys() & ring.coming.keys():
            new, old = Signer(ring.coming[kind], self.token), trusted[kind][0]
            trusted[kind] = (new, old) if rotations[kind].signs_with_new else (old, new)
        self._trusted, self._seen = trusted, seen
        self._signers = {kind: signers[0] for kind, signers in trusted.items()}
        self._former = ring.former
        return True

    def report_to(self, sink: EventSink) -> None:
        """Emit ``cert.create`` for people's certificates from now on."""
        self._sink = sink

    def trusted(self, kind: str) -> tuple[str, ...]:
        """An authority's public keys, one line each; KeyError if there is no such authority.

        There are two while one takes the other's place: first the one that signs. Of those that sign what is kept
        there are all that ever did.
        """
        name = f"interlock-{kind}-ca@{self._cluster}"
        former = self._former.get(kind, ())
        return (
            *(each.public.line(name) for each in self._trusted[kind]),
            *(PublicKey.parse(each.public).line(f"{name} until={rfc3339(each.until)}") for each in former),
        )

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
            valid_until=now + WARRANT_LIFE,
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
        verified: bool = False,
        untouched: bool = False,
        bounds: Bounds = NO_BOUNDS,
    ) -> str:
        """A person's certificate, one line; Denied for weak keys, bad names, no logins or too long a life.

        ``device``, ``requests``: as in `Identity`. ``source_networks``: where alone it may be used from (CIDR).
        ``verified``, ``untouched``, ``bounds``: as in `Claims`.
        """
        if not timedelta(0) < ttl <= MAX_USER_TTL:
            hours = int(MAX_USER_TTL.total_seconds()) // 3600
            raise Denied(f"a certificate can be valid for at most {hours} hours", reason=f"{user} asked for {ttl}")
        names = tuple(checked(parse_name, role) for role in roles)
        identity = Identity(checked(parse_name, user), names, self._cluster, device, requests=tuple(requests))
        if (verified or untouched) and not certifiable(public_key).on_hardware:
            raise Denied("only a key on hardware can be touched, or verify its person: this is none")
        extensions = (
            *left_by(bounds),
            (IDENTITY_EXTENSION, encode_claims(identity, None)),
            *encode_devices(identity),
            *(((NO_TOUCH, None),) if untouched else ()),
        )
        critical = critical_options(bounds.command, source_networks, verified=verified)
        return self._issue(identity, logins, public_key, ttl, extensions, critical)

    async def issue_bot(
        self, bot: Bot, roles: Sequence[str], logins: Sequence[str], public_key: str, generation: int
    ) -> str:
        """`bots.BotCertifier`: for the bot's life, and from where it may come (R29)."""
        names = tuple(checked(parse_name, role) for role in roles)
        identity = Identity(checked(parse_name, bot.user), names, self._cluster)
        extensions = (
            *left_by(NO_BOUNDS),
            (IDENTITY_EXTENSION, encode_claims(identity, None)),
            (BOT_EXTENSION, str(generation)),
        )
        critical = critical_options(None, bot.sources)
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
        names, before = checked_logins(logins), self._clock.now() + ttl
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
        kind, extensions = "openssh", permissions(permit.access)  # our node judges by `access` itself
        critical = critical_options(permit.access.command)
        if permit.target.sub_kind is SubKind.NODE:
            access = msgspec.structs.replace(permit.access, source_networks=None)  # that was judged
            forwarded = Forwarded(
                permit.target.id, by, records, checked_client(client_addr), access, permit.joining
            )
            kind, extensions = (
                "user",
                (
                    *left_by(NO_BOUNDS),
                    (IDENTITY_EXTENSION, encode_claims(permit.identity, forwarded)),
                    *encode_devices(permit.identity),
                ),
            )
        user = checked(parse_name, permit.identity.user)
        logins = checked_logins([permit.login])
        line = self._sign(kind, CertKind.USER, public_key, user, logins, before, extensions, critical=critical)
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
        forwarded = Forwarded(door_of(granted.leaf.id), by, offers, checked_client(client_addr))
        known = replace(granted.identity, requests=())  # they are looked after here; to the leaf they say nothing
        said = encode_claims(known, forwarded)
        extensions = (*left_by(granted.bounds), (IDENTITY_EXTENSION, said), *encode_devices(granted.identity))
        user = checked(parse_name, granted.identity.user)
        logins = checked_logins([granted.login or PORTAL_LOGIN])
        critical = critical_options(granted.bounds.command)
        line = self._sign("user", CertKind.USER, public_key, user, logins, before, extensions, critical=critical)
        return TargetCredential(line)

    async def issue_host(self, public_key: str, principals: Sequence[str], *, ttl: timedelta = HOST_TTL) -> str:
        """A host certificate for these names and addresses, one line; Denied for bad names or keys."""
        if not timedelta(0) < ttl <= MAX_HOST_TTL:
            raise Denied(f"a host certificate can be valid for at most {MAX_HOST_TTL.days} days")
        names = unique(checked(parse_host, each) for each in principals)
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
