"""Sign-in with second factors: a password alone is not enough, and guessing codes is braked like passwords."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Locked, SignInFailed
from interlock.domain.audit import Kind
from interlock.domain.identity import RECOVERY
from interlock.domain.lock import Lock, LockKind
from interlock.services.signin import brake
from interlock.services.signin.admitting import WRONG_CODE
from interlock.services.signin.factors import STEP_S
from interlock.services.signin.signin import PUBLIC, Judgement, SignInResult
from interlock.testing.clock import START
from interlock.testing.factors import Authenticator, phone_of
from interlock.testing.signin import ELSEWHERE, HERE, NEW, PASSWORD, SignInDesk

PHONE = Authenticator()
NEEDS_CODE = Judgement(SignInResult.NEEDS_CODE)
SIGNED_IN = Judgement(SignInResult.OK, "d1")
WRONG = "000000"


@pytest.fixture
async def desk() -> SignInDesk:
    """alice has a phone, bob has none."""
    made = SignInDesk()
    await made.add("alice")
    await made.add("bob")
    made.store.kept["d1"] = phone_of("alice", "d1")
    return made


def code(desk: SignInDesk) -> str:
    """What the phone shows now."""
    return PHONE.code(desk.clock.now())


async def test_who_has_a_device_is_asked_for_a_code(desk: SignInDesk) -> None:
    """Until then nothing is told; then the event names the device."""
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == NEEDS_CODE
    assert desk.sink.events == []
    assert await desk.signin.check("alice", PASSWORD, source=HERE, code=code(desk)) == SIGNED_IN
    [event] = desk.sink.events
    assert event.kind is Kind.USER_LOGIN
    assert event.fields["mfa_device"] == {
        "mfa_device_uuid": "d1", "mfa_device_name": "phone", "mfa_device_type": "totp"
    }  # fmt: skip
    assert await desk.signin.check("bob", PASSWORD, source=HERE) == Judgement(SignInResult.OK)


async def test_a_wrong_password_spends_no_code_and_a_wrong_code_reads_like_a_wrong_password(
    desk: SignInDesk,
) -> None:
    """Only the log knows which it was."""
    right = code(desk)
    failures = [
        await desk.refusal("alice", "wrong", code=right),
        await desk.refusal("alice", PASSWORD, code=WRONG),
    ]
    assert {failure.public for failure in failures} == {PUBLIC}
    assert [event.fields["error"] for event in desk.sink.events] == [
        "wrong password", "wrong code of a second factor"
    ]  # fmt: skip
    assert await desk.signin.check("alice", PASSWORD, source=HERE, code=right) == SIGNED_IN
    assert (await desk.refusal("alice", PASSWORD, code=right)).public == PUBLIC  # seen before


async def test_a_recovery_code_signs_in(desk: SignInDesk) -> None:
    """And stands for the device."""
    [first, *_] = await desk.factors.new_recovery_codes("alice")
    judged = await desk.signin.check("alice", PASSWORD, source=HERE, code=first)
    assert judged == Judgement(SignInResult.OK, RECOVERY)


async def test_codes_cannot_be_guessed_at_with_the_right_password_in_between(desk: SignInDesk) -> None:
    """The first half is no success: the brake goes on counting."""
    for _ in range(brake.FREE_FAILURES):
        assert await desk.signin.check("alice", PASSWORD, source=HERE) == NEEDS_CODE
        await desk.refusal("alice", PASSWORD, code=WRONG)
    await desk.refusal("alice", PASSWORD, code=code(desk))
    assert desk.sink.events[-1].fields["error"] == "too many failures, the brake is on"
    assert await desk.signin.check("bob", PASSWORD, source=HERE) == Judgement(SignInResult.OK)


async def test_who_has_mistyped_often_gets_in_after_the_pause_however_slowly_the_code_is_typed(
    desk: SignInDesk,
) -> None:
    """The password's half of an attempt must not begin the next pause."""
    for _ in range(12):
        desk.clock.advance(brake.MAX_DELAY_S)
        await desk.refusal("alice", "wrong")
    desk.clock.advance(brake.MAX_DELAY_S)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == NEEDS_CODE
    desk.clock.advance(10)
    assert await desk.signin.check("alice", PASSWORD, source=HERE, code=code(desk)) == SIGNED_IN


