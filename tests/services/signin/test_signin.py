"""Passwords are judged alike whatever is wrong, and guessing gets slower for the guesser alone."""

import asyncio
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from interlock.core.errors import Denied, Locked, SignInFailed
from interlock.domain.audit import Kind
from interlock.domain.lock import Lock, LockKind
from interlock.ports import User
from interlock.services.signin import brake, signin
from interlock.services.signin.signin import PUBLIC, Judgement, Passwords, SignInResult, one_time_password
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.signin import ELSEWHERE, HERE, NEW, PASSWORD
from interlock.testing.signin import SignInDesk as Desk

SIGNED_IN = Judgement(SignInResult.OK)


@pytest.fixture
async def desk() -> Desk:
    """With one user, alice."""
    made = Desk()
    await made.add("alice")
    return made


async def test_the_right_password_signs_in(desk: Desk) -> None:
    """And is an audit event with user, method and address."""
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN
    [event] = desk.sink.events
    assert event.kind is Kind.USER_LOGIN
    assert dict(event.fields) == {"user": "alice", "method": "local", "success": True, "addr.remote": HERE}


async def test_every_failure_looks_the_same(desk: Desk) -> None:
    """Wrong password, unknown user, impossible name, no password, too long: one text; the log knows why."""
    await desk.users.add_user(User("keyonly", (), None, must_change=False, created=START))
    tries = [("alice", "wrong"), ("ghost", "wrong"), ("a,b\x1b", "wrong"), ("keyonly", ""), ("alice", "x" * 5000)]
    failures = [await desk.refusal(user, password) for user, password in tries]
    assert {failure.public for failure in failures} == {signin.PUBLIC}
    assert {event.kind for event in desk.sink.events} == {Kind.USER_LOGIN_FAILURE}
    errors = [event.fields["error"] for event in desk.sink.events]
    assert errors == [
        "wrong password",
        "unknown user",
        "unknown user",
        "the account has no password",
        "wrong password",
    ]


