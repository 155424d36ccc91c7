"""User certificates as they arrive: verification, and the identity that ours carry in an extension.

The signature proves who wrote the certificate; everything else is read strictly all the same, so that a
certificate with a restriction that we do not know is refused, not widened (R6, R14, R15).
Signing is `interlock.services.keys.authority`.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.core.certificate import Certificate, CertKind, PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, parse_login, parse_name, parse_session_id
from interlock.domain.access import NOTHING_SPECIAL, Access, HardwareKey
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission
from interlock.domain.identity import RECOVERY, Claims, Forwarded, Identity, Joining, TunnelPass, parse_client
from interlock.domain.modes import mode_at_node
from interlock.domain.request import MAX_CARRIED

IDENTITY_EXTENSION = "identity@interlock.dev"
"""Extension of our user certificates: JSON that names user, roles, cluster and, for forwarders, the hand-over."""

TUNNEL_EXTENSION = "tunnel@interlock.dev"
"""Extension of a node's tunnel certificate: the node's ID. It stands where a person's has the identity, so that no
certificate is ever both."""

DEVICE_EXTENSIONS = ("mfa-device@interlock.dev", "mfa-confirmed@interlock.dev")
"""Extensions of our user certificates: `Identity.device` and `Identity.confirmed`, each only if there is one.

Apart from the identity, so that whoever does not know them takes the certificate for one without."""

HARDWARE_EXTENSION = "hardware-key@interlock.dev"
"""Extension of forwarders' certificates: `Identity.hardware`, if there is something to say. In a person's own it
counts for nothing: there it is the signature that shows it."""

BOT_EXTENSION = "bot@interlock.dev"
"""Extension of a bot's certificates: their number, in decimal."""

REMEMBERED = 256
"""Genuine certificates whose signature is not verified again, as long as the trusted authorities are the same."""

FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED = "force-command", "source-address", "verify-required"
"""The critical options of OpenSSH (PROTOCOL.certkeys): what runs in place of what is asked for; networks from
which alone the certificate may be used; and that its key, which is one on hardware, has to verify its person."""

NO_TOUCH = "no-touch-required"
"""The extension of OpenSSH by which a key on hardware need not be touched."""

_REFUSED = "your certificate was not accepted: run ilsh login"
_EXPIRED = "your certificate has expired: run ilsh login"
_EARLY = "your certificate is not valid yet: the servers' clocks differ; tell your administrator"


T = TypeVar("T")


class _Joining(msgspec.Struct, forbid_unknown_fields=True):
    sid: str
    modes: tuple[JoinMode, ...]