async def test_with_a_stolen_password_codes_cannot_be_guessed_from_a_thousand_places(desk: SignInDesk) -> None:
    """All guesses from where nobody knows the user count together; the user at home is spared."""
    assert await desk.signin.check("alice", PASSWORD, source=HERE, code=code(desk)) == SIGNED_IN
    desk.sink.events.clear()
    for number in range(100):
        await desk.refusal("alice", PASSWORD, source=f"198.51.100.{number}:1", code=WRONG)
    judged = [event.fields["error"] == "wrong code of a second factor" for event in desk.sink.events]
    assert judged == [True] * brake.FREE_FAILURES + [False] * (100 - brake.FREE_FAILURES)
    desk.clock.advance(STEP_S)
    assert await desk.signin.check("alice", PASSWORD, source=HERE, code=code(desk)) == SIGNED_IN


@pytest.mark.parametrize("wrong", [True, False])
async def test_a_one_time_password_is_changed_only_with_the_code(desk: SignInDesk, *, wrong: bool) -> None:
    """It leads to the new password first, and to the code last; guesses at it are braked all the same."""
    desk.users.kept["alice"] = replace(desk.users.kept["alice"], must_change=True)
    must_change = Judgement(SignInResult.MUST_CHANGE, careful=True)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == must_change
    assert await desk.signin.change("alice", PASSWORD, NEW, source=HERE) == NEEDS_CODE
    if not wrong:
        assert await desk.signin.change("alice", PASSWORD, NEW, source=HERE, code=code(desk)) == SIGNED_IN
        return
    for _ in range(brake.FREE_FAILURES):
        assert await desk.signin.check("alice", PASSWORD, source=HERE) == must_change
        with pytest.raises(SignInFailed):
            await desk.signin.change("alice", PASSWORD, NEW, source=HERE, code=WRONG)
    await desk.refusal("alice", PASSWORD)
    assert desk.users.kept["alice"].must_change


async def test_a_locked_device_signs_nobody_in(desk: SignInDesk) -> None:
    """The person has proved who he is, and may know."""
    desk.locks.stored = [Lock("l1", LockKind.MFA_DEVICE, "d1", START, "it was lost")]
    with pytest.raises(Locked, match="it was lost"):
        await desk.signin.check("alice", PASSWORD, source=HERE, code=code(desk))


async def test_whose_key_was_right_confirms_by_a_code(desk: SignInDesk) -> None:
    """With an event of its own either way."""
    assert (await desk.signin.confirm("alice", code(desk), source=HERE)).device == "d1"
    with pytest.raises(SignInFailed, match=WRONG_CODE[:20]):
        await desk.signin.confirm("alice", code(desk), source=HERE)
    assert [event.kind for event in desk.sink.events] == [Kind.MFA_CONFIRM, Kind.MFA_CONFIRM_FAILURE]
    assert desk.sink.events[0].fields["mfa_device"]


async def test_confirming_is_braked_too_and_for_nobody_else(desk: SignInDesk) -> None:
    """Whoever has stolen a key does not get at the code."""
    for _ in range(brake.FREE_FAILURES + 1):
        with pytest.raises(SignInFailed):
            await desk.signin.confirm("alice", WRONG, source=ELSEWHERE)
    with pytest.raises(SignInFailed):
        await desk.signin.confirm("alice", code(desk), source=ELSEWHERE)
    desk.clock.advance(timedelta(days=1).total_seconds())
    assert (await desk.signin.confirm("alice", code(desk), source=ELSEWHERE)).device == "d1"


async def test_a_locked_device_confirms_nothing(desk: SignInDesk) -> None:
    """A lock on another device is another's."""
    desk.locks.stored = [Lock("l1", LockKind.MFA_DEVICE, "d2", START)]
    assert (await desk.signin.confirm("alice", code(desk), source=HERE)).device == "d1"
    desk.locks.stored = [Lock("l1", LockKind.MFA_DEVICE, "d1", START)]
    desk.clock.advance(STEP_S)
    with pytest.raises(Locked):
        await desk.signin.confirm("alice", code(desk), source=HERE)
