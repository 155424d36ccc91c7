"""Narrow protocols: second factors and enrolled keys of users."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from interlock.core.ids import DeviceId
from interlock.domain.factor import Device, EnrolledKey


class DeviceSource(Protocol):
    """Second-factor devices as sign-in looks them up."""

    async def devices(self, user: str) -> list[Device]:
        """All devices of a user, in the order in which they were added."""
        ...

    async def device_of_credential(self, credential: bytes) -> Device:
        """The device with this WebAuthn credential ID; NotFound if there is none."""
        ...

    async def use_device(self, device: DeviceId, counter: int, now: datetime) -> bool:
        """Note that the device has just proved its user, with this step (TOTP) or signature count (passkey).

        False, and nothing is noted, unless the counter is greater than the one before (or both are 0, of a passkey
        that does not count): a code or a signature seen before. Atomic, so that of two only one counts.
        """
        ...


class DeviceStore(DeviceSource, Protocol):
    """Second-factor devices as users and administrators change them."""

    async def add_device(self, device: Device) -> bool:
        """Store a new one; False if the user has one of that name, or anybody has that credential."""
        ...

    async def remove_device(self, user: str, device: DeviceId) -> None:
        """Forget one; NotFound if the user has none with this ID."""
        ...

    async def forget_factors(self, user: str) -> int:
        """Forget all devices and recovery codes of a user, whether they can be read or not; how many devices."""
        ...


class RecoveryStore(Protocol):
    """Recovery codes, as digests."""

    async def set_recovery_codes(self, user: str, digests: Iterable[bytes]) -> None:
        """Replace all recovery codes of a user."""
        ...

    async def spend_recovery_code(self, user: str, digest: bytes) -> bool:
        """Take a code away, atomically; False if the user has no such code."""
        ...

    async def recovery_codes_left(self, user: str) -> int:
        """How many codes are not spent."""
        ...


class KeySource(Protocol):
    """Enrolled keys as the doors look them up."""

    async def enrolled_key(self, blob: bytes) -> EnrolledKey:
        """The key with this wire form; NotFound if nobody has enrolled it."""
        ...


class KeyStore(KeySource, Protocol):
    """Enrolled keys as users and administrators change them."""

    async def keys_of(self, user: str) -> list[EnrolledKey]:
        """All keys of a user, in the order in which they were added."""
        ...

    async def enrol_key(self, key: EnrolledKey) -> bool:
        """Store a new one; False if somebody has it already, or the user has one of that name."""
        ...

    async def remove_key(self, user: str, blob: bytes) -> None:
        """Forget one; NotFound if it is not the user's."""
        ...