async def test_an_unknown_user_costs_a_whole_verification(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work shows nobody who exists: one hash is verified in each case."""
    verified: list[str] = []
    real = PasswordHasher.verify

    def counting(self: PasswordHasher, stored: str, password: str) -> bool:
        verified.append(stored)
        return real(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    for user, password in (("alice", "wrong"), ("ghost", "wrong"), ("ghost", "nobody has this password")):
        await desk.refusal(user, password)
    assert len(verified) == 3
    assert all(stored.startswith("$argon2id$v=19$m=64,t=1,p=1$") for stored in verified)


async def test_passwords_cost_what_rfc_9106_recommends() -> None:
    """Its second choice; in tests they cost less."""
    assert (await Passwords().hash(PASSWORD)).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_a_one_time_password_must_be_changed_first(desk: Desk) -> None:
    """It is no sign-in yet; the change is, and the old password ends with it."""
    await desk.add("bob", must_change=True)
    assert await desk.signin.check("bob", PASSWORD, source=HERE) == Judgement(SignInResult.MUST_CHANGE)
    assert desk.sink.events == []
    await desk.signin.change("bob", PASSWORD, NEW, source=HERE)
    assert [event.kind for event in desk.sink.events] == [Kind.USER_LOGIN]
    assert await desk.signin.check("bob", NEW, source=HERE) == SIGNED_IN
    await desk.refusal("bob", PASSWORD)


@pytest.mark.parametrize("new", ["short", PASSWORD, "x" * 1025, ""])
async def test_a_bad_new_password_changes_nothing(desk: Desk, new: str) -> None:
    """Too short, the same, absurdly long: the person may try again at once."""
    with pytest.raises(Denied, match="new password"):
        await desk.signin.change("alice", PASSWORD, new, source=HERE)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN


async def test_a_change_needs_the_old_password(desk: Desk) -> None:
    """Being asked for a new one proves nothing."""
    with pytest.raises(SignInFailed):
        await desk.signin.change("alice", "wrong", NEW, source=HERE)
    await desk.refusal("alice", NEW)


async def test_the_same_characters_typed_differently_are_the_same_password(desk: Desk) -> None:
    """RFC 8265: composed and decomposed accents."""
    await desk.signin.change("alice", PASSWORD, "caf\u00e9 caf\u00e9 caf\u00e9", source=HERE)
    decomposed = "cafe\u0301 cafe\u0301 cafe\u0301"
    assert await desk.signin.check("alice", decomposed, source=HERE) == SIGNED_IN


async def test_the_brake_slows_the_guesser_and_nobody_else(desk: Desk) -> None:
    """After five failures even the right password waits, from there; from elsewhere it works; a minute heals."""
    for _ in range(brake.FREE_FAILURES):
        assert "wrong password" in (await desk.refusal("alice", "wrong")).reason
    braked = await desk.refusal("alice", PASSWORD, HERE.replace("5000", "6000"))
    assert (braked.public, "brake" in braked.reason) == (signin.PUBLIC, True)
    assert await desk.signin.check("alice", PASSWORD, source=ELSEWHERE) == SIGNED_IN
    desk.clock.advance(brake.MAX_DELAY_S)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN
    await desk.refusal("alice", "wrong")
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN


async def test_pauses_double_up_to_a_minute(desk: Desk) -> None:
    """1, 2, 4 … 60 seconds, by the monotonic clock: setting the wall clock helps nobody."""
    for _ in range(brake.FREE_FAILURES):
        await desk.refusal("alice", "wrong")
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        desk.clock.advance(pause - 0.1)
        desk.clock.step_wall(timedelta(hours=1))
        assert "brake" in (await desk.refusal("alice", "wrong")).reason
        desk.clock.advance(0.2)
        assert "wrong password" in (await desk.refusal("alice", "wrong")).reason


async def test_guesses_at_the_same_time_are_counted_before_they_are_judged(desk: Desk) -> None:
    """Fifty connections at once are not fifty free guesses."""
    async with asyncio.TaskGroup() as tasks:
        refusals = [tasks.create_task(desk.refusal("alice", "wrong")) for _ in range(50)]
    judged = [task.result() for task in refusals if "wrong password" in task.result().reason]
    assert len(judged) == brake.FREE_FAILURES


async def test_an_ipv6_network_counts_as_one_guesser(desk: Desk) -> None:
    """One machine has 2**64 addresses to guess from."""
    for number in range(brake.FREE_FAILURES):
        await desk.refusal("alice", "wrong", f"[2001:db8::{number}]:22")
    assert "brake" in (await desk.refusal("alice", PASSWORD, "2001:db8::ffff")).reason
    assert await desk.signin.check("alice", PASSWORD, source="2001:db8:0:1::1") == SIGNED_IN


async def test_a_source_has_an_allowance_whoever_it_claims_to_be(desk: Desk) -> None:
    """Guesses at ever new names end; from elsewhere, and for who has signed in from there, nothing changes."""
    await desk.add("bob")
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN
    for number in range(brake.SOURCE_FAILURES):
        assert "unknown user" in (await desk.refusal(f"user{number}", "wrong")).reason
    braked = await desk.refusal("bob", PASSWORD)
    assert (braked.public, "brake" in braked.reason) == (signin.PUBLIC, True)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN
    assert await desk.signin.check("bob", PASSWORD, source=ELSEWHERE) == SIGNED_IN
    desk.clock.advance(brake.SOURCE_PAUSE_S)
    assert await desk.signin.check("bob", PASSWORD, source=HERE) == SIGNED_IN


async def test_a_crowd_at_the_door_is_turned_away_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what may wait an attempt fails with the usual text at once, and others still get their turn."""
    monkeypatch.setattr(desk.signin, "_turns", brake.Turns(parallel=1, waiting=4))
    async with asyncio.TaskGroup() as tasks:
        crowd = [tasks.create_task(desk.refusal(f"user{number}", "wrong")) for number in range(20)]
        await asyncio.sleep(0)
        person = tasks.create_task(desk.signin.check("alice", PASSWORD, source=ELSEWHERE))
    assert person.result() == SIGNED_IN
    refusals = [task.result() for task in crowd]
    assert {refusal.public for refusal in refusals} == {signin.PUBLIC}
    assert sum("unknown user" in refusal.reason for refusal in refusals) == 4
    assert sum("too many attempts wait" in refusal.reason for refusal in refusals) == 16


async def test_an_outdated_hash_is_renewed_at_sign_in(desk: Desk) -> None:
    """When the parameters grow, so do the stored hashes, one sign-in at a time."""
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await desk.users.set_password("alice", old, must_change=False)
    assert await desk.signin.check("alice", PASSWORD, source=HERE) == SIGNED_IN
    renewed = (await desk.users.user("alice")).password_hash
    assert renewed is not None
    assert "m=64" in renewed


async def test_a_damaged_hash_is_a_wrong_password(desk: Desk) -> None:
    """Not a crash, and not a way in."""
    await desk.users.set_password("alice", "$argon2id$nonsense", must_change=False)
    await desk.refusal("alice", PASSWORD)


def test_one_time_passwords_are_long_readable_and_different() -> None:
    """Four groups of five, lower case letters and digits: 100 bits."""
    entropy = FakeEntropy()
    first, second = one_time_password(entropy), one_time_password(entropy)
    assert first != second
    assert [len(group) for group in first.split("-")] == [5, 5, 5, 5]
    assert first.replace("-", "").isalnum()
    assert first == first.lower()


async def test_a_locked_user_learns_of_the_lock_by_the_right_password_only(desk: Desk) -> None:
    """A stranger must not learn who is locked out, nor that the name exists."""
    await desk.locks.add_lock(Lock("l1", LockKind.USER, "alice", START, "call 4711"))
    assert (await desk.refusal("alice", "wrong")).public == PUBLIC
    with pytest.raises(Locked, match="access is locked: call 4711"):
        await desk.signin.check("alice", PASSWORD, source=HERE)
    event = desk.sink.events[-1]
    assert (event.kind, event.fields["success"]) == (Kind.USER_LOGIN_FAILURE, False)
    assert event.fields["message"] == "access is locked: call 4711"
    assert str(event.fields["error"]).startswith("lock l1 on the user alice is in force")


async def test_a_locked_user_sets_no_new_password(desk: Desk) -> None:
    """The one-time password stays what it was."""
    await desk.add("bob", must_change=True)
    before = await desk.users.user("bob")
    await desk.locks.add_lock(Lock("l1", LockKind.USER, "bob", START))
    with pytest.raises(Locked):
        await desk.signin.check("bob", PASSWORD, source=HERE)
    with pytest.raises(Locked):
        await desk.signin.change("bob", PASSWORD, "another horse battery staple", source=HERE)
    assert await desk.users.user("bob") == before
