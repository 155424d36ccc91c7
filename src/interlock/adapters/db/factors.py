"""Second-factor devices, recovery codes and enrolled keys. What cannot be read in full proves nobody (R6)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, and_, bindparam, delete, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, dump_strings, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.policy import change_policy
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.sealed import purpose_of
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound, StoreError
from interlock.core.ids import DeviceId, parse_name
from interlock.domain.factor import Device, DeviceKind, EnrolledKey, Passkey, Totp
from interlock.ports import Sealing

_log = structlog.get_logger(__name__)

_DEVICES, _CODES, _KEYS = schema.mfa_devices, schema.recovery_codes, schema.user_keys
_KEY = Prepared(select(_KEYS).where(_KEYS.c.blob == bindparam("blob")))
_OPTIONS = msgspec.json.Decoder(tuple[tuple[str, str], ...], strict=True)


class SqlFactorStore:
    """`ports.DeviceStore`, `ports.RecoveryStore` and `ports.KeyStore`."""

    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def devices(self, user: str) -> list[Device]:
        """`ports.DeviceSource`."""
        wanted = select(_DEVICES).where(_DEVICES.c.user == user).order_by(_DEVICES.c.added, _DEVICES.c.id)
        rows = await self._database.rows(wanted)
        return [self._device(row) for row in rows]

    async def device_of_credential(self, credential: bytes) -> Device:
        """`ports.DeviceSource`."""
        rows = await self._database.rows(select(_DEVICES).where(_DEVICES.c.credential == credential))
        if not rows:
            raise NotFound("nobody has this passkey")
        return self._device(rows[0])

    async def use_device(self, device: DeviceId, counter: int, now: datetime) -> bool:
        """`ports.DeviceSource`."""
        fresh = _DEVICES.c.counter < counter
        if counter == 0:
            fresh = and_(_DEVICES.c.counter == 0, _DEVICES.c.kind == DeviceKind.PASSKEY.value)
        noted = update(_DEVICES).where(_DEVICES.c.id == device, fresh).values(counter=counter, used=now)
        return await self._database.change(noted) == 1

    async def add_device(self, device: Device) -> bool:
        """`ports.DeviceStore`."""
        row: dict[str, object] = {
            "id": device.id,
            "user": parse_name(device.user),
            "name": device.name,
            "kind": device.kind.value,
            "added": device.added,
            "used": device.used,
        }
        match device.proof:
            case Totp(secret, step):
                row |= {"secret": self._sealing.seal(_purpose(device.id), secret), "counter": step}
            case Passkey(credential, public_key, sign_count, transports):
                row |= {"credential": credential, "public_key": public_key, "counter": sign_count}
                row |= {"transports": dump_strings(transports)}
        return await self._database.change(insert(_DEVICES).values(row).on_conflict_do_nothing()) == 1

    async def remove_device(self, user: str, device: DeviceId) -> None:
        """`ports.DeviceStore`."""
        wanted = delete(_DEVICES).where(_DEVICES.c.id == device, _DEVICES.c.user == user)
        if not await self._database.change(wanted):
            raise NotFound(f"{user} has no second-factor device {device}")

    async def forget_factors(self, user: str) -> int:
        """`ports.DeviceStore`."""

        def forget(connection: Connection) -> int:
            connection.execute(delete(_CODES).where(_CODES.c.user == user))
            return connection.execute(delete(_DEVICES).where(_DEVICES.c.user == user)).rowcount

        return await self._database.write(forget)

    async def set_recovery_codes(self, user: str, digests: Iterable[bytes]) -> None:
        """`ports.RecoveryStore`."""
        rows = [{"user": parse_name(user), "digest": digest} for digest in digests]
        dropped = delete(_CODES).where(_CODES.c.user == user)

        def replace(connection: Connection) -> None:
            connection.execute(dropped)
            if rows:
                connection.execute(insert(_CODES), rows)

        await self._database.write(replace)

    async def spend_recovery_code(self, user: str, digest: bytes) -> bool:
        """`ports.RecoveryStore`."""
        spent = delete(_CODES).where(_CODES.c.user == user, _CODES.c.digest == digest)
        return await self._database.change(spent) == 1

    async def recovery_codes_left(self, user: str) -> int:
        """`ports.RecoveryStore`."""
        rows = await self._database.rows(select(func.count()).select_from(_CODES).where(_CODES.c.user == user))
        return int(rows[0][0])

    async def enrolled_key(self, blob: bytes) -> EnrolledKey:
        """`ports.KeySource`."""
        rows = await self._database.look(_KEY, blob=blob)
        key = _key(rows[0]) if rows else None
        if key is None:
            raise NotFound("nobody has enrolled this key")
        return key

    async def keys_of(self, user: str) -> list[EnrolledKey]:
        """`ports.KeyStore`."""
        wanted = select(_KEYS).where(_KEYS.c.user == user).order_by(_KEYS.c.added, _KEYS.c.name)
        return [key for row in await self._database.rows(wanted) if (key := _key(row)) is not None]

    async def enrol_key(self, key: EnrolledKey) -> bool:
        """`ports.KeyStore`."""
        row = {
            "blob": key.blob,
            "user": parse_name(key.user),
            "name": key.name,
            "options": dump(key.options),
            "added": key.added,
            "expires": key.expires,
        }
        return await self._database.change(insert(_KEYS).values(row).on_conflict_do_nothing()) == 1

    async def remove_key(self, user: str, blob: bytes) -> None:
        """`ports.KeyStore`."""
        gone = delete(_KEYS).where(_KEYS.c.blob == blob, _KEYS.c.user == user)
        if not await change_policy(self._database, gone):
            raise NotFound(f"{user} has not enrolled this key")

    def _device(self, row: Row[Any]) -> Device:
        """StoreError if it cannot be read: nobody may pass for somebody who has no device."""
        proof: Totp | Passkey
        try:
            if DeviceKind(row.kind) is DeviceKind.TOTP:
                proof = Totp(self._sealing.open(_purpose(row.id), bytes(row.secret)), row.counter)
            else:
                transports = load_strings(row.transports)
                proof = Passkey(bytes(row.credential), bytes(row.public_key), row.counter, transports)
        except (ValueError, TypeError) as error:
            public = f"a second-factor device of {row.user} cannot be read: see ilctl users mfa"
            raise StoreError(public, reason=f"device {row.id}: {error}") from error
        return Device(DeviceId(row.id), row.user, row.name, row.added, proof, row.used)


def _purpose(device: str) -> str:
    return purpose_of(_DEVICES.c.secret, device)


def _key(row: Any) -> EnrolledKey | None:
    try:
        options = _OPTIONS.decode(row.options)
    except ValueError as error:
        _log.error("user_key.unreadable", user=row.user, name=row.name, error=str(error))
        return None
    return EnrolledKey(bytes(row.blob), row.user, row.name, row.added, row.expires, options)
