"""People change what proves them only right after they have signed in, with all that they have."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core import portal as wire
from interlock.core.errors import Denied
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.audit import Kind
from interlock.domain.identity import RECOVERY
from interlock.domain.rbac import Role
from interlock.services.access.caller import SIGN_WINDOW, Caller
from interlock.services.signin.factors import RECOVERY_CODES
from interlock.services.signin.selfservice import SelfService
from interlock.testing.clock import START
from interlock.testing.factors import SECRET, Authenticator, phone_of, self_service
from interlock.testing.portal import certified, signed_in
from interlock.testing.signin import SignInDesk

CODE = Authenticator().code(START)
ADD = wire.AddTotp("app", SECRET.lower(), CODE)
WITH_PHONE = replace(signed_in(), device="d1")


@pytest.fixture
def desk() -> SignInDesk:
    """Nobody has anything yet."""
    return SignInDesk()


@pytest.fixture
def service(desk: SignInDesk) -> SelfService:
    """What answers."""
    return self_service(desk.factors, desk.store, desk.sink, desk.clock)


async def test_the_first_device_brings_recovery_codes(desk: SignInDesk, service: SelfService) -> None:
    """The second one does not void them."""
    added = await service.answer(signed_in(), ADD)
    assert isinstance(added, wire.DeviceAdded)
    assert len(added.recovery_codes) == RECOVERY_CODES
    again = await service.answer(replace(signed_in(), device=added.id), replace_name(ADD, "other"))
    assert isinstance(again, wire.DeviceAdded)
    assert again.recovery_codes == []
    told = await service.answer(certified(), wire.Devices())
    assert isinstance(told, wire.DeviceList)
    assert [(each.name, each.kind, each.used) for each in told.devices] == [
        ("app", "totp", None), ("other", "totp", None)
    ]  # fmt: skip
    assert told.recovery_codes == RECOVERY_CODES
    assert await desk.factors.prove("alice", added.recovery_codes[0], source="") is not None


def replace_name(request: wire.AddTotp, name: str) -> wire.AddTotp:
    """The same under another name."""
    return wire.AddTotp(name, request.secret, request.code)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKrA4Yz3dXnFPfyTxM3Uu7GWkpLh1bZrzmq8cCHWjAh laptop"
CHANGES = (ADD, wire.RemoveDevice("phone"), wire.NewRecoveryCodes(), wire.AddKey(KEY), wire.RemoveKey("laptop"))


@pytest.mark.parametrize("request_", CHANGES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("caller", "text"),
    [
        (certified(), "sign in again"),
        (replace(WITH_PHONE, since=START - SIGN_WINDOW - timedelta(seconds=1)), "sign in again"),
        (signed_in(), "with your second factor"),
    ],
    ids=["certificate", "long ago", "without it"],
)
async def test_nothing_is_changed_for_whoever_has_not_just_signed_in_with_everything(
    desk: SignInDesk, service: SelfService, caller: Caller, text: str, request_: wire.OfOneself
) -> None:
    """A stolen key, a connection left open, a stolen password: each alone is not enough."""
    desk.store.kept["d1"] = phone_of("alice", "d1")
    with pytest.raises(Denied, match=text):
        await service.answer(caller, request_)
    assert list(desk.store.kept) == ["d1"]
    assert desk.store.codes == {}


async def test_a_stolen_key_adds_no_first_device_either(desk: SignInDesk, service: SelfService) -> None:
    """It would be the second factor of its thief."""
    with pytest.raises(Denied, match="sign in again"):
        await service.answer(certified(), ADD)
    assert desk.store.kept == {}


async def test_whoever_has_just_signed_in_with_everything_may(desk: SignInDesk, service: SelfService) -> None:
    """New codes, and away with the phone."""
    desk.store.kept["d1"] = phone_of("alice", "d1")
    made = await service.answer(WITH_PHONE, wire.NewRecoveryCodes())
    assert isinstance(made, wire.RecoveryCodes)
    assert len(made.codes) == RECOVERY_CODES
    assert await service.answer(WITH_PHONE, wire.RemoveDevice("phone")) == wire.Done(
        "phone does not count any more."
    )
    assert desk.store.kept == {}


async def test_recovery_codes_without_anything_that_they_stand_in_for_are_refused(
    desk: SignInDesk, service: SelfService
) -> None:
    """Nobody would ask for one. What to do first is said."""
    with pytest.raises(Denied, match="ilsh mfa add"):
        await service.answer(signed_in(), wire.NewRecoveryCodes())
    assert desk.store.codes == {}


async def test_a_secret_that_is_none_is_refused(service: SelfService) -> None:
    """In words."""
    with pytest.raises(Denied, match="base32"):
        await service.answer(signed_in(), wire.AddTotp("app", "not base32!", CODE))


async def test_keys_are_enrolled_listed_and_removed(desk: SignInDesk, service: SelfService) -> None:
    """Each change is told, with the fingerprint."""
    line = f'from="10.0.0.0/8" {KEY}'
    assert await service.answer(signed_in(), wire.AddKey(line)) == wire.Done(
        "laptop counts without a certificate from now on."
    )
    listed = await service.answer(certified(), wire.Keys())
    assert isinstance(listed, wire.KeyList)
    [key] = listed.keys
    assert (key.name, key.options, key.expires) == ("laptop", ["from=10.0.0.0/8"], None)
    await service.answer(signed_in(), wire.RemoveKey(key.fingerprint))
    assert desk.store.keys == {}
    assert [(event.kind, event.fields["fingerprint"]) for event in desk.sink.events] == [
        (Kind.KEY_ENROL, key.fingerprint), (Kind.KEY_REMOVE, key.fingerprint)
    ]  # fmt: skip


async def test_whoever_signs_in_is_told_what_to_do_about_it(desk: SignInDesk, service: SelfService) -> None:
    """Codes run out; and who has no device and needs one learns it before a node refuses."""
    asking = [Role("dev", options=RoleOptions(second_factor=SecondFactor.SIGN_IN))]
    assert await service.notice(signed_in(), []) == ""
    assert "run ilsh mfa add" in await service.notice(signed_in(), asking)
    desk.store.kept["d1"] = phone_of("alice", "d1")
    assert await service.notice(WITH_PHONE, asking) == ""
    await desk.factors.new_recovery_codes("alice")
    told = await service.notice(replace(signed_in(), device=RECOVERY), asking)
    assert told == "You used a recovery code; 10 are left. New ones: ilsh mfa recovery-codes"
