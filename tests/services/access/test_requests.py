"""People ask for roles and decide on others' requests; what is taken back ends at once."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, NotFound
from interlock.domain.access import RoleOptions
from interlock.domain.audit import Kind
from interlock.domain.lock import Lock, LockKind
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest, RequestState
from interlock.services.access.requests import MAX_TAKEN_BACK, Requests
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import MAX_USER_TTL
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLocks
from interlock.testing.requests import MemoryRequests

DBA = Role("dba", ("postgres",), {"tier": "db"}, RoleOptions(max_request_ttl=7200))
HIDDEN = Role("hidden", ("root",), {"*": "*"})
DEV = [Role("dev", ("www",), {"*": "*"}, RoleOptions(request_roles=("dba", "ghost")))]
LEAD = [Role("lead", options=RoleOptions(review_roles=("dba",)))]


class Desk:
    """The service, and what it changed."""

    def __init__(self) -> None:
        self.clock, self.locks, self.store = FakeClock(), MemoryLocks(), MemoryRequests()
        entropy = FakeEntropy()
        self.requests = Requests(
            self.store,
            roles=self,
            locks=self.locks,
            factory=EventFactory(cluster="test", clock=self.clock, entropy=entropy),
            clock=self.clock,
            entropy=entropy,
        )

    async def roles(self, names: Iterable[str]) -> list[Role]:
        return [role for role in (DBA, HIDDEN) if role.name in set(names)]

    async def asked(self) -> AccessRequest:
        request, _ = await self.requests.ask("alice", DEV, ["dba"], "incident", None)
        return request

    async def approved(self) -> AccessRequest:
        request = await self.asked()
        done, _ = await self.requests.review("bob", LEAD, request.id, "", approve=True)
        return done


@pytest.fixture
def desk() -> Desk:
    """Nobody has asked yet."""
    return Desk()


async def test_from_the_question_to_the_access(desk: Desk) -> None:
    """Each step is an event with the field's names."""
    request, made = await desk.requests.ask("alice", DEV, ["dba", "dba"], "incident", timedelta(hours=1))
    assert (made.kind, made.fields["state"]) == (Kind.ACCESS_REQUEST_CREATE, "PENDING")
    assert await desk.requests.usable("alice") == []
    done, told = await desk.requests.review("bob", LEAD, request.id, "fine", approve=True)
    assert (told.kind, told.fields["reviewer"], told.fields["proposed_state"]) == (
        Kind.ACCESS_REQUEST_REVIEW,
        "bob",
        "APPROVED",
    )
    assert told.fields["review_reason"] == "fine"
    assert await desk.requests.usable("alice") == [done]
    assert await desk.requests.usable("bob") == []
    desk.clock.advance(3600)
    assert await desk.requests.usable("alice") == []


async def test_two_who_agree_do_not_fill_the_list_of_locks(desk: Desk) -> None:
    """Access that is given and given up again leaves a lock each time: one could lock nobody out any more."""
    for _ in range(MAX_TAKEN_BACK):
        done = await desk.approved()
        await desk.requests.cancel("alice", done.id)
        desk.clock.advance(1)
    with pytest.raises(Denied, match="tomorrow"):
        await desk.asked()
    assert len(await desk.locks.locks()) == MAX_TAKEN_BACK
    desk.clock.advance(MAX_USER_TTL.total_seconds())
    assert (await desk.asked()).user == "alice"


@pytest.mark.parametrize("name", ["hidden", "ghost", "nosuch"])
async def test_what_may_not_be_asked_for_might_not_exist(desk: Desk, name: str) -> None:
    """One text for both."""
    with pytest.raises(Denied, match=f"you may not ask for the role {name}: .* run ilsh login"):
        await desk.requests.ask("alice", DEV, ["dba", name], "x", None)


async def test_a_role_that_one_has_is_not_asked_for(desk: Desk) -> None:
    """Signing in is the way."""
    with pytest.raises(Denied, match="run ilsh login"):
        await desk.requests.ask("alice", [*DEV, DBA], ["dba"], "x", None)


