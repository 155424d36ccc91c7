"""Second factors and enrolled keys: what was stored comes back, and nothing counts twice."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from interlock.adapters.db.accounts import SqlUserStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.factors import SqlFactorStore
from interlock.adapters.db.schema import mfa_devices
from interlock.core.errors import NotFound, StoreError
from interlock.core.ids import DeviceId
from interlock.domain.factor import Device, EnrolledKey, Passkey, Totp
from interlock.ports import User
from interlock.services.keys.sealing import ClearSealing, KeySealing
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy

PHONE = Device(DeviceId("d1"), "alice", "phone", START, Totp(b"\x00secret\xff", 5))
TOKEN = Device(
    DeviceId("d2"),
    "alice",
    "token",
    START + timedelta(1),
    Passkey(b"\x01id", b"\xa5cose", 0, ("usb", "nfc")),
    START,
)
KEY = EnrolledKey(b"\x00\x01key", "alice", "laptop", START, START + timedelta(9), (("from", "10.0.0.0/8"),))


@pytest.fixture
def factors(database: Database) -> SqlFactorStore:
    """The store."""
    return SqlFactorStore(database, ClearSealing())


async def test_devices_come_back_as_stored(factors: SqlFactorStore) -> None:
    """In the order in which they were added; only the user's own."""
    assert await factors.add_device(TOKEN)
    assert await factors.add_device(PHONE)
    assert await factors.add_device(replace(PHONE, id=DeviceId("d3"), user="bob"))
    assert await factors.devices("alice") == [PHONE, TOKEN]
    assert await factors.device_of_credential(b"\x01id") == TOKEN
    await factors.remove_device("alice", DeviceId("d1"))
    assert await factors.devices("alice") == [TOKEN]
    for attempt in (
        factors.remove_device("alice", DeviceId("d3")),  # another's
        factors.device_of_credential(b"\x01"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_a_name_is_used_once_and_a_credential_is_one_persons(factors: SqlFactorStore) -> None:
    """A second one is not stored and changes nothing."""
    await factors.add_device(PHONE)
    await factors.add_device(TOKEN)
    assert not await factors.add_device(replace(PHONE, id=DeviceId("d4"), proof=Totp(b"other")))
    assert not await factors.add_device(replace(TOKEN, id=DeviceId("d4"), user="bob"))
    assert await factors.devices("alice") == [PHONE, TOKEN]


async def test_a_step_counts_once_even_if_two_come_at_the_same_time(factors: SqlFactorStore) -> None:
    """RFC 6238 §5.2; the same for the signatures of a passkey that counts them."""
    await factors.add_device(PHONE)
    now = START + timedelta(seconds=30)
    used = await asyncio.gather(*(factors.use_device(PHONE.id, 6, now) for _ in range(4)))
    assert sorted(used) == [False, False, False, True]
    assert not await factors.use_device(PHONE.id, 5, now)
    assert not await factors.use_device(PHONE.id, 0, now)
    [device] = await factors.devices("alice")
    assert (device.proof, device.used) == (Totp(b"\x00secret\xff", 6), now)


async def test_a_passkey_that_does_not_count_may_be_used_again_and_one_that_does_goes_up(
    factors: SqlFactorStore,
) -> None:
    """WebAuthn §6.1.1: 0 means that it does not count."""
    await factors.add_device(TOKEN)
    assert await factors.use_device(TOKEN.id, 0, START)
    assert await factors.use_device(TOKEN.id, 0, START)
    assert await factors.use_device(TOKEN.id, 7, START)
    assert not await factors.use_device(TOKEN.id, 7, START)
    assert not await factors.use_device(TOKEN.id, 0, START)


async def test_a_recovery_code_is_spent_once_and_all_are_replaced_together(factors: SqlFactorStore) -> None:
    """Those of others are others'."""
    await factors.set_recovery_codes("alice", [b"a", b"b"])
    await factors.set_recovery_codes("bob", [b"a"])
    assert await factors.spend_recovery_code("alice", b"a")
    assert not await factors.spend_recovery_code("alice", b"a")
    assert await factors.recovery_codes_left("alice") == 1
    await factors.set_recovery_codes("alice", [b"c", b"d", b"e"])
    assert not await factors.spend_recovery_code("alice", b"b")
    assert await factors.recovery_codes_left("alice") == 3
    assert await factors.recovery_codes_left("bob") == 1
    await factors.set_recovery_codes("alice", [])
    assert await factors.recovery_codes_left("alice") == 0


async def test_keys_come_back_as_stored_and_are_one_persons(factors: SqlFactorStore) -> None:
    """A key that somebody has enrolled cannot be enrolled by another, nor two under one name."""
    assert await factors.enrol_key(KEY)
    assert not await factors.enrol_key(replace(KEY, user="bob"))
    assert not await factors.enrol_key(replace(KEY, blob=b"other"))
    assert await factors.enrolled_key(KEY.blob) == KEY
    assert await factors.keys_of("alice") == [KEY]
    assert await factors.keys_of("bob") == []
    with pytest.raises(NotFound):
        await factors.remove_key("bob", KEY.blob)
    await factors.remove_key("alice", KEY.blob)
    with pytest.raises(NotFound):
        await factors.enrolled_key(KEY.blob)


async def test_a_key_that_cannot_be_read_proves_nobody(factors: SqlFactorStore, database: Database) -> None:
    """R6: a key whose restrictions are not understood is no key."""
    await factors.enrol_key(KEY)
    await database.change(text("UPDATE user_keys SET options = '[[\"from\"]]'"))
    with capture_logs() as logs:
        with pytest.raises(NotFound):
            await factors.enrolled_key(KEY.blob)
        assert await factors.keys_of("alice") == []
    assert {entry["event"] for entry in logs} == {"user_key.unreadable"}


async def test_who_has_a_device_that_cannot_be_read_does_not_pass_for_one_without(
    factors: SqlFactorStore, database: Database
) -> None:
    """Else the password alone would do. An administrator can still take it away."""
    await factors.add_device(PHONE)
    await factors.set_recovery_codes("alice", [b"a"])
    await database.change(text("UPDATE mfa_devices SET kind = 'smell'"))
    with pytest.raises(StoreError):
        await factors.devices("alice")
    assert await factors.forget_factors("alice") == 1
    assert await factors.devices("alice") == []
    assert await factors.recovery_codes_left("alice") == 0


async def test_with_the_account_goes_all_that_proved_it(factors: SqlFactorStore, database: Database) -> None:
    """The next one of that name must not inherit it."""
    users = SqlUserStore(database)
    await users.add_user(User("alice", (), None, must_change=False, created=START))
    await factors.add_device(PHONE)
    await factors.set_recovery_codes("alice", [b"a"])
    await factors.enrol_key(KEY)
    await users.remove_user("alice")
    assert await factors.devices("alice") == []
    assert await factors.recovery_codes_left("alice") == 0
    assert await factors.keys_of("alice") == []


async def test_secrets_are_stored_sealed(database: Database) -> None:
    """Each for its own row."""
    sealed = SqlFactorStore(database, KeySealing(b"k" * 32, FakeEntropy()))
    await sealed.add_device(PHONE)
    assert await sealed.devices("alice") == [PHONE]
    [row] = await database.rows(select(mfa_devices.c.secret))
    assert b"secret" not in row.secret
    await database.change(text("UPDATE mfa_devices SET id = 'd9'"))
    with pytest.raises(StoreError):
        await sealed.devices("alice")
