"""What a person may do with sessions and recordings of others: every verb, and everything that refuses it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core import portal as wire
from interlock.core.ids import SessionId
from interlock.domain.access import Deny, RoleOptions, Verb
from interlock.domain.audit import Kind
from interlock.domain.lock import LockKind
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.ports import RecordingInfo, User
from interlock.services.audit.emitter import EventFactory
from interlock.services.portal.ending import MAX_ENDED, Ending
from interlock.services.portal.playback import Download
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLocks
from interlock.testing.portal import (
    OTHER_SID,
    SID,
    Elsewhere,
    EventLog,
    Events,
    World,
    portal_of,
    recording,
    refused,
    signed_in,
    target,
    tracker,
)

OTHERS = tuple(verb for verb in Verb if verb is not Verb.OWN_RECORDINGS)


def role(*verbs: Verb, labels: dict[str, str] | None = None, deny: Deny | None = None) -> Role:
    """One that allows these on nodes with these labels, and no login."""
    return Role("r", (), labels or {"env": "prod"}, RoleOptions(allow=verbs or None, deny=deny))


class Watched(World):
    """Everybody has the role that the test says; bob has a session and a recording on web1, which is env=prod."""

    role = role()

    async def user(self, name: str) -> User:
        return User(name, ("r",), None, must_change=False, created=START)

    async def roles(self, names: Iterable[str]) -> list[Role]:
        return [self.role] if "r" in set(names) else []

    async def target(self, name: str) -> Target:
        return next(each for each in await self.targets() if name == each.id)

    async def find(self, sid: SessionId) -> Tracker | None:
        return next((each for each in self.live_sessions if each.sid == sid), None)


@pytest.fixture
def watched() -> Watched:
    """See there."""
    meta = {"hostname": "web1", "target_id": "id-of-web1"}
    infos = [
        RecordingInfo(sid, 1, START, {**meta, "user": user}) for sid, user in ((SID, "alice"), (OTHER_SID, "bob"))
    ]
    files = {sid: recording(user, target_id="id-of-web1") for sid, user in ((SID, "alice"), (OTHER_SID, "bob"))}
    world = Watched(infos=infos, files=files)
    world.live_sessions[:] = [tracker(SID, "alice"), tracker(OTHER_SID, "bob")]
    return world


@pytest.fixture
def locks() -> MemoryLocks:
    """None at first."""
    return MemoryLocks()


@pytest.fixture
async def office(
    watched: Watched, clock: FakeClock, events: Events, elsewhere: Elsewhere, locks: MemoryLocks
) -> Portal:
    """Where sessions can be ended, and the audit log has an event of web1."""
    entropy = FakeEntropy()
    factory = EventFactory(cluster="test", clock=clock, entropy=entropy)
    ending = Ending(trackers=watched, targets=watched, locks=locks, factory=factory, clock=clock, entropy=entropy)
    log = EventLog([{"event": "session.start", "user": "bob", "server_id": "id-of-web1"}])
    return await portal_of(watched, clock=clock, events=events, elsewhere=elsewhere, ending=ending, log=log)


async def can(office: Portal, verb: Verb) -> bool:
    """Whether alice can do that with what is bob's, or with her own recording."""
    match verb:
        case Verb.LIST_SESSIONS:
            reply = await office.answer(signed_in(), wire.Sessions())
            assert isinstance(reply, wire.SessionList)
            return OTHER_SID in [each.sid for each in reply.sessions]
        case Verb.END_SESSIONS:
            return isinstance(await office.answer(signed_in(), wire.EndSession(OTHER_SID)), wire.Done)
        case Verb.LIST_RECORDINGS:
            listed = await office.answer(signed_in(), wire.Recordings(all=True))
            assert isinstance(listed, wire.RecordingList)
            return OTHER_SID in [each.sid for each in listed.recordings]
        case Verb.LIST_EVENTS:
            told = await office.answer(signed_in(), wire.Events())
            return isinstance(told, wire.EventList) and len(told.events) == 1
        case Verb.PLAY_RECORDINGS | Verb.OWN_RECORDINGS:
            sid = SID if verb is Verb.OWN_RECORDINGS else OTHER_SID
            got = await office.answer(signed_in(), wire.Recording(sid))
            if isinstance(got, Download):
                await got.pieces.aclose()
            return isinstance(got, Download)


@pytest.mark.parametrize("verb", OTHERS)
@pytest.mark.parametrize(
    "refuses",
    [
        "nothing",
        "no verb",
        "another verb",
        "other nodes",
        "no labels",
        "the verb denied",
        "the verb denied there",
        "the node denied",
    ],
)
async def test_each_verb(office: Portal, watched: Watched, verb: Verb, refuses: str) -> None:
    """R23: denied by default; by name; on the nodes that the role reaches; and a denial wins."""
    deny = {
        "the verb denied": Deny(verbs=(verb,)),
        "the verb denied there": Deny(None, {"env": "prod"}, (verb,)),
        "the node denied": Deny(None, {"env": "prod"}),
    }.get(refuses)
    labels = {"other nodes": {"env": "db"}, "no labels": {"x": "y"}}.get(refuses)
    verbs: tuple[Verb, ...] = (verb,)
    if refuses == "no verb":
        verbs = ()
    elif refuses == "another verb":
        listing = {Verb.LIST_RECORDINGS, Verb.PLAY_RECORDINGS}  # who may play may list, too
        verbs = tuple(each for each in OTHERS if each is not verb and {each, verb} != listing)
    watched.role = role(*verbs, labels=labels, deny=deny)
    assert await can(office, verb) is (refuses == "nothing")


