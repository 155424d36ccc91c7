"""What auth said counts while no auth answers: as long as policy says, and never against a word of auth's own."""

from datetime import timedelta

import pytest

from interlock.core.errors import Away, Denied, Locked, NotFound, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.access import Access
from interlock.domain.audit import Kind
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import MAX_OFFLINE_S, Lock, LockKind, LockList, Subject
from interlock.domain.target import SubKind, Target
from interlock.services.access.locks import STALE_S, Locks
from interlock.services.access.offline import Answers, OfflineAdmission, telling
from interlock.services.audit.emitter import EventFactory
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import FakeView, MemoryLocks
from interlock.testing.node import FakeSink

NODE = Target(DaemonId("n1"), "web1", "10.0.0.5", 22, SubKind.NODE)
ALICE = Subject(user="alice", roles=("access",), login="root", nodes=("web1", "n1"), cluster="demo")
AWAY = Away("auth cannot be reached")


class Auth:
    """Answers, or fails as it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0

    async def __call__(self) -> str:
        """A question."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return f"answer {self.asked}"

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """`ports.Admission`."""
        del claims, login, target
        await self()
        return Access(max_sessions=self.asked)


class Scene:
    """A daemon that asks."""

    def __init__(self, *, offline_s: int) -> None:
        self.clock = FakeClock()
        self.view = FakeView(offline_s=offline_s)
        self.auth = Auth()
        self.answers: Answers[str, str] = Answers(self.view, clock=self.clock, told=self.view.told)

    async def ask(self, key: str = "k") -> str:
        """One question."""
        return await self.answers.ask(key, ALICE, self.auth)


async def test_nothing_counts_where_policy_says_nothing() -> None:
    """As is the default."""
    scene = Scene(offline_s=0)
    await scene.ask()
    scene.auth.error = AWAY
    with pytest.raises(Away):
        await scene.ask()


@pytest.mark.parametrize(
    ("then", "now", "lasts"), [(60, 60, 60), (60, 20, 20), (20, 60, 20), (10**9, 10**9, MAX_OFFLINE_S)]
)
async def test_the_shorter_of_then_and_now_counts(then: int, now: int, lasts: int) -> None:
    """An answer is worth no more than policy allowed when it was given, nor than it allows now."""
    scene = Scene(offline_s=then)
    await scene.ask()
    scene.view.offline_s = now
    scene.auth.error = AWAY
    scene.clock.advance(lasts - 1)
    assert await scene.ask() == "answer 1"
    assert scene.view.judged == [(ALICE, START)]
    scene.clock.advance(1)
    with pytest.raises(Away):
        await scene.ask()


async def test_an_auth_that_is_back_is_asked_and_its_answer_counts_anew() -> None:
    """At the next question."""
    scene = Scene(offline_s=60)
    await scene.ask()
    scene.clock.advance(50)
    scene.auth.error = AWAY
    assert await scene.ask() == "answer 1"
    scene.auth.error = None
    assert await scene.ask() == "answer 3"
    scene.auth.error = AWAY
    scene.clock.advance(50)
    assert await scene.ask() == "answer 3"


async def test_an_answer_is_used_again_unless_it_would_count_for_longer_now() -> None:
    """Else what was asked just before policy changed could not be known without auth."""
    scene = Scene(offline_s=0)
    answers: Answers[str, str] = Answers(scene.view, clock=scene.clock, fresh_s=2.0)
    for _ in range(2):
        assert await answers.ask("k", ALICE, scene.auth) == "answer 1"
    scene.view.offline_s = 60
    for _ in range(2):
        assert await answers.ask("k", ALICE, scene.auth) == "answer 2"
    scene.clock.advance(2)
    assert await answers.ask("k", ALICE, scene.auth) == "answer 3"


async def test_what_auth_cannot_say_lets_nobody_in_and_takes_nothing_back() -> None:
    """It may be stopping, or its database be away, before it falls silent."""
    scene = Scene(offline_s=60)
    await scene.ask()
    scene.auth.error = StoreError("the database is away")
    with pytest.raises(StoreError, match="the database is away"):
        await scene.ask()
    scene.auth.error = AWAY
    assert await scene.ask() == "answer 1"


@pytest.mark.parametrize("error", [Denied("no"), Locked("locked"), NotFound("who?")])
async def test_what_auth_refuses_is_forgotten(error: Exception) -> None:
    """Whatever it said before."""
    scene = Scene(offline_s=60)
    await scene.ask()
    scene.auth.error = error
    with pytest.raises(type(error)):
        await scene.ask()
    scene.auth.error = AWAY
    with pytest.raises(Away):
        await scene.ask()


async def test_locks_that_are_known_count_and_a_strict_cluster_wants_to_know_all() -> None:
    """By the daemon's own view, which is stale soon after auth is gone."""
    clock, feed, auth = FakeClock(), MemoryLocks(), Auth()
    locks = Locks(feed, clock=clock)
    answers: Answers[str, str] = Answers(locks, clock=clock)
    locks._hear(LockList(offline_s=3600))
    await answers.ask("k", ALICE, auth)
    auth.error = AWAY
    clock.advance(STALE_S + 1)
    assert await answers.ask("k", ALICE, auth) == "answer 1"
    locks._hear(LockList(strict=True, offline_s=3600))
    assert await answers.ask("k", ALICE, auth) == "answer 1"
    clock.advance(STALE_S + 1)
    with pytest.raises(Denied, match="nobody can tell now"):
        await answers.ask("k", ALICE, auth)
    locks._hear(LockList((Lock("l1", LockKind.NODE, "web1", START),), offline_s=3600))
    with pytest.raises(Locked):
        await answers.ask("k", ALICE, auth)


async def test_a_node_goes_by_what_auth_said_of_the_certificate_and_the_login() -> None:
    """And tells when it does."""
    clock, auth, sink = FakeClock(), Auth(), FakeSink()
    factory = EventFactory(cluster="demo", clock=clock, entropy=FakeEntropy())
    view = FakeView(offline_s=60)
    told = telling(sink, factory, NODE.id)
    admission = OfflineAdmission(auth, view, lambda: NODE, clock=clock, told=told)
    claims = [
        Claims(Identity("alice", ("access",), "demo"), ("root",), START, START + timedelta(hours=1), serial)
        for serial in (1, 2)
    ]
    await admission.admit(claims[0], "root", NODE.id)
    auth.error = AWAY
    assert (await admission.admit(claims[0], "root", NODE.id)).max_sessions == 1
    for who, login in ((claims[1], "root"), (claims[0], "bob")):
        with pytest.raises(Away):
            await admission.admit(who, login, NODE.id)
    (event,) = sink.events
    assert event.kind is Kind.OFFLINE_ACCESS
    assert event.fields == {
        "user": "alice",
        "user_cluster_name": "demo",
        "login": "root",
        "server_id": "n1",
        "server_hostname": "web1",
        "answered": "2026-01-10T22:23:57.642Z",
        "recorded_by": "n1",
    }
