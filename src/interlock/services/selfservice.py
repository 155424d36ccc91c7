"""What people change themselves about what proves them, over the portal."""

import binascii
from base64 import b32decode
from datetime import datetime

from interlock.core import portal as wire
from interlock.core.errors import Denied
from interlock.domain.audit import rfc3339
from interlock.domain.factor import Device
from interlock.ports import Clock
from interlock.services.caller import SIGN_WINDOW, Caller
from interlock.services.factors import Factors


class SelfService:
    """Answers requests about oneself."""

    def __init__(self, *, factors: Factors, clock: Clock) -> None:
        self._factors = factors
        self._clock = clock

    async def answer(self, caller: Caller, request: wire.OfOneself) -> wire.AnyReply:
        """The reply; Denied or NotFound."""
        user, source = caller.user, caller.source
        match request:
            case wire.Devices():
                devices = await self._factors.of(user)
                return wire.DeviceList(list(map(_item, devices)), await self._factors.recovery_codes_left(user))
            case wire.AddTotp():
                return await self._add_totp(caller, request)
            case wire.RemoveDevice(device):
                await self._check_fresh(caller)
                gone = await self._factors.remove(user, device, source=source)
                return wire.Done(f"{gone.name} does not count any more.")
            case wire.NewRecoveryCodes():
                await self._check_fresh(caller)
                return wire.RecoveryCodes(await self._factors.new_recovery_codes(user, source=source))
            case _:
                raise Denied("this gateway does not know that request", reason=type(request).__name__)

    async def _add_totp(self, caller: Caller, request: wire.AddTotp) -> wire.DeviceAdded:
        await self._check_fresh(caller)
        try:
            secret = b32decode(request.secret.upper())
        except (binascii.Error, ValueError):
            raise Denied("an authenticator's secret is base32") from None
        device = await self._factors.add_totp(
            caller.user, request.name, secret, request.code, source=caller.source
        )
        codes: list[str] = []
        if not await self._factors.recovery_codes_left(caller.user):
            codes = await self._factors.new_recovery_codes(caller.user, source=caller.source)
        return wire.DeviceAdded(device.id, codes)

    async def _check_fresh(self, caller: Caller) -> None:
        """Denied unless the person has just signed in, with a second factor if there is one.

        A certificate is not enough, not even where there is nothing yet: who has stolen a key must not be able to
        add the second factor that goes with it.
        """
        if caller.claims is not None or self._clock.now() - caller.since > SIGN_WINDOW:
            public = "for this you have to sign in again"
            raise Denied(public, reason=f"{caller.user} came by {', '.join(caller.methods)}")
        if not caller.device and await self._factors.of(caller.user):
            public = "for this you have to sign in again, with your second factor"
            raise Denied(public, reason=f"{caller.user} signed in before there was a second factor")


def _item(device: Device) -> wire.DeviceItem:
    return wire.DeviceItem(device.id, device.name, device.kind.value, rfc3339(device.added), _moment(device.used))


def _moment(when: datetime | None) -> str | None:
    return None if when is None else rfc3339(when)
