"""Second factors of users: which devices they have, whether a code is one of theirs, and how they change.

A code is six digits of an authenticator (RFC 6238 with SHA-1, 30 seconds, as all of them speak it), or a recovery
code. Who guesses is braked by whoever asks here (`services.signin.signin`); what is spent here stays spent.
"""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pyotp import HOTP

from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DeviceId, parse_name
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.factor import Device, Totp
from interlock.domain.identity import RECOVERY
from interlock.ports import Clock, DeviceStore, Entropy, EventSink, RecoveryStore

STEP_S = 30
"""Seconds for which an authenticator shows one code."""

DIGITS = 6

SKEW = 1
"""Steps by which an authenticator's clock may be early or late."""

SECRET = range(16, 65)
"""Bytes of a secret: RFC 4226 §4 asks for 16, and recommends the 20 that ilsh makes."""

MAX_DEVICES = 10
"""Devices of one user: each one's codes count, so each makes guessing easier."""

MAX_NAME = 64
"""Characters of a device's or key's name."""

RECOVERY_CODES = 10
"""Codes of one set."""

_RECOVERY_BYTES = 10  # 80 bits: nobody guesses them, so a plain digest keeps them
_RECOVERY_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Proven:
    """What a code has proved."""

    device: str  # its ID, or `RECOVERY`
    name: str = ""  # of the device; not known where a browser has told of it
    kind: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """As the field's events name it."""
        facts = {"mfa_device_uuid": self.device, "mfa_device_name": self.name, "mfa_device_type": self.kind}
        return {name: value for name, value in facts.items() if value}


NOTHING_PROVEN = Proven("")
"""Of somebody who has no second factor."""

BY_RECOVERY_CODE = Proven(RECOVERY, "recovery code", RECOVERY)


class Factors:
    """Judges codes, and changes what they are judged by. Events go to ``sink``."""

    def __init__(
        self,
        *,
        devices: DeviceStore,
        recovery: RecoveryStore,
        sink: EventSink,
        cluster: str,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._devices = devices
        self._recovery = recovery
        self._sink = sink
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy

    async def of(self, user: str) -> list[Device]:
        """The user's devices; StoreError if one cannot be read."""
        return await self._devices.devices(user)

    async def recovery_codes_left(self, user: str) -> int:
        """How many are not spent."""
        return await self._recovery.recovery_codes_left(user)

    async def prove(self, user: str, code: str, *, source: str) -> Proven | None:
        """Which device the code is of, at this moment and for the first time; None if it is of none."""
        text = "".join(code.split()).replace("-", "").lower()[: _RECOVERY_CHARACTERS + 1]
        now = self._clock.now()
        if len(text) == DIGITS and text.isascii() and text.isdigit():
            for device in await self._devices.devices(user):
                step = matching_step(device.proof, text, now) if isinstance(device.proof, Totp) else None
                if step is not None and await self._devices.use_device(device.id, step, now):
                    return Proven(device.id, device.name, device.kind.value)
            return None
        if len(text) != _RECOVERY_CHARACTERS:
            return None
        spent = await self._recovery.spend_recovery_code(user, _digest(user, text))
        left: dict[str, JsonValue] = {}
        if spent:
            left = {"recovery_codes_left": await self._recovery.recovery_codes_left(user)}
        kind = Kind.RECOVERY_CODE_USED if spent else Kind.RECOVERY_CODE_FAILURE
        self._emit(kind, user, {"success": spent, "addr.remote": source, **left})
        return BY_RECOVERY_CODE if spent else None

    async def add_totp(self, user: str, name: str, secret: bytes, code: str, *, source: str) -> Device:
        """Add an authenticator that has shown a code; Denied if it has not, or the name will not do."""
        name = check_label(name)
        if len(secret) not in SECRET:
            raise Denied(f"an authenticator's secret has {SECRET.start} to {SECRET.stop - 1} bytes")
        now = self._clock.now()
        step = matching_step(Totp(secret), "".join(code.split()), now)
        if step is None:
            raise Denied("that is not the code that this authenticator shows now: is the clock of either wrong?")
        device = Device(DeviceId(self._entropy.uuid()), user, name, now, Totp(secret, step))
        await self.add(device, source=source)
        return device

    async def add(self, device: Device, *, source: str) -> None:
        """Add a device that has proved itself; Denied if there is one like it, or there are too many."""
        if len(await self._devices.devices(device.user)) >= MAX_DEVICES:
            raise Denied(f"nobody can have more than {MAX_DEVICES} second-factor devices: remove one first")
        if not await self._devices.add_device(device):
            raise Denied(f"you have a device called {device.name} already: choose another name")
        self._emit(Kind.MFA_ADD, device.user, device_facts(device) | {"addr.remote": source})

    async def remove(self, user: str, wanted: str, *, source: str) -> Device:
        """Remove a device, by ID or name; NotFound."""
        device = one_of(await self._devices.devices(user), wanted)
        await self._devices.remove_device(user, device.id)
        self._emit(Kind.MFA_DELETE, user, device_facts(device) | {"addr.remote": source})
        return device

    async def new_recovery_codes(self, user: str, *, source: str = "") -> list[str]:
        """A new set, which replaces the one before: nothing but their digests is kept.

        Denied if there is no device: they stand in for one, and count for nobody who is not asked for it.
        """
        if not await self._devices.devices(user):
            raise Denied("recovery codes stand in for a second factor, and you have none: add one (ilsh mfa add)")
        codes = [b32encode(self._entropy.token(_RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
        await self._recovery.set_recovery_codes(user, [_digest(user, code) for code in codes])
        self._emit(Kind.RECOVERY_CODES, user, {"addr.remote": source})
        return ["-".join(code[at : at + 4] for at in range(0, _RECOVERY_CHARACTERS, 4)) for code in codes]

    def _emit(self, kind: Kind, user: str, facts: dict[str, JsonValue]) -> None:
        fields: dict[str, JsonValue] = {"user": user, **facts}
        self._sink.emit(AuditEvent(kind, self._clock.now(), self._entropy.uuid(), self._cluster, fields=fields))


def matching_step(proof: Totp, code: str, now: datetime) -> int | None:
    """The time step of which the authenticator shows this code about now; None if of none (RFC 6238 §5.2)."""
    shown = HOTP(b32encode(proof.secret).decode().rstrip("="), digits=DIGITS)
    here = int(now.timestamp()) // STEP_S
    found = None
    for step in range(here - SKEW, here + SKEW + 1):  # all of them: the time it takes says nothing
        if hmac.compare_digest(shown.at(step), code) and step > proof.step:
            found = step
    return found


def check_label(text: str) -> str:
    """A device's or key's name: printable, one line, not too long; Denied otherwise."""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable() or text != text.strip():
        raise Denied(f"a name has 1 to {MAX_NAME} printable characters")
    return text


def _digest(user: str, code: str) -> bytes:
    return hashlib.sha256(f"interlock recovery code\0{parse_name(user)}\0{code}".encode()).digest()


def one_of(devices: Iterable[Device], wanted: str) -> Device:
    """The device with this ID or name; NotFound."""
    for device in devices:
        if wanted in (device.id, device.name):
            return device
    raise NotFound(f"there is no second-factor device {wanted[:MAX_NAME]} of this user")


def device_facts(device: Device) -> dict[str, JsonValue]:
    """As the field's events name it."""
    return {
        "mfa_device_name": device.name,
        "mfa_device_uuid": device.id,
        "mfa_device_type": device.kind.value,
    }
