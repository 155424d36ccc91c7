"""Old and superfluous recordings and events go, a little at a time, each told of; what is held stays."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import TextClause, text

from interlock.core.errors import StoreError
from interlock.core.ids import SessionId
from interlock.daemons.local import Local, open_local
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.container import SALT_SIZE, BlockBuilder, preamble
from interlock.domain.hold import Hold, HoldKind, Retention
from interlock.domain.recording import FrameKind, Header, RecordingState, to_payload
from interlock.domain.session import Exit
from interlock.ports import EventFilter, RecordingFilter, RecordingSize
from interlock.services.audit import retention
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.emitter import EventFactory
from interlock.services.audit.retention import EventRetainer, RecordingRetainer, keep_tending
from interlock.services.audit.verifying import verify
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import VirtualSleep

DAY = timedelta(days=1)


def sid(number: int) -> SessionId:
    """A session's ID."""
    return SessionId(f"aaaaaaaa-0000-4000-8000-{number:012}")


class Auth:
    """A data directory, and what retains."""

    def __init__(self, local: Local, clock: FakeClock) -> None:
        self.local, self.clock = local, clock
        self.taken: Mapping[str, int] | None = None

    def events(self, policy: Retention) -> EventRetainer:
        """As the gateway makes it."""

        async def taken() -> Mapping[str, int] | None:
            return self.taken

        return EventRetainer(
            policy,
            self.local.retention,
            self._factory(),
            key=lambda: self.local.authority.audit_key,
            cluster="demo",
            clock=self.clock,
            taken=taken,
        )

    def recordings(self, policy: Retention) -> RecordingRetainer:
        """As the gateway makes it."""
        local = self.local
        return RecordingRetainer(
            policy, local.recordings, local.holds, local.audit, self._factory(), clock=self.clock
        )

    def _factory(self) -> EventFactory:
        return EventFactory(cluster="demo", clock=self.clock, entropy=FakeEntropy(7))

    async def record(self, number: int, *, days: int, user: str = "alice", size: int = 100) -> None:
        """A session and its recording, so many days old."""
        began, fields = START - days * DAY, {"user": user}
        start = AuditEvent(Kind.SESSION_START, began, f"u{number}", "demo", sid(number), 0, fields)
        await self.local.audit.append([start])
        part = self.local.data_dir / "part"
        await asyncio.to_thread(part.write_bytes, recording(sid(number), user, size))
        await self.local.recordings.store(sid(number), part)
        done = self.local.data_dir / "recordings" / f"{sid(number)}.ilr"
        moment = (START - days * DAY).timestamp()
        await asyncio.to_thread(os.utime, done, (moment, moment))
        await asyncio.to_thread(part.unlink)

    async def stored(self) -> list[int]:
        """What is there, oldest first."""
        return [int(info.sid[-12:]) for info in reversed(await self.local.recordings.recordings())]

    async def hold(self, kind: HoldKind, name: str) -> None:
        """From now on."""
        await self.local.holds.add_hold(Hold(self.local.entropy.uuid(), kind, name, "", START, "root"))

    async def told(self, kind: Kind) -> list[dict[str, object]]:
        """Events of this kind."""
        return [dict(each) for each in await self.local.audit.events(EventFilter(event=kind.event))]


def recording(session: SessionId, user: str, size: int) -> bytes:
    """A small one of about this size."""
    builder = BlockBuilder(bytes(SALT_SIZE))
    header = Header(
        session, user, "root", "web1", "t", "openssh", "d", "proxy", "shell", "", "2026-01-01T00:00:00Z", "demo"
    )
    builder.add(FrameKind.HEADER, 0, to_payload(header))
    builder.add(FrameKind.STDOUT, 1, os.urandom(size))
    builder.add(FrameKind.EXIT, 2, to_payload(Exit(status=0)))
    return preamble(bytes(SALT_SIZE)) + builder.take()


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[Auth]:
    """A new data directory."""
    clock = FakeClock()
    async with open_local(tmp_path / "data", cluster_name="demo", clock=clock, entropy=FakeEntropy()) as local:
        yield Auth(local, clock)


@pytest.fixture
def clock_sleep() -> VirtualSleep:
    """Time that passes on command."""
    return VirtualSleep(FakeClock())


async def test_old_recordings_go_and_are_told_of(auth: Auth) -> None:
    """And lists say what became of them."""
    for number, days in enumerate((30, 20, 9, 1)):
        await auth.record(number, days=days)
    await auth.recordings(Retention(recordings_for=10 * DAY)).tend()
    assert await auth.stored() == [2, 3]
    told = await auth.told(Kind.RECORDING_DELETE)
    assert [(each["sid"], each["reason"], each["user"]) for each in told] == [
        (sid(0), "recordings_days", "alice"),
        (sid(1), "recordings_days", "alice"),
    ]
    page = await auth.local.catalogue.page(RecordingFilter())
    states = {info.sid: info.state for _, info in page.rows}
    assert states[sid(0)] is RecordingState.DELETED
    assert states[sid(3)] is not RecordingState.DELETED


async def test_recordings_beyond_a_size_go_oldest_first(auth: Auth) -> None:
    """Until the rest fits."""
    for number, days in enumerate((30, 20, 9, 1)):
        await auth.record(number, days=days, size=4000)
    await auth.recordings(Retention(recordings_bytes=10_000)).tend()
    assert await auth.stored() == [2, 3]
    assert [each["reason"] for each in await auth.told(Kind.RECORDING_DELETE)] == ["recordings_max_gb"] * 2


