"""Second factors for tests: a store in memory, and an authenticator as a person has one."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from pyotp import TOTP

from interlock.core.errors import NotFound
from interlock.core.ids import DeviceId
from interlock.daemons.local import open_local
from interlock.domain.audit import AuditEvent
from interlock.domain.factor import Device, EnrolledKey, Passkey, Totp
from interlock.ports import Clock, EventSink
from interlock.services.audit.emitter import EventFactory
from interlock.services.signin.enrolment import Enrolment
from interlock.services.signin.factors import Factors
from interlock.services.signin.selfservice import SelfService
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SECRET_BYTES = b"12345678901234567890"


@dataclass(frozen=True, slots=True)
class Authenticator:
    """An app on somebody's phone."""

    secret: str = SECRET

    def code(self, now: datetime) -> str:
        """What it shows."""
        return TOTP(self.secret).at(now)


def no_factors(clock: Clock) -> Factors:
    """Of people who have none; what happens to them is told to nobody."""
    store = MemoryFactors()
    return Factors(
        devices=store, recovery=store, sink=Nowhere(), cluster="test", clock=clock, entropy=FakeEntropy()
    )


def self_service(factors: Factors, store: "MemoryFactors", events: EventSink, clock: Clock) -> SelfService:
    """What people change themselves, on what is in memory."""
    factory = EventFactory(cluster="test", clock=clock, entropy=FakeEntropy())
    return SelfService(
        factors=factors, enrolment=Enrolment(store, clock), events=events, factory=factory, clock=clock
    )


async def give_second_factor(data_dir: Path, user: str) -> list[str]:
    """A phone and recovery codes for somebody of a real gateway: codes that need no waiting for the next one."""
    async with open_local(data_dir, writer="test") as local:
        await local.factor_store.add_device(phone_of(user))
        return await local.factors(Nowhere()).new_recovery_codes(user)


class Nowhere:
    """`ports.EventSink` that keeps nothing."""

    def emit(self, event: AuditEvent) -> None:
        """Forget it."""


def phone_of(user: str, device: str = "") -> Device:
    """Somebody's `Authenticator`, as it is stored; ``device``: its ID, by default one for each user."""
    return Device(
        DeviceId(device or str(uuid5(NAMESPACE_URL, f"phone of {user}"))), user, "phone", START, Totp(SECRET_BYTES)
    )


@dataclass(slots=True)
class MemoryFactors:
    """`ports.DeviceStore`, `RecoveryStore` and `KeyStore` in memory."""

    kept: dict[str, Device] = field(default_factory=dict)
    codes: dict[str, set[bytes]] = field(default_factory=dict)
    keys: dict[bytes, EnrolledKey] = field(default_factory=dict)

    async def devices(self, user: str) -> list[Device]:
        """`ports.DeviceSource`."""
        return [device for device in self.kept.values() if device.user == user]

    async def device_of_credential(self, credential: bytes) -> Device:
        """`ports.DeviceSource`."""
        for device in self.kept.values():
            if isinstance(device.proof, Passkey) and device.proof.credential == credential:
                return device
        raise NotFound("nobody has this passkey")

    async def use_device(self, device: DeviceId, counter: int, now: datetime) -> bool:
        """`ports.DeviceSource`."""
        found = self.kept[device]
        match found.proof:
            case Totp(secret, step) if step < counter:
                self.kept[device] = replace(found, proof=Totp(secret, counter), used=now)
            case Passkey(sign_count=before) if before < counter or before == counter == 0:
                self.kept[device] = replace(found, proof=replace(found.proof, sign_count=counter), used=now)
            case _:
                return False
        return True

    async def add_device(self, device: Device) -> bool:
        """`ports.DeviceStore`."""
        if any((each.user, each.name) == (device.user, device.name) for each in self.kept.values()):
            return False
        self.kept[device.id] = device
        return True

    async def remove_device(self, user: str, device: DeviceId) -> None:
        """`ports.DeviceStore`."""
        if self.kept[device].user != user:
            raise NotFound("no such device")
        del self.kept[device]

    async def forget_factors(self, user: str) -> int:
        """`ports.DeviceStore`."""
        gone = [device.id for device in await self.devices(user)]
        for device in gone:
            del self.kept[device]
        self.codes.pop(user, None)
        return len(gone)

    async def set_recovery_codes(self, user: str, digests: Iterable[bytes]) -> None:
        """`ports.RecoveryStore`."""
        self.codes[user] = set(digests)

    async def spend_recovery_code(self, user: str, digest: bytes) -> bool:
        """`ports.RecoveryStore`."""
        left = self.codes.get(user, set())
        known = digest in left
        left.discard(digest)
        return known

    async def recovery_codes_left(self, user: str) -> int:
        """`ports.RecoveryStore`."""
        return len(self.codes.get(user, ()))

    async def enrolled_key(self, blob: bytes) -> EnrolledKey:
        """`ports.KeySource`."""
        if blob not in self.keys:
            raise NotFound("nobody has enrolled this key")
        return self.keys[blob]

    async def keys_of(self, user: str) -> list[EnrolledKey]:
        """`ports.KeyStore`."""
        return [key for key in self.keys.values() if key.user == user]

    async def enrol_key(self, key: EnrolledKey) -> bool:
        """`ports.KeyStore`."""
        return self.keys.setdefault(key.blob, key) is key

    async def remove_key(self, user: str, blob: bytes) -> None:
        """`ports.KeyStore`."""
        if (await self.enrolled_key(blob)).user != user:
            raise NotFound("another's key")
        del self.keys[blob]
