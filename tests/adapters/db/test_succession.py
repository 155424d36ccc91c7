"""The keys that sign what is kept change: what was signed stays proven, and the old key is worth nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.authorities import SqlAuthorityStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.adapters.db.retention import SqlEventRetention
from interlock.adapters.db.rotations import SqlRotationStore
from interlock.adapters.db.succession import SqlSuccessionStore
from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.chain import Checkpoint, Cut
from interlock.domain.evidence import Fault
from interlock.domain.hold import Retention
from interlock.domain.signing import (
    DaemonRole,
    Purpose,
    SigningKey,
    is_signed,
    read_public_keys,
    read_warrant,
)
from interlock.ports import EventFilter, Sealing
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.emitter import EventFactory
from interlock.services.audit.retention import EventRetainer
from interlock.services.audit.verifying import Report, verify
from interlock.services.keys.authority import AUDIT, RECORDINGS, Authority
from interlock.services.keys.sealing import DATA_KEY, ClearSealing, KeySealing
from interlock.services.keys.succession import KeptKind, Successions
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy

WHO: dict[str, JsonValue] = {"user": "root", "method": "ilctl"}


@pytest.fixture(params=[ClearSealing(), KeySealing(bytes(DATA_KEY), FakeEntropy())], ids=["clear", "sealed"])
def sealing(request: pytest.FixtureRequest) -> Sealing:
    """Both ways to store them."""
    found: Sealing = request.param
    return found


@dataclass
class Auth:
    """One that signs, and can change its keys."""

    database: Database
    clock: FakeClock
    authority: Authority
    successions: Successions
    log: SqlAuditLog
    factory: EventFactory
    number: int = 0

    @property
    def key(self) -> SigningKey:
        """As it knows it."""
        return self.authority.audit_key

    @property
    def exported(self) -> tuple[bytes, ...]:
        """As ``ilctl auth export`` prints them."""
        return read_public_keys(self.authority.export(AUDIT))

    async def sign(self, *, events: int = 2) -> None:
        """More events, and a checkpoint of them."""
        for _ in range(events):
            self.number += 1
            await self.log.append(
                [self.factory.make(Kind.USER_CREATE, {"name": f"u{self.number}", "user": "root"})]
            )
        await Checkpoints(
            SqlEvidenceStore(self.database), lambda: self.key, cluster="main", clock=self.clock
        ).sign()

    async def change(self, kind: KeptKind = KeptKind.AUDIT) -> None:
        """The key, and hear of it."""
        self.clock.advance(timedelta(hours=1))
        await self.successions.change(kind, WHO)
        await self.authority.refresh()

    async def report(self, keys: Sequence[bytes] = (), known: Sequence[tuple[str, bytes]] = ()) -> Report:
        """By these keys; by default those that are exported."""
        trusted = keys or self.exported
        return await SqlEvidenceStore(self.database).inspect(lambda all_: verify(all_, trusted, known=known))

    async def faults(self, keys: Sequence[bytes] = ()) -> set[Fault]:
        """What is found."""
        return {each.fault for each in (await self.report(keys)).findings}

    async def kept(self) -> list[tuple[str, bytes]]:
        """The checkpoints, as an export took them away."""
        rows = await self.database.rows(select(schema.checkpoints).order_by(schema.checkpoints.c.number))
        return [(row.body, bytes(row.signature)) for row in rows]


@pytest.fixture
async def auth(database: Database, clock: FakeClock, sealing: Sealing) -> Auth:
    """With keys of its own."""
    entropy, ring = FakeEntropy(), SqlRotationStore(database, sealing)
    authority = await Authority.load(
        SqlAuthorityStore(database, clock, sealing),
        ring,
        cluster="main",
        daemon_id=DaemonId("auth"),
        clock=clock,
        entropy=entropy,
    )
    log, factory = SqlAuditLog(database, "one"), EventFactory(cluster="main", clock=clock, entropy=entropy)
    store = SqlSuccessionStore(database, sealing)
    successions = Successions(ring, store, log, factory, cluster="main", clock=clock)
    return Auth(database, clock, authority, successions, log, factory)


async def test_the_log_is_proven_over_every_change(auth: Auth) -> None:
    """By what is exported now, and by the first key alone, which names the second, which names the third."""
    first = auth.key.public
    await auth.sign()
    early = await auth.kept()
    await auth.change()
    assert await auth.faults() == set()  # before the new key has signed anything
    await auth.sign()
    await auth.change()
    await auth.sign()
    assert len(set(auth.exported)) == 3
    assert (auth.exported[0], auth.exported[-1]) == (auth.key.public, first)
    for keys in (auth.exported, (first,)):
        report = await auth.report(keys, known=[*early, *await auth.kept()])
        assert (report.findings, report.checkpoints) == ([], 5)
        assert report.writers["one"].signed == report.writers["one"].last
    assert Fault.CHECKPOINT in await auth.faults(
        (auth.key.public,)
    )  # who has never had the others must ask for them


async def test_the_old_key_tells_of_the_new_one_in_the_log(auth: Auth) -> None:
    """As an event, with its signature of the new public key."""
    old = auth.key
    await auth.change()
    [told] = await auth.log.events(EventFilter(event=Kind.ROTATION_STEP.event))
    assert (told["authority"], told["user"]) == ("audit", "root")
    [new] = read_public_keys(str(told["key"]))
    assert new == auth.key.public
    assert is_signed(old.public, Purpose.SUCCESSOR, new, bytes.fromhex(str(told["signature"])))


async def test_nothing_counts_that_the_old_key_signs_afterwards(auth: Auth) -> None:
    """A checkpoint more, a cut, or all of it anew without a word of a successor."""
    old, first = auth.key, auth.key.public
    await auth.sign()
    before = await auth.kept()
    await auth.change()
    await auth.sign()
    kept = await auth.kept()
    last = Checkpoint.decode(kept[-1][0])
    forged = Checkpoint.after(kept[-1][0], cluster="main", time=last.time, heads=last.heads).encode()
    row = {"number": last.number + 1, "body": forged, "signature": old.sign(Purpose.CHECKPOINT, forged.encode())}
    await auth.database.change(insert(schema.checkpoints).values(row))
    for keys in (auth.exported, (first,)):
        assert await auth.faults(keys) == {Fault.CHECKPOINT}
    await auth.database.change(delete(schema.checkpoints).where(schema.checkpoints.c.number > last.number))
    assert await auth.faults() == set()

    cut = Cut("main", "one", 1, last.heads[0].hash, (), last.time).encode()
    row = {"writer": "one", "body": cut, "signature": old.sign(Purpose.CUT, cut.encode())}
    await auth.database.change(insert(schema.cuts).values(row))
    for keys in (auth.exported, (first,)):
        assert Fault.BAD_CUT in await auth.faults(keys)
    await auth.database.change(delete(schema.cuts))

    await auth.database.change(delete(schema.checkpoints).where(schema.checkpoints.c.number > len(before)))
    assert Fault.CHECKPOINT in await auth.faults()


async def test_an_auth_that_has_not_heard_of_it_signs_nothing(auth: Auth) -> None:
    """It tries again, and has by then."""
    await auth.sign()
    await auth.successions.change(KeptKind.AUDIT, WHO)
    kept = await auth.kept()
    with pytest.raises(StoreError, match="changed a moment ago"):
        await auth.sign()
    assert await auth.kept() == kept
    await auth.authority.refresh()
    await auth.sign()
    assert await auth.faults() == set()


async def test_what_policy_has_dropped_is_signed_anew(auth: Auth) -> None:
    """Also that of the checkpoints; what was no word of the old key stays none."""

    async def nothing() -> None:
        return None

    retainer = EventRetainer(
        Retention(events_for=timedelta(days=1)),
        SqlEventRetention(auth.database, "one"),
        auth.factory,
        key=lambda: auth.key,
        cluster="main",
        clock=auth.clock,
        taken=nothing,
    )
    await auth.sign()
    await auth.change()
    auth.clock.advance(timedelta(days=3))
    await auth.sign()
    await retainer.tend()
    await auth.sign()
    before = await auth.report()
    assert before.writers["one"].dropped > 0
    assert before.findings == []
    await auth.change()
    await auth.sign()
    assert await auth.faults() == set()
    await auth.database.change(update(schema.cuts).values(signature=bytes(64)))
    assert Fault.BAD_CUT in await auth.faults()
    await auth.change()
    assert Fault.BAD_CUT in await auth.faults()


async def test_recordings_of_before_stay_signed(auth: Auth) -> None:
    """Their warrants are by the old key, new ones by the new."""
    daemon, public = DaemonId("n"), bytes(range(32))
    old = auth.authority.warrant(daemon, DaemonRole.NODE, public)
    await auth.change(KeptKind.RECORDINGS)
    new = auth.authority.warrant(daemon, DaemonRole.NODE, public)
    keys = read_public_keys(auth.authority.export(RECORDINGS))
    assert len(keys) == 2
    assert all(read_warrant(each, keys) for each in (old, new))
    assert [bool(read_warrant(each, keys[:1])) for each in (old, new)] == [False, True]
    assert len(auth.exported) == 1


async def test_two_who_change_it_at_once_change_it_once(auth: Auth) -> None:
    """The second one is told."""
    ring = auth.successions._ring
    before = await ring.keyring()
    await auth.change()

    class Late:
        async def keyring(self) -> object:
            return before

    auth.successions._ring = Late()  # type: ignore[assignment]
    with pytest.raises(Denied, match="meanwhile"):
        await auth.successions.change(KeptKind.AUDIT, WHO)
    assert await auth.faults() == set()