async def test_a_denial_elsewhere_takes_nothing_away(office: Portal, watched: Watched) -> None:
    """Of verbs on other nodes, or of other verbs."""
    for deny in (Deny(None, {"env": "db"}, (Verb.PLAY_RECORDINGS,)), Deny(verbs=(Verb.END_SESSIONS,))):
        watched.role = role(Verb.PLAY_RECORDINGS, deny=deny)
        assert await can(office, Verb.PLAY_RECORDINGS)


async def test_ones_own_recordings_are_seen_unless_that_is_denied(office: Portal, watched: Watched) -> None:
    """The one verb that everybody has."""
    assert await can(office, Verb.OWN_RECORDINGS)
    watched.role = role(deny=Deny(verbs=(Verb.OWN_RECORDINGS,)))
    assert not await can(office, Verb.OWN_RECORDINGS)
    for request in (wire.Recordings(), wire.Recordings(all=True)):
        assert await office.answer(signed_in(), request) == wire.RecordingList([])


async def test_a_node_that_is_gone_has_the_labels_of_its_recordings(office: Portal, watched: Watched) -> None:
    """Else nobody could play them but who reaches every node."""
    event = {"server_labels": {"env": "prod"}}
    watched.files[OTHER_SID] = recording("bob", target_id="gone", event=event)  # type: ignore[arg-type]  # any field
    watched.role = role(Verb.PLAY_RECORDINGS)
    assert await can(office, Verb.PLAY_RECORDINGS)
    watched.role = role(Verb.PLAY_RECORDINGS, labels={"env": "db"})
    assert not await can(office, Verb.PLAY_RECORDINGS)


async def test_what_may_be_of_a_denied_node_is_not_listed(office: Portal, watched: Watched) -> None:
    """A list does not know the labels of a node that is gone: it is for who reaches every node, none denied."""
    [gone] = [each for each in watched.infos if each.sid == OTHER_SID]
    watched.infos = [replace(gone, meta={**gone.meta, "target_id": "gone"})]
    for deny, shown in ((None, True), (Deny(node_labels={"env": "db"}, verbs=(Verb.LIST_RECORDINGS,)), False)):
        watched.role = role(Verb.LIST_RECORDINGS, labels={"*": "*"}, deny=deny)
        assert await can(office, Verb.LIST_RECORDINGS) is shown


async def test_who_reads_anothers_recording_is_in_the_audit_log(
    office: Portal, watched: Watched, events: Events
) -> None:
    """Under the reader's name."""
    watched.role = role(Verb.PLAY_RECORDINGS)
    await can(office, Verb.PLAY_RECORDINGS)
    [event] = events
    assert (event.kind, event.sid, event.fields["user"]) == (Kind.RECORDING_ACCESS, OTHER_SID, "alice")


async def test_a_session_is_ended_by_a_lock(office: Portal, locks: MemoryLocks, events: Events) -> None:
    """One's own needs no role; the event says who did it."""
    reply = await office.answer(signed_in(), wire.EndSession(SID, "I forgot it"))
    assert reply == wire.Done(f"Session {SID} ends.")
    [lock] = locks.stored
    assert (lock.kind, lock.name, lock.message) == (LockKind.SESSION, SID, "I forgot it")
    assert lock.expires is not None
    [event] = events
    assert (event.kind, event.fields["user"], event.fields["target"]) == (
        Kind.LOCK_CREATE,
        "alice",
        {"session": SID},
    )


@pytest.mark.parametrize("sid", ["nonsense", "0b8f4a5e-1111-4222-8333-944445555999", OTHER_SID])
async def test_what_is_not_ones_own_might_not_exist(office: Portal, sid: str) -> None:
    """One text."""
    reply = await refused(office, signed_in(), wire.EndSession(sid))
    assert (reply.why, reply.message) == (
        "not-found",
        f"there is no live session {sid} of yours, or that you may end",
    )


async def test_nobody_fills_the_list_of_locks(office: Portal, watched: Watched, clock: FakeClock) -> None:
    """So many within ten minutes."""
    for _ in range(MAX_ENDED):
        assert isinstance(await office.answer(signed_in(), wire.EndSession(SID)), wire.Done)
    assert "wait a few minutes" in (await refused(office, signed_in(), wire.EndSession(SID))).message
    clock.advance(timedelta(minutes=11))
    watched.live_sessions[:] = [replace(tracker(SID, "alice"), expires=clock.now() + timedelta(seconds=30))]
    assert isinstance(
        await office.answer(replace(signed_in(), since=clock.now()), wire.EndSession(SID)), wire.Done
    )


def test_the_world_is_as_it_is_described() -> None:
    """Its node has the label that the roles ask for."""
    assert target("web1", "prod").labels == {"env": "prod"}
