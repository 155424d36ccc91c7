"""Codes of authenticators and recovery codes: each counts once, for its owner, and all changes are told."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pyotp import TOTP

from interlock.core.errors import Denied, NotFound
from interlock.domain.audit import Kind
from interlock.domain.factor import Totp
from interlock.domain.identity import RECOVERY
from interlock.services.signin.factors import MAX_DEVICES, RECOVERY_CODES, STEP_S, Factors, matching_step
from interlock.testing.clock import START
from interlock.testing.factors import SECRET, SECRET_BYTES, Authenticator, phone_of
from interlock.testing.signin import HERE, SignInDesk

PHONE, STEP = Authenticator(), timedelta(seconds=STEP_S)


@pytest.fixture
def desk() -> SignInDesk:
    """Where alice has a phone."""
    made = SignInDesk()
    made.store.kept["phone"] = phone_of("alice", "phone")
    return made


@pytest.fixture
def factors(desk: SignInDesk) -> Factors:
    """What judges."""
    return desk.factors


@pytest.mark.parametrize("seconds", [59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000])
def test_codes_are_those_of_the_standard(seconds: int) -> None:
    """RFC 6238, appendix B: the moments of its table; the other implementation is pyotp's clock."""
    now = START.fromtimestamp(seconds, START.tzinfo)
    assert matching_step(Totp(SECRET_BYTES), TOTP(SECRET).at(seconds), now) == seconds // STEP_S


async def test_a_code_counts_once_and_no_older_one_after_it(factors: Factors) -> None:
    """RFC 6238 §5.2: not even within its 30 seconds."""
    before, code = PHONE.code(START - STEP), PHONE.code(START)
    proven = await factors.prove("alice", f"{code[:3]} {code[3:]}", source=HERE)
    assert proven is not None
    assert proven.facts == {"mfa_device_uuid": "phone", "mfa_device_name": "phone", "mfa_device_type": "totp"}
    assert await factors.prove("alice", code, source=HERE) is None
    assert await factors.prove("alice", before, source=HERE) is None
    assert await factors.prove("alice", PHONE.code(START + STEP), source=HERE) is not None


@pytest.mark.parametrize(("early", "right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_a_clock_may_be_wrong_by_one_step(factors: Factors, early: int, right: bool) -> None:
    """In either direction, and no more."""
    proven = await factors.prove("alice", PHONE.code(START + early * STEP), source=HERE)
    assert (proven is not None) is right


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "\u0661" * 6, "0" * 5000])
async def test_what_is_no_code_proves_nothing(factors: Factors, code: str) -> None:
    """Arabic digits are digits to Python."""
    assert await factors.prove("alice", code, source=HERE) is None


async def test_codes_of_others_prove_nothing(factors: Factors) -> None:
    """Bob has no phone."""
    assert await factors.prove("bob", PHONE.code(START), source=HERE) is None


async def test_a_recovery_code_counts_once_and_a_new_set_voids_the_old_one(
    desk: SignInDesk, factors: Factors
) -> None:
    """However it is typed. Only digests are kept; each use is told, with how many are left."""
    codes = await factors.new_recovery_codes("alice", source=HERE)
    assert len(set(codes)) == RECOVERY_CODES
    assert not any(code.encode() in digest for code in codes for digest in desk.store.codes["alice"])
    assert await factors.prove("bob", codes[0], source=HERE) is None
    proven = await factors.prove("alice", f" {codes[0].upper().replace('-', ' ')}", source=HERE)
    assert proven is not None
    assert proven.device == RECOVERY
    assert await factors.prove("alice", codes[0], source=HERE) is None
    assert await factors.recovery_codes_left("alice") == RECOVERY_CODES - 1
    await factors.new_recovery_codes("alice", source=HERE)
    assert await factors.prove("alice", codes[1], source=HERE) is None
    used = [event for event in desk.sink.events if event.kind is Kind.RECOVERY_CODE_USED]
    assert [dict(event.fields) for event in used] == [
        {"user": "alice", "success": True, "addr.remote": HERE, "recovery_codes_left": RECOVERY_CODES - 1}
    ]
    assert sum(event.kind is Kind.RECOVERY_CODE_FAILURE for event in desk.sink.events) == 3


async def test_an_authenticator_is_added_by_a_code_that_then_is_spent(desk: SignInDesk, factors: Factors) -> None:
    """And is told, with name and ID and without the secret."""
    device = await factors.add_totp("bob", "phone", SECRET_BYTES, PHONE.code(START), source=HERE)
    assert await factors.prove("bob", PHONE.code(START), source=HERE) is None
    assert await factors.prove("bob", PHONE.code(START + STEP), source=HERE) is not None
    [event] = desk.sink.events
    assert event.kind is Kind.MFA_ADD
    assert dict(event.fields) == {
        "user": "bob", "mfa_device_name": "phone", "mfa_device_uuid": device.id, "mfa_device_type": "totp",
        "addr.remote": HERE,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "secret", "code", "text"),
    [
        ("phone", SECRET_BYTES, None, "called phone already"),
        ("other", SECRET_BYTES, "000000", "not the code"),
        ("other", b"short", None, "bytes"),
        ("", SECRET_BYTES, None, "printable"),
        ("a\x1bb", SECRET_BYTES, None, "printable"),
        ("x" * 65, SECRET_BYTES, None, "printable"),
    ],
)
async def test_devices_that_will_not_do_are_not_added(
    desk: SignInDesk, factors: Factors, name: str, secret: bytes, code: str | None, text: str
) -> None:
    """The text says what is wrong."""
    with pytest.raises(Denied, match=text):
        await factors.add_totp("alice", name, secret, code or PHONE.code(START), source=HERE)
    assert list(desk.store.kept) == ["phone"]


async def test_nobody_has_any_number_of_devices(desk: SignInDesk, factors: Factors) -> None:
    """Each makes guessing easier."""
    for number in range(MAX_DEVICES - 1):
        desk.store.kept[f"d{number}"] = phone_of("alice", f"d{number}")
    with pytest.raises(Denied, match="remove one"):
        await factors.add_totp("alice", "another", SECRET_BYTES, PHONE.code(START), source=HERE)


async def test_devices_are_removed_by_name_or_id_by_their_owner(desk: SignInDesk, factors: Factors) -> None:
    """Which is told."""
    desk.store.kept["other"] = replace(phone_of("alice", "other"), name="other")
    with pytest.raises(NotFound):
        await factors.remove("bob", "phone", source=HERE)
    await factors.remove("alice", "phone", source=HERE)
    await factors.remove("alice", "other", source=HERE)
    assert await factors.of("alice") == []
    assert [event.kind for event in desk.sink.events] == [Kind.MFA_DELETE] * 2
    assert [event.fields["mfa_device_uuid"] for event in desk.sink.events] == ["phone", "other"]