class _Forwarded(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    target: str
    by: str
    records: bool
    client: str = ""
    access: Access | None = None  # None: nothing beyond the defaults
    joining: _Joining | None = None


class _Identity(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    user: str
    roles: tuple[str, ...]
    cluster: str
    forwarded: _Forwarded | None = None
    requests: tuple[str, ...] = ()


_PERMITS = {each.extension: each for each in Permission}
_DECODER = msgspec.json.Decoder(_Identity, strict=True)
_ENCODER = msgspec.json.Encoder()


def encode_claims(identity: Identity, forwarded: Forwarded | None) -> str:
    """The identity extension's value."""
    hand_over = None
    if forwarded is not None:
        access = None if forwarded.access == NOTHING_SPECIAL else forwarded.access
        joining = None if forwarded.joining is None else _Joining(forwarded.joining.sid, forwarded.joining.modes)
        hand_over = _Forwarded(
            forwarded.target, forwarded.by, forwarded.records, forwarded.client, access, joining
        )
    said = _Identity(identity.user, identity.roles, identity.cluster, hand_over, identity.requests)
    return _ENCODER.encode(said).decode()


def encode_devices(identity: Identity) -> tuple[tuple[str, str], ...]:
    """The extensions that say with which devices, and with what kind of key, the person has proved to be there."""
    devices = zip(DEVICE_EXTENSIONS, (identity.device, identity.confirmed), strict=True)
    said = [(name, device) for name, device in devices if device]
    if identity.hardware is not None:
        said.append((HARDWARE_EXTENSION, identity.hardware.value))
    return tuple(said)


def critical_options(
    command: str | None, networks: Sequence[str] = (), *, verified: bool = False
) -> tuple[tuple[str, str | None], ...]:
    """Those of a certificate with these restrictions."""
    said = ((FORCE_COMMAND, command), (SOURCE_ADDRESS, ",".join(networks) or None))
    options = tuple((name, value) for name, value in said if value is not None)
    return (*options, (VERIFY_REQUIRED, None)) if verified else options


class CertificateReader:
    """`ports.ClaimsReader` and `ports.PassReader` for certificates of the user authority."""

    def __init__(self, user_authorities: Sequence[str]) -> None:
        self._trusted: dict[PublicKey, Ed25519PublicKey] = {}
        self._genuine: OrderedDict[bytes, Certificate] = OrderedDict()  # what the trusted ones have signed
        self.trust(user_authorities)

    def trust(self, user_authorities: Sequence[str]) -> None:
        """Replace the trusted authorities: public keys, one line each; ValueError if one is not Ed25519."""
        keys = [PublicKey.parse(line) for line in user_authorities]
        if any(key.algorithm != "ssh-ed25519" for key in keys):
            msg = "a user authority must be an Ed25519 key"
            raise ValueError(msg)
        self._trusted = {key: Ed25519PublicKey.from_public_bytes(key.fields[0]) for key in keys}
        self._genuine.clear()

    def read(self, certificate: bytes, *, now: datetime) -> Claims:
        """The claims of a certificate in wire form; Denied if anything about it is wrong."""
        return self._read(certificate, now, _claims)

    def read_pass(self, certificate: bytes, *, now: datetime) -> TunnelPass:
        """`ports.PassReader`: which node a tunnel certificate speaks for; Denied if anything about it is wrong."""
        return self._read(certificate, now, _tunnel_pass)

    def _read(self, certificate: bytes, now: datetime, interpret: Callable[[Certificate], T]) -> T:
        contents = self._contents(certificate)
        if contents.kind is not CertKind.USER:
            raise Denied(_REFUSED, reason=f"certificate {contents.serial} is a host certificate")
        after, before = _moment(contents.valid_after), _moment(contents.valid_before)
        if not after <= now < before:
            reason = f"certificate {contents.serial} of {contents.key_id!r} is valid from {after} to {before}"
            raise Denied(_EARLY if now < after else _EXPIRED, reason=reason)
        try:
            return interpret(contents)
        except ValueError as error:
            reason = f"certificate {contents.serial} of {contents.key_id!r}: {error}"
            raise Denied(_REFUSED, reason=reason) from None

    def _contents(self, certificate: bytes) -> Certificate:
        """What is in it, if it is genuine; who signs in is asked for the same one three times, and comes again."""
        known = self._genuine.get(certificate)
        if known is not None:
            return known
        try:
            signed = SignedCertificate.parse(certificate)
        except ValueError as error:
            raise Denied(_REFUSED, reason=str(error)) from None
        self._verify(signed)
        self._genuine[certificate] = signed.certificate
        if len(self._genuine) > REMEMBERED:
            self._genuine.popitem(last=False)
        return signed.certificate

    def _verify(self, signed: SignedCertificate) -> None:
        authority = signed.certificate.authority
        key = self._trusted.get(authority)
        if key is None:
            raise Denied(_REFUSED, reason=f"certificate of an authority that is not ours: {authority.line()}")
        if signed.signature_algorithm != "ssh-ed25519":
            raise Denied(_REFUSED, reason=f"signature of type {signed.signature_algorithm[:64]!r}")
        try:
            key.verify(signed.signature, signed.signed_part)
        except InvalidSignature:
            reason = f"certificate {signed.certificate.serial}: the authority's signature does not match"
            raise Denied(_REFUSED, reason=reason) from None


def _claims(contents: Certificate) -> Claims:
    logins = tuple(parse_login(each) for each in contents.principals)
    if not logins:
        msg = "it names no principal, which sshd would read as all"
        raise ValueError(msg)
    extensions = dict(contents.extensions)
    extension = extensions.get(IDENTITY_EXTENSION)
    if TUNNEL_EXTENSION in extensions:
        msg = "it is a node's, for its tunnel"
        raise ValueError(msg)
    if extension is None:
        msg = "it carries no identity"
        raise ValueError(msg)
    # msgspec's errors are ValueErrors
    claimed = _DECODER.decode(extension)
    if parse_name(claimed.user) != contents.key_id:
        msg = f"key ID and identity differ: {claimed.user!r}"
        raise ValueError(msg)
    device, confirmed = (_device(extensions.get(name)) for name in DEVICE_EXTENSIONS)
    critical = _critical(contents)
    hardware = extensions.get(HARDWARE_EXTENSION) if claimed.forwarded is not None else None
    withheld = [each for name, each in _PERMITS.items() if name not in extensions]
    return Claims(
        identity=Identity(
            claimed.user,
            tuple(parse_name(role) for role in claimed.roles),
            claimed.cluster,
            device,
            confirmed,
            certificate=str(contents.serial),
            keys=(contents.key.fingerprint, contents.authority.fingerprint),
            requests=_requests(claimed.requests),
            hardware=None if hardware is None else HardwareKey(hardware),
        ),
        logins=logins,
        valid_after=_moment(contents.valid_after),
        valid_before=_moment(contents.valid_before),
        serial=contents.serial,
        forwarded=None if claimed.forwarded is None else _hand_over(claimed.forwarded),
        source_networks=_source_networks(critical),
        bot=_generation(extensions.get(BOT_EXTENSION)),
        verified=VERIFY_REQUIRED in critical,
        untouched=NO_TOUCH in extensions,
        bounds=Bounds.of(critical.get(FORCE_COMMAND), withheld) if withheld or critical else NO_BOUNDS,
    )


def _requests(said: tuple[str, ...]) -> tuple[str, ...]:
    if len(said) > MAX_CARRIED or any(str(UUID(each)) != each for each in said):
        msg = f"not {MAX_CARRIED} access requests at most"
        raise ValueError(msg)
    return said


def _device(said: str | None) -> str:
    if said and said != RECOVERY and str(UUID(said)) != said:
        msg = f"not a device: {said[:64]!r}"
        raise ValueError(msg)
    return said or ""


def _generation(said: str | None) -> int:
    if said is not None and (not said.isdecimal() or str(int(said)) != said or said == "0"):
        msg = f"it has no number: {said[:32]!r}"
        raise ValueError(msg)
    return int(said or 0)


def _tunnel_pass(contents: Certificate) -> TunnelPass:
    node = dict(contents.extensions).get(TUNNEL_EXTENSION)
    if len(contents.extensions) != 1 or contents.critical_options or node is None:
        msg = "it is not a node's certificate for its tunnel"
        raise ValueError(msg)
    if (node, (node,)) != (contents.key_id, contents.principals) or str(UUID(node)) != node:
        msg = f"key ID, principals and node differ: {node[:64]!r}"
        raise ValueError(msg)
    return TunnelPass(DaemonId(node), _moment(contents.valid_before))


def _hand_over(said: _Forwarded) -> Forwarded:
    if said.client:
        parse_client(said.client)
    access = said.access or NOTHING_SPECIAL
    mode_at_node(access.recording, relieved=said.records)
    joining = None if said.joining is None else Joining(parse_session_id(said.joining.sid), said.joining.modes)
    return Forwarded(DaemonId(said.target), DaemonId(said.by), said.records, said.client, access, joining)


def _critical(contents: Certificate) -> dict[str, str | None]:
    """The critical options; ValueError for one that we do not know, or that says what it cannot."""
    for name, value in contents.critical_options:
        if name not in (FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED):
            msg = f"critical option {name[:64]!r} is not known here"
            raise ValueError(msg)
        if (value is None) is not (name == VERIFY_REQUIRED):
            msg = f"critical option {name} has {'no value' if value is None else 'a value'}"
            raise ValueError(msg)
        if name == VERIFY_REQUIRED and not contents.key.on_hardware:
            msg = f"critical option {name} for a key that verifies nobody"
            raise ValueError(msg)
    return dict(contents.critical_options)


def _source_networks(critical: Mapping[str, str | None]) -> tuple[str, ...]:
    said = critical.get(SOURCE_ADDRESS)
    return () if said is None else tuple(str(ip_network(each, strict=False)) for each in said.split(","))


def _moment(seconds: int) -> datetime:
    """Certificates may say "for ever" with all ones, which no datetime can hold."""
    return datetime.fromtimestamp(min(seconds, 253402300799), UTC)