@pytest.mark.parametrize(
    ("names", "reason"), [([], "x"), (["dba"] * 1 + [f"r{n}" for n in range(16)], "x"), (["dba"], "a\nb")]
)
async def test_questions_are_bounded(desk: Desk, names: list[str], reason: str) -> None:
    """Roles and words."""
    with pytest.raises(Denied, match=r"a request is for|a reason is"):
        await desk.requests.ask("alice", DEV, names, reason, None)


async def test_nobody_decides_on_their_own(desk: Desk) -> None:
    """Whatever their roles."""
    request = await desk.asked()
    with pytest.raises(Denied, match="nobody decides on a request of their own"):
        await desk.requests.review("alice", LEAD, request.id, "", approve=True)


async def test_others_do_not_see_it(desk: Desk) -> None:
    """As if it were not there; who may decide does."""
    request = await desk.asked()
    for work in (
        desk.requests.show("eve", DEV, request.id),
        desk.requests.review("eve", DEV, request.id, "", approve=True),
        desk.requests.cancel("eve", request.id),
        desk.requests.show("eve", DEV, "00000000-0000-4000-8000-000000000000"),
        desk.requests.show("eve", DEV, "nonsense"),
    ):
        with pytest.raises(NotFound, match="there is no access request"):
            await work
    assert await desk.requests.visible("eve", DEV, 9) == []
    assert await desk.requests.visible("bob", LEAD, 9) == [request] == await desk.requests.visible("alice", DEV, 9)


@pytest.mark.parametrize("how", ["deny", "cancel", "admin", "remove"])
async def test_access_that_is_taken_back_is_locked(desk: Desk, how: str) -> None:
    """Whoever does it: live sessions by it end, and no certificate that names it opens anything."""
    request = await desk.approved()
    match how:
        case "deny":
            await desk.requests.review("bob", LEAD, request.id, "enough", approve=False)
        case "cancel":
            await desk.requests.cancel("alice", request.id)
        case "admin":
            await desk.requests.decide("root", request.id, "", approve=False)
        case _:
            event = await desk.requests.remove("root", request.id)
            assert event.kind is Kind.ACCESS_REQUEST_DELETE
    assert await desk.requests.usable("alice") == []
    [lock] = desk.locks.stored
    assert (lock.kind, lock.name) == (LockKind.ACCESS_REQUEST, request.id)
    assert lock.in_force(desk.clock.now() + timedelta(hours=29))


@pytest.mark.parametrize(
    "take",
    [
        lambda desk, id_: desk.requests.cancel("alice", id_),
        lambda desk, id_: desk.requests.decide("root", id_, "", approve=False),
        lambda desk, id_: desk.requests.remove("root", id_),
    ],
    ids=["cancel", "deny", "remove"],
)
async def test_what_cannot_be_locked_is_not_taken_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, take: Callable[[Desk, str], Awaitable[object]]
) -> None:
    """It would go on all the same, and nobody would know: whoever tries learns why it cannot be done now."""

    async def full(_lock: Lock) -> None:
        raise Denied("there are too many locks")

    done = await desk.approved()
    monkeypatch.setattr(desk.locks, "add_lock", full)
    with pytest.raises(Denied, match="too many locks"):
        await take(desk, done.id)
    assert await desk.requests.usable("alice") == [done]


async def test_what_was_never_given_needs_no_lock(desk: Desk) -> None:
    """Pending, or over."""
    request = await desk.asked()
    done, _ = await desk.requests.cancel("alice", request.id)
    assert done.decided is RequestState.CANCELLED
    expired = await desk.approved()
    desk.clock.advance(7200)
    await desk.requests.remove("root", expired.id)
    assert desk.locks.stored == []


async def test_two_reviewers_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was slower decides about what there is by then."""
    request = await desk.asked()
    first = desk.store.request
    seen: list[AccessRequest] = []

    async def raced(request_id: str) -> AccessRequest:
        found = await first(request_id)
        if len(seen) < 2:
            seen.append(found)
            if len(seen) == 2:
                monkeypatch.undo()
                await desk.requests.review("carol", LEAD, request.id, "", approve=False)
        return found

    monkeypatch.setattr(desk.store, "request", raced)
    with pytest.raises(Denied, match="this request is denied"):
        await desk.requests.review("bob", LEAD, request.id, "", approve=True)
