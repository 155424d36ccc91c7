"""What a lock is about, whom it concerns, and what it says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, Locked
from interlock.core.ids import DaemonId
from interlock.domain.identity import Identity
from interlock.domain.lease import MAX_SEMAPHORE, connections_of
from interlock.domain.lock import MAX_MESSAGE, NO_LOCKS, Lock, LockKind, LockList, Subject, check_message
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START

ALICE = Identity("alice", ("dev", "ops"), "demo", "device-1", "device-2", requests=("request-1",))
WEB = Target(DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE)
SUBJECT = replace(Subject.of(ALICE, "root", WEB), session="s1")
LOCK = Lock("l1", LockKind.USER, "alice", START)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (LockKind.USER, "alice"),
        (LockKind.ROLE, "dev"),
        (LockKind.ROLE, "ops"),
        (LockKind.LOGIN, "root"),
        (LockKind.NODE, "web1"),
        (LockKind.NODE, WEB.id),
        (LockKind.SESSION, "s1"),
        (LockKind.MFA_DEVICE, "device-1"),
        (LockKind.MFA_DEVICE, "device-2"),
        (LockKind.ACCESS_REQUEST, "request-1"),
    ],
)
def test_a_lock_concerns_what_it_names_and_nothing_else(kind: LockKind, name: str) -> None:
    """By kind and by name; a user called like a role is another thing."""
    assert replace(LOCK, kind=kind, name=name).concerns(SUBJECT)
    assert not replace(LOCK, kind=kind, name=f"{name}x").concerns(SUBJECT)
    others = [each for each in LockKind if each is not kind]
    assert not any(replace(LOCK, kind=each, name=name).concerns(SUBJECT) for each in others)


@pytest.mark.parametrize("kind", LockKind)
def test_what_is_not_known_is_concerned_by_no_lock(kind: LockKind) -> None:
    """A door knows no login yet, and an empty name is nobody's."""
    assert not replace(LOCK, kind=kind, name="").concerns(Subject())
    assert not replace(LOCK, kind=kind).concerns(Subject())


def test_a_lock_is_in_force_until_it_expires() -> None:
    """To the moment."""
    brief = replace(LOCK, expires=START + timedelta(hours=8))
    assert LOCK.in_force(START + timedelta(days=9999))
    assert brief.in_force(START + timedelta(hours=8) - timedelta(microseconds=1))
    assert not brief.in_force(START + timedelta(hours=8))
    LockList((brief,)).check(SUBJECT, now=START + timedelta(hours=8))
    with pytest.raises(Locked):
        LockList((brief,)).check(SUBJECT, now=START)


@pytest.mark.parametrize(
    ("lock", "public"),
    [
        (LOCK, "access is locked for the user alice"),
        (replace(LOCK, message="call 4711"), "access is locked: call 4711"),
        (replace(LOCK, kind=LockKind.SESSION, name="s1", message="bye"), "this session was ended: bye"),
        (replace(LOCK, kind=LockKind.SESSION, name="s1"), "this session was ended: it is locked"),
        (replace(LOCK, kind=LockKind.KEY, name="SHA256:x"), "your key was revoked: run ilsh login"),
        (replace(LOCK, kind=LockKind.CERTIFICATE, name="7"), "your certificate was revoked: run ilsh login"),
    ],
)
def test_the_person_reads_the_message_and_the_log_which_lock_it_was(lock: Lock, public: str) -> None:
    """Two texts."""
    refusal = lock.refusal()
    assert refusal.public == public
    assert refusal.reason.startswith(f"lock l1 on the {lock.kind.value} {lock.name} is in force")
    assert lock.message in refusal.reason


def test_a_stale_view_refuses_everybody_if_the_cluster_is_strict() -> None:
    """And nobody otherwise; a known lock counts either way."""
    strict = LockList(strict=True)
    strict.check(SUBJECT, now=START)
    NO_LOCKS.check(SUBJECT, now=START, stale=True)
    with pytest.raises(Denied, match="nobody can tell now") as caught:
        strict.check(SUBJECT, now=START, stale=True)
    assert not isinstance(caught.value, Locked)
    with pytest.raises(Locked):
        LockList((LOCK,)).check(SUBJECT, now=START, stale=True)


@pytest.mark.parametrize("text", ["two\nlines", "a bell\a", "\x1b]0;title\a", "x" * (MAX_MESSAGE + 1)])
def test_a_message_is_one_printable_line(text: str) -> None:
    """It reaches terminals."""
    with pytest.raises(ValueError, match="one line of at most"):
        check_message(text)
    assert check_message("geschlossen bis 8 Uhr") == "geschlossen bis 8 Uhr"


def test_connections_are_counted_per_user_and_cluster() -> None:
    """A user of another cluster is another user, whatever the names."""
    semaphores = {connections_of(Identity(user, (), cluster)) for user in ("a", "b") for cluster in ("x", "y")}
    assert len(semaphores) == 4
    assert len(connections_of(Identity("u" * 128, (), "c" * 128))) <= MAX_SEMAPHORE