async def test_a_recording_that_is_held_stays(auth: Auth) -> None:
    """By session, by its user, and by whoever took part."""
    for number, user in enumerate(("alice", "bob", "carol", "alice")):
        await auth.record(number, days=30, user=user)
    joined = AuditEvent(Kind.SESSION_JOIN, START, "j", "demo", sid(3), 1, {"user": "dave"})
    await auth.local.audit.append([joined])
    await auth.hold(HoldKind.SESSION, sid(0))
    await auth.hold(HoldKind.USER, "bob")
    await auth.hold(HoldKind.USER, "dave")
    await auth.recordings(Retention(recordings_for=DAY, recordings_bytes=1)).tend()
    assert sorted(await auth.stored()) == [0, 1, 3]


async def test_the_header_counts_where_the_events_are_gone(auth: Auth) -> None:
    """A hold on a user finds recordings of theirs whose events were dropped long ago."""
    await auth.record(1, days=30, user="bob")
    await auth.local.database.change(auth_events_gone())
    await auth.hold(HoldKind.USER, "bob")
    await auth.recordings(Retention(recordings_for=DAY)).tend()
    assert await auth.stored() == [1]


def auth_events_gone() -> TextClause:
    """By hand, which here is quicker."""
    return text("DELETE FROM events")


async def test_what_cannot_be_removed_keeps_nothing_else(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, and tried again with the next listing."""
    for number in range(3):
        await auth.record(number, days=30 - number)
    remove = auth.local.recordings.remove

    async def stuck(session: SessionId) -> None:
        if session == sid(0):
            raise StoreError(f"no right to remove {session}")
        await remove(session)

    retainer = auth.recordings(Retention(recordings_for=DAY))
    with monkeypatch.context() as patched:
        patched.setattr(auth.local.recordings, "remove", stuck)
        await retainer.tend()
    assert await auth.stored() == [0]
    await retainer.tend()
    assert await auth.stored() == [0]
    auth.clock.advance(timedelta(seconds=retention.PAUSE_S))
    await retainer.tend()
    assert await auth.stored() == []
    assert len(await auth.told(Kind.RECORDING_DELETE)) == 3


async def test_a_storage_that_is_away_is_left_alone_for_a_while(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some failures in a row, and after a listing that failed."""
    for number in range(5):
        await auth.record(number, days=30 - number)
    retainer, asked = auth.recordings(Retention(recordings_for=DAY)), list[str]()

    async def away(*_arguments: object) -> None:
        asked.append("")
        raise StoreError("away")

    for name, requests in (("sizes", 1), ("remove", retention.FAILURES)):
        with monkeypatch.context() as patched:
            patched.setattr(auth.local.recordings, name, away)
            with pytest.raises(StoreError):
                await retainer.tend()
            await retainer.tend()
        assert len(asked) == requests
        asked.clear()
        auth.clock.advance(timedelta(seconds=retention.FAILURE_PAUSE_S))
    await retainer.tend()
    assert await auth.stored() == [0, 1, 2]


async def test_what_was_listed_is_gone_through_before_the_next_listing(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls that takes."""
    monkeypatch.setattr(retention, "RECORDINGS_AT_ONCE", 1)
    for number in range(3):
        await auth.record(number, days=30 - number)
    sizes, listings = auth.local.recordings.sizes, list[int]()

    async def counted() -> list[RecordingSize]:
        found = await sizes()
        listings.append(len(found))
        return found

    monkeypatch.setattr(auth.local.recordings, "sizes", counted)
    retainer = auth.recordings(Retention(recordings_for=DAY))
    for left in ([1, 2], [2], [], []):
        await retainer.tend()
        assert await auth.stored() == left
    assert listings == [3]


async def test_a_bug_ends_nothing_but_a_call(clock_sleep: VirtualSleep) -> None:
    """It is done in the gateway's own process."""

    class Broken:
        calls = 0

        async def tend(self) -> None:
            """Never well."""
            self.calls += 1
            raise (ValueError("a bug") if self.calls % 2 else StoreError("away"))

    broken = Broken()
    tending = asyncio.create_task(keep_tending(broken, sleep=clock_sleep))
    for _ in range(3):
        await clock_sleep.pass_pause()
    tending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await tending
    assert broken.calls >= 3


async def test_events_go_and_their_number_per_call_is_bounded(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call goes on; when nothing is left, the next look is an hour later."""
    monkeypatch.setattr(retention, "STEPS", 2)
    local = auth.local
    signer = Checkpoints(local.evidence, lambda: local.authority.audit_key, cluster="demo", clock=auth.clock)
    for number in range(5):
        await auth.record(number, days=30)
        await signer.sign()
    monkeypatch.setattr("interlock.adapters.db.retention.STEP", 1)
    retainer = auth.events(Retention(events_for=DAY))
    numbers = []
    for _ in range(3):
        await retainer.tend()
        numbers.append(len(await auth.told(Kind.DROPPED)))
    assert numbers == [2, 4, 5]
    report = await local.evidence.inspect(lambda evidence: verify(evidence, [local.authority.audit_key.public]))
    assert report.findings == []
    for number in (8, 9):
        await auth.record(number, days=30)
        await signer.sign()
    await retainer.tend()
    assert len(await auth.told(Kind.DROPPED)) == 5
    auth.clock.advance(2 * DAY)
    await retainer.tend()
    assert len(await auth.told(Kind.DROPPED)) > 5


async def test_without_a_policy_nothing_goes(auth: Auth) -> None:
    """Nothing is dropped unless somebody has said so."""
    await auth.record(1, days=3000)
    await auth.recordings(Retention()).tend()
    await auth.events(Retention()).tend()
    assert await auth.stored() == [1]
    assert await auth.told(Kind.DROPPED) == []
