"""Keys while they are changed, sealed or not."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.authorities import SqlAuthorityStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.rotations import SqlRotationStore, trust_digest
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.rotation import Phase, RotatedKind, begin
from interlock.ports import AuthorityKey, Heard, Sealing
from interlock.services.keys.sealing import DATA_KEY, ClearSealing, KeySealing
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy

OLD, NEW = (AuthorityKey("user", f"private {name}", f"public {name}", START) for name in ("old", "new"))
BEGUN = begin(RotatedKind.USER, START, grace=timedelta(hours=48), compromised=True)


@pytest.fixture(params=[ClearSealing(), KeySealing(bytes(DATA_KEY), FakeEntropy())], ids=["clear", "sealed"])
def sealing(request: pytest.FixtureRequest) -> Sealing:
    """Both ways to store them."""
    found: Sealing = request.param
    return found


async def test_the_new_key_takes_the_old_ones_place(
    database: Database, clock: FakeClock, sealing: Sealing
) -> None:
    """At the end, as one; each step can be seen by who follows."""
    await SqlAuthorityStore(database, clock, sealing).ensure_authority(OLD)
    store = SqlRotationStore(database, sealing)
    digests = [await trust_digest(database)]
    await store.begin_rotation(BEGUN, NEW)
    ring = await store.keyring()
    assert (ring.current, ring.coming, ring.rotations) == ({"user": OLD}, {"user": NEW}, {RotatedKind.USER: BEGUN})
    rotation = BEGUN
    for phase in (Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS, Phase.STANDBY):
        digests.append(await trust_digest(database))
        before, rotation = rotation, rotation.to(phase, START)
        await store.move_rotation(rotation, before.phase)
    digests.append(await trust_digest(database))
    assert len(set(digests)) == 5
    ring = await store.keyring()
    assert (ring.current, ring.coming, ring.rotations) == ({"user": NEW}, {}, {})
    assert await SqlAuthorityStore(database, clock, sealing).authority("user") == NEW


async def test_a_rollback_drops_the_new_key(database: Database, clock: FakeClock, sealing: Sealing) -> None:
    """And another rotation may begin."""
    await SqlAuthorityStore(database, clock, sealing).ensure_authority(OLD)
    store = SqlRotationStore(database, sealing)
    await store.begin_rotation(BEGUN, NEW)
    back = BEGUN.to(Phase.ROLLBACK, START)
    await store.move_rotation(back, Phase.INIT)
    await store.move_rotation(back.to(Phase.STANDBY, START), Phase.ROLLBACK)
    assert (await store.keyring()).current == {"user": OLD}
    await store.begin_rotation(BEGUN, NEW)


async def test_two_who_change_it_at_once(database: Database, clock: FakeClock, sealing: Sealing) -> None:
    """The second one is told."""
    await SqlAuthorityStore(database, clock, sealing).ensure_authority(OLD)
    store = SqlRotationStore(database, sealing)
    await store.begin_rotation(BEGUN, NEW)
    with pytest.raises(Denied, match="already"):
        await store.begin_rotation(BEGUN, replace(NEW, public="another"))
    on = BEGUN.to(Phase.UPDATE_CLIENTS, START)
    await store.move_rotation(on, Phase.INIT)
    with pytest.raises(Denied, match="meanwhile"):
        await store.move_rotation(BEGUN.to(Phase.ROLLBACK, START), Phase.INIT)
    assert (await store.keyring()).rotations == {RotatedKind.USER: on}


async def test_what_daemons_have_heard(database: Database, sealing: Sealing) -> None:
    """The newest word, but a certificate that was signed before stays known."""
    store = SqlRotationStore(database, sealing)
    node = DaemonId("n1")
    await store.note_heard(Heard(node, "a", "s", START))
    await store.note_heard(Heard(node, "b", "", START + timedelta(minutes=1)))
    assert await store.heard() == [Heard(node, "b", "s", START + timedelta(minutes=1))]
