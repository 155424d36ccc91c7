"""Second factors: what a person has beside a password or a key, and shows when signing in."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from interlock.core.errors import Denied
from interlock.core.ids import DeviceId
from interlock.domain.access import Access, HardwareKey, SecondFactor
from interlock.domain.identity import Identity
from interlock.domain.rbac import Role

SIGN_IN_WITH_ONE = (
    "access denied: this takes a sign-in with a second factor: run ilsh login (and ilsh mfa add before, "
    "if you have none)"
)
CONFIRM_WITH_ONE = (
    "access denied: each connection has to be confirmed with a second factor, which this way nobody can ask for: "
    "connect through the gateway (and run ilsh mfa add before, if you have none)"
)


_HARDWARE: dict[HardwareKey, str] = {
    HardwareKey.TOUCH: (
        "access denied: each connection takes a key on hardware here, which you touch: make one with ssh-keygen "
        "-t ed25519-sk, run ilsh login --public-key FILE or ilsh keys add FILE, and connect with it"
    ),
    HardwareKey.PIN: (
        "access denied: each connection takes a key on hardware here, which asks for its PIN or your finger: make "
        "one with ssh-keygen -t ed25519-sk -O verify-required, run ilsh login --public-key FILE or ilsh keys add "
        "FILE, and connect with it"
    ),
}


class DeviceKind(Enum):
    """How a device proves itself."""

    TOTP = "totp"  # an authenticator that shows codes, RFC 6238
    PASSKEY = "passkey"  # a WebAuthn credential


@dataclass(frozen=True, slots=True)
class Totp:
    """An authenticator that shows codes."""

    secret: bytes = field(repr=False)
    step: int = 0  # of the last code that was accepted: no code counts twice (RFC 6238 §5.2)


@dataclass(frozen=True, slots=True)
class Passkey:
    """A WebAuthn credential."""

    credential: bytes  # its ID, which is nobody else's
    public_key: bytes  # COSE, RFC 9052 §7
    sign_count: int = 0  # as last seen; 0 if the device does not count
    transports: tuple[str, ...] = ()  # how a browser may reach it


@dataclass(frozen=True, slots=True)
class Device:
    """One second-factor device of one user."""

    id: DeviceId
    user: str
    name: str  # one user's devices have different names
    added: datetime
    proof: Totp | Passkey
    used: datetime | None = None  # when it last proved somebody

    @property
    def kind(self) -> DeviceKind:
        """How it proves itself."""
        return DeviceKind.TOTP if isinstance(self.proof, Totp) else DeviceKind.PASSKEY


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """A user's own SSH key that counts without a certificate."""

    blob: bytes  # the public key in wire form; one person's and nobody else's
    user: str
    name: str
    added: datetime
    expires: datetime | None = None  # None: until it is removed
    options: tuple[tuple[str, str], ...] = ()  # what restricts it, as `services.signin.enrolment` reads it


def required_by(roles: Iterable[Role]) -> SecondFactor | None:
    """What these roles together ask for, wherever it is about: the strictest."""
    return Access.of(role.options for role in roles).second_factor


def hardware_required_by(roles: Iterable[Role]) -> HardwareKey | None:
    """The same of keys on hardware."""
    return Access.of(role.options for role in roles).hardware_key


def check_hardware(required: HardwareKey | None, identity: Identity) -> None:
    """Denied unless the connection was signed with a key on hardware that has shown what roles ask for."""
    shown = identity.hardware
    if required is None or shown in (required, HardwareKey.PIN):
        return
    had = "no key on hardware" if shown is None else f"one that has shown {shown.value}"
    reason = f"{identity.user} has signed with {had}, and roles ask for {required.value}"
    raise Denied(_HARDWARE[required], reason=reason)


def check_factor(required: SecondFactor | None, identity: Identity) -> None:
    """Denied unless the person has proved to be there as roles ask for it."""
    match required:
        case SecondFactor.SIGN_IN if not identity.devices:
            raise Denied(SIGN_IN_WITH_ONE, reason=f"{identity.user} signed in without a second factor")
        case SecondFactor.SESSION if not identity.confirmed:
            raise Denied(CONFIRM_WITH_ONE, reason=f"{identity.user} has not confirmed this connection")
