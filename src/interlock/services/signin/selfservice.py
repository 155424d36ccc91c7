"""What people change themselves about what proves them, over the portal."""

import binascii
from base64 import b32decode
from collections.abc import Iterable
from datetime import datetime

from interlock.core import portal as wire
from interlock.core.errors import Denied
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.factor import Device, EnrolledKey, required_by
from interlock.domain.identity import RECOVERY
from interlock.domain.rbac import Role
from interlock.ports import Clock, EventSink
from interlock.services.access.caller import SIGN_WINDOW, Caller
from interlock.services.audit.emitter import EventFactory
from interlock.services.signin.enrolment import Enrolment, fingerprint_of, key_facts
from interlock.services.signin.factors import Factors


class SelfService:
    """Answers requests about oneself."""

    def __init__(
        self, *, factors: Factors, enrolment: Enrolment, events: EventSink, factory: EventFactory, clock: Clock
    ) -> None:
        self._factors = factors
        self._enrolment = enrolment
        self._events = events
        self._factory = factory
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
            case wire.Keys():
                return wire.KeyList([_key_item(key) for key in await self._enrolment.of(user)])
            case wire.AddKey(line, name):
                await self._check_fresh(caller)
                key = await self._enrolment.add(user, line, name=name)
                self._emit(Kind.KEY_ENROL, caller, key)
                return wire.Done(f"{key.name} counts without a certificate from now on.")
            case wire.RemoveKey(wanted):
                await self._check_fresh(caller)
                key = await self._enrolment.remove(user, wanted)
                self._emit(Kind.KEY_REMOVE, caller, key)
                return wire.Done(f"{key.name} does not count any more.")
            case wire.NewRecoveryCodes():
                await self._check_fresh(caller)
                return wire.RecoveryCodes(await self._factors.new_recovery_codes(user, source=source))
            case _:
                raise Denied("this gateway does not know that request", reason=type(request).__name__)

    async def notice(self, caller: Caller, roles: Iterable[Role]) -> str:
        """What somebody who has just signed in should know of the second factor; empty if there is nothing."""
        if caller.device == RECOVERY:
            left = await self._factors.recovery_codes_left(caller.user)
            return f"You used a recovery code; {left} are left. New ones: ilsh mfa recovery-codes"
        if caller.device or required_by(roles) is None or await self._factors.of(caller.user):
            return ""
        return "A role of yours asks for a second factor, and you have none: run ilsh mfa add, then ilsh login"

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

    def _emit(self, kind: Kind, caller: Caller, key: EnrolledKey) -> None:
        fields: dict[str, JsonValue] = {"user": caller.user, "addr.remote": caller.source, **key_facts(key)}
        self._events.emit(self._factory.make(kind, fields))

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


def _key_item(key: EnrolledKey) -> wire.KeyItem:
    options = [f"{name}={value}" if value else name for name, value in key.options]
    return wire.KeyItem(key.name, fingerprint_of(key), options, rfc3339(key.added), _moment(key.expires))


def _moment(when: datetime | None) -> str | None:
    return None if when is None else rfc3339(when)
