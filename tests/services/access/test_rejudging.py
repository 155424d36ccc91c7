"""Who is judged again when policy has changed, who is ended, and who never is by mistake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Away, Denied, InterlockError
from interlock.core.ids import DaemonId
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Lock, LockKind, LockList, Subject
from interlock.domain.target import SubKind, Target
from interlock.services.access.locks import SETTLED_S, Locks
from interlock.services.access.rejudging import AT_ONCE, Rejudging
from interlock.testing.clock import START, FakeClock
from interlock.testing.limits import MemoryLocks

WEB = Target(DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE)
CROWD = 2000


def granted(user: str) -> Granted:
    """What somebody has come with."""
    claims = Claims(Identity(user, ("dev",), "demo"), ("root",), START, START + timedelta(hours=1), 1)
    return Granted(claims, "root", WEB)


class Judge:
    """`ports.Remaining`: ``says`` by user, a refusal or what is raised; nobody else has lost anything."""

    def __init__(self) -> None:
        self.says: dict[str, InterlockError] = {}
        self.bugs: set[str] = set()  # whom it cannot judge
        self.asked: list[str] = []
        self.now = self.most = 0

    async def taken_away(self, granted: Granted) -> Denied | None:
        user = granted.claims.identity.user
        self.asked.append(user)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if user in self.bugs:
            raise RuntimeError("a bug")
        said = self.says.get(user)
        if said is None or isinstance(said, Denied):
            return said
        raise said


class Scene:
    """A view of the locks with people."""

    def __init__(self) -> None:
        self.clock, self.feed, self.judge = FakeClock(), MemoryLocks(), Judge()
        self.locks = Locks(self.feed, clock=self.clock)
        self.rejudging = Rejudging(self.locks, self.judge)
        self.ended: dict[str, str] = {}

    def come(self, user: str, what: Granted | None = None) -> None:
        """Somebody is here from now on."""
        subject = Subject(user=user)
        self.locks.watch(subject, lambda why: self.ended.update({user: why.public}), what or granted(user))

    async def hear(self, policy: str, *locks: Lock) -> None:
        """The feed says this, and the view hears it."""
        async with aclosing(self.locks.follow_locks()) as told:
            await anext(told)
            self.feed.tell(LockList(locks, policy=policy))
            await anext(told)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """After policy was heard of, long enough ago."""
    made = Scene()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.locks.run())
        await made.hear("1")
        made.clock.advance(SETTLED_S)
        yield made
        running.cancel()


GONE = Denied("it was taken away", reason="r")


async def test_who_has_lost_what_was_granted_ends_and_nobody_else(scene: Scene) -> None:
    """Once, in the words of the judge."""
    scene.come("alice")
    scene.come("bob")
    scene.judge.says["alice"] = GONE
    await scene.hear("2")
    assert await scene.rejudging.round()
    assert scene.ended == {"alice": "it was taken away"}
    assert sorted(scene.judge.asked) == ["alice", "bob"]


async def test_nobody_is_asked_about_unless_policy_has_changed(scene: Scene) -> None:
    """A lock, a beat, an auth that does not say: none of these costs a question."""
    scene.come("alice")
    for policy, locks in (("1", [Lock("l1", LockKind.USER, "bob", START)]), ("1", []), ("", [])):
        await scene.hear(policy, *locks)
        assert await scene.rejudging.round()
    assert scene.judge.asked == []


async def test_who_came_while_policy_changed_is_asked_about_once_more(scene: Scene) -> None:
    """It cannot be told by which they were let in."""
    await scene.hear("2")
    scene.come("alice")
    await scene.rejudging.round()
    await scene.rejudging.round()
    scene.clock.advance(SETTLED_S)
    scene.come("bob")
    await scene.rejudging.round()
    assert scene.judge.asked == ["alice"]


async def test_an_answer_that_does_not_come_ends_nobody_and_is_asked_for_again(scene: Scene) -> None:
    """Auth is away for a moment; then it says that they have to go."""
    scene.come("alice")
    scene.judge.says["alice"] = Away("auth is away")
    await scene.hear("2")
    assert not await scene.rejudging.round()
    assert scene.ended == {}
    scene.judge.says["alice"] = GONE
    assert await scene.rejudging.round()
    assert scene.ended == {"alice": "it was taken away"}


async def test_a_question_that_is_refused_ends_nobody(scene: Scene) -> None:
    """A proxy that was removed may not ask, an old auth does not know the question: neither is about people."""
    scene.come("alice")
    scene.judge.says["alice"] = InterlockError("this cannot be asked")
    await scene.hear("2")
    assert await scene.rejudging.round()
    assert scene.ended == {}


async def test_who_is_watched_for_locks_alone_is_not_asked_about(scene: Scene) -> None:
    """Sessions, and whoever came to a node by a forwarder: others look after them."""
    scene.locks.watch(Subject(session="s"), lambda why: scene.ended.update(s=why.public))
    await scene.hear("2")
    await scene.rejudging.round()
    assert (scene.judge.asked, scene.ended) == ([], {})


async def test_one_that_fails_to_end_saves_nobody(scene: Scene) -> None:
    """A bug met by one connection."""

    def fail(_why: Denied) -> None:
        raise RuntimeError("a bug")

    scene.locks.watch(Subject(user="alice"), fail, granted("alice"))
    scene.come("bob")
    scene.judge.says |= {"alice": GONE, "bob": GONE}
    await scene.hear("2")
    assert await scene.rejudging.round()
    assert list(scene.ended) == ["bob"]


async def test_one_that_cannot_be_judged_keeps_nobody_and_ends_nobody(scene: Scene) -> None:
    """A bug met by one person's question: without this the daemon would stop, and everybody's sessions with it."""
    for user in ("alice", "bob"):
        scene.come(user)
    scene.judge.bugs.add("alice")
    scene.judge.says["bob"] = GONE
    await scene.hear("2")
    assert await scene.rejudging.round()
    assert list(scene.ended) == ["bob"]
    assert await scene.rejudging.round()
    assert sorted(scene.judge.asked) == ["alice", "bob"]  # the next change asks again


async def test_a_crowd_is_asked_about_a_few_at_a_time_while_others_have_their_turn(scene: Scene) -> None:
    """Auth has others to answer, and so has the event loop."""
    for number in range(CROWD):
        scene.come(f"user{number}")
    scene.judge.says["user7"] = GONE
    await scene.hear("2")
    turns = 0
    async with asyncio.TaskGroup() as tasks:
        round_ = tasks.create_task(scene.rejudging.round())
        while not round_.done():
            turns += 1
            await asyncio.sleep(0)
    assert len(scene.judge.asked) == CROWD
    assert scene.judge.most <= AT_ONCE
    assert turns >= CROWD // AT_ONCE
    assert list(scene.ended) == ["user7"]


async def test_it_goes_by_itself(scene: Scene) -> None:
    """As tenures run it: whoever is to go goes as soon as policy has changed."""
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    end: Callable[[Denied], None] = lambda why: gone.set_result(why.public)  # noqa: E731
    scene.locks.watch(Subject(user="alice"), end, replace(granted("alice")))
    scene.judge.says["alice"] = GONE
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.rejudging.run())
        await scene.hear("2")
        assert await gone == "it was taken away"
        running.cancel()
