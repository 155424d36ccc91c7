"""``ilctl locks`` and ``ilctl sessions terminate``."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.system import SystemClock
from interlock.cli import admin_locks
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.local import Local, open_local
from interlock.domain.lock import Lock, LockKind
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState

Ilctl = Callable[..., Any]
SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")


def within(data: Path, work: Callable[[Local], Awaitable[Any]]) -> Any:
    """Do something with the data directory."""

    async def run() -> Any:
        async with open_local(data) as local:
            return await work(local)

    return asyncio.run(run())


def tracker(state: TrackerState = TrackerState.RUNNING) -> Tracker:
    """Of a session that is live now."""
    now = SystemClock().now()
    return Tracker(
        sid=SID,
        state=state,
        created=now,
        expires=now + TRACKER_TTL,
        user="alice",
        login="root",
        hostname="web1",
        target_id=DaemonId("node"),
        daemon_id=DaemonId("proxy"),
        cluster="interlock",
        sub_kind="openssh",
        recording_mode="proxy",
    )


@pytest.mark.parametrize("kind", ["user", "role", "login", "node"])
def test_a_lock_is_made_listed_and_removed(ilctl: Ilctl, kind: str) -> None:
    """Each step is an audit event with the administrator's account."""
    made = ilctl("locks", "add", f"--{kind}", "ops", "--message", "call 4711", "--ttl", "8h")
    assert made.code == 0
    assert f"The {kind} ops is locked until " in made.out
    [row] = ilctl("locks", "ls", "--format", "json").json()
    assert (row["kind"], row["name"], row["message"]) == (kind, "ops", "call 4711")
    assert row["created_by"] == getpass.getuser()
    assert "call 4711" in ilctl("locks", "ls").out
    gone = ilctl("locks", "rm", row["id"])
    assert (gone.code, gone.out) == (0, f"The {kind} ops is not locked any more.\n")
    assert ilctl("locks", "ls", "--format", "json").json() == []
    events = [
        each for each in ilctl("events", "ls", "--format", "json").json() if each["event"].startswith("lock.")
    ]
    assert [(each["event"], each["code"], each["name"], each["target"]) for each in events] == [
        ("lock.created", "TLK00I", row["id"], {kind: "ops"}),
        ("lock.deleted", "TLK01I", row["id"], {kind: "ops"}),
    ]
    assert {each["user"] for each in events} == {getpass.getuser()}
    assert events[0]["message"] == "call 4711"
    assert events[0]["expires"] == row["expires"]


def test_a_lock_for_a_program_is_json(ilctl: Ilctl) -> None:
    """With its ID."""
    made = ilctl("locks", "add", "--session", SID.upper(), "--format", "json").json()
    assert (made["kind"], made["name"], made["expires"]) == ("session", SID, None)
    assert ilctl("locks", "rm", made["id"]).code == 0


def test_a_lock_on_nobody_is_made_and_said(ilctl: Ilctl) -> None:
    """A mistyped name keeps nobody out; one may lock a name before there is somebody."""
    assert ilctl("users", "add", "alice").code == 0
    assert ilctl("locks", "add", "--user", "alice").err == ""
    for kind in ("user", "role"):
        done = ilctl("locks", "add", f"--{kind}", "alcie")
        assert (done.code, done.err) == (0, f"Note: no {kind} of this cluster is called alcie now.\n")


def test_a_lock_that_has_expired_is_not_listed(ilctl: Ilctl, tmp_path: Path) -> None:
    """Though it may still be stored."""
    then = SystemClock().now() - timedelta(hours=1)
    expired = Lock("l1", LockKind.USER, "alice", then, expires=then + timedelta(minutes=1))
    within(tmp_path / "data", lambda local: local.locks.add_lock(expired))
    assert ilctl("locks", "ls", "--format", "json").json() == []


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("add",), 2, "name one of --user, --role, --login, --node, --session, --mfa-device and --access-request"),
        (("add", "--user", "alice", "--role", "dev"), 2, "name one of"),
        (("add", "--user", "a b"), 2, "not a valid name"),
        (("add", "--login", "-oProxyCommand"), 2, "not a valid login"),
        (("add", "--session", "web1"), 2, "not a session ID"),
        (("add", "--mfa-device", "phone"), 2, "not the ID of a device: 'phone'; ilctl users mfa ls NAME shows it"),
        (("add", "--user", "alice", "--ttl", "soon"), 2, "not a duration"),
        (("add", "--user", "alice", "--message", "a\nb"), 2, "one line"),
        (("add", "--user", "alice", "--message", "\x1b]0;x\a"), 2, "one line"),
        (("rm", "l1"), 3, "there is no lock l1"),
    ],
)
def test_mistakes_are_one_sentence(ilctl: Ilctl, arguments: tuple[str, ...], code: int, text: str) -> None:
    """On stderr, with the documented exit code, and nothing is stored."""
    done = ilctl("locks", *arguments)
    assert done.code == code
    assert text in done.err
    assert done.err.count("\n") == 1
    assert ilctl("locks", "ls", "--format", "json").json() == []


def test_only_a_live_session_can_be_ended(ilctl: Ilctl, tmp_path: Path) -> None:
    """Whoever mistypes an ID must not believe that something has ended."""
    assert ilctl("sessions", "terminate", "web1").code == 2
    done = ilctl("sessions", "terminate", SID)
    assert (done.code, done.err) == (3, f"error: there is no live session {SID}\n")
    dead = replace(tracker(), expires=SystemClock().now() - timedelta(seconds=1))
    within(tmp_path / "data", lambda local: local.trackers.put(dead))
    assert ilctl("sessions", "terminate", SID).code == 3
    assert ilctl("locks", "ls", "--format", "json").json() == []


def test_a_session_that_does_not_end_is_no_success(
    ilctl: Ilctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gateway runs here; the lock stays, for when it does."""
    monkeypatch.setattr(admin_locks, "TERMINATION_WAIT_S", 0.4)
    within(tmp_path / "data", lambda local: local.trackers.put(tracker()))
    done = ilctl("sessions", "terminate", SID)
    assert done.code == 1
    assert "has not ended yet: is the gateway running" in done.err
    [row] = ilctl("locks", "ls", "--format", "json").json()
    assert (row["kind"], row["name"]) == ("session", SID)


def test_a_session_that_has_ended_is_seen_to(
    ilctl: Ilctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its tracker, which whoever has the session ends."""
    data = tmp_path / "data"
    within(data, lambda local: local.trackers.put(tracker()))
    original = admin_locks.add_lock_now

    async def add(local: Local, *arguments: Any) -> Lock:
        await local.trackers.put(tracker(TrackerState.TERMINATED))
        return await original(local, *arguments)

    monkeypatch.setattr(admin_locks, "add_lock_now", add)
    done = ilctl("sessions", "terminate", SID)
    assert (done.code, done.out) == (0, f"Session {SID} has ended.\n")
