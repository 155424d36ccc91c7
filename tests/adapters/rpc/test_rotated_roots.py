"""The daemons' authority changes under auths, tokens and clients that run: over real TLS."""

from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations

import pytest

from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.joiner import Membership, join
from interlock.core.errors import Away, ConfigError, Denied, StoreError
from interlock.domain.lock import NO_LOCKS
from interlock.domain.rotation import NEXT, Phase, RotatedKind, Rotation, begin
from interlock.ports import AuthorityKey, DaemonCaKeys, KeyRing
from interlock.services.keys.daemonca import DaemonCa, KeyPair, create_key
from interlock.services.keys.daemonroots import new_daemon_authority, root_pins
from interlock.services.keys.joining import TokenText, create_token
from interlock.testing.auth import CLUSTER, HOST_KEY, Auth
from interlock.testing.clock import START

DAEMON = RotatedKind.DAEMON
PHASES = (Phase.INIT, Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS, Phase.STANDBY)


@dataclass
class Ring:
    """`ports.KeyRingSource` of an auth in memory."""

    auth: Auth
    old: AuthorityKey
    new: AuthorityKey
    rotation: Rotation | None = None

    async def keyring(self) -> KeyRing:
        """As the phase is."""
        kind = DAEMON.stored
        if self.rotation is None:
            return KeyRing({kind: self.old}, {}, {})
        return KeyRing({kind: self.old}, {kind: self.new}, {DAEMON: self.rotation})

    async def reach(self, phase: Phase) -> None:
        """Go on until it is there; auth knows it then."""
        if self.rotation is None:
            self.rotation = begin(DAEMON, START, grace=timedelta(0), compromised=False)
        while self.rotation.phase is not phase:
            self.rotation = self.rotation.to(NEXT[self.rotation.phase][0], START)
        if phase is Phase.STANDBY:
            self.rotation, self.old = None, self.new
        await self.auth.cas.refresh()

    async def token(self) -> TokenText:
        """As ``ilctl tokens add`` makes it now."""
        auth = self.auth
        return await create_token(auth.stores, pin=auth.cas.shown.pin, clock=auth.clock, entropy=auth.entropy)

    async def join(self, token: TokenText) -> tuple[Membership, AuthClient]:
        """A daemon of its own."""
        key = create_key()
        membership = await join(self.auth.bound.join, token, names=("db1",), key=key, host_key=HOST_KEY)
        return membership, self.auth.client(membership, KeyPair(key, membership.reply.certificate))


@pytest.fixture
async def ring(auth: Auth) -> Ring:
    """Those of an auth that runs."""
    now, entropy = auth.clock.now(), auth.entropy
    old, new = (new_daemon_authority(CLUSTER, entropy=entropy, now=now) for _ in range(2))
    await auth.stop()
    auth.ca = DaemonCa(DaemonCaKeys(old.private_key, old.public), cluster=CLUSTER, entropy=entropy)
    auth.ring = made = Ring(auth, old, new)
    await auth.start()
    return made


@pytest.mark.parametrize(("made", "used"), [*((None, each) for each in PHASES), *combinations(PHASES, 2)])
async def test_tokens_of_all_times(ring: Ring, made: Phase | None, used: Phase) -> None:
    """One counts as long as the authority of its pin does, and whoever joins by it trusts what counts.

    After `STANDBY` that is the new one, which auth shows from `UPDATE_SERVERS` on.
    """
    if made is not None:
        await ring.reach(made)
    token = await ring.token()
    await ring.reach(used)
    if used is Phase.STANDBY and made is not Phase.UPDATE_SERVERS:
        with pytest.raises(ConfigError, match="make a new token"):
            await ring.join(token)
        return
    membership, client = await ring.join(token)
    assert set(root_pins(membership.roots)) == set(root_pins("".join(ring.auth.cas.roots)))
    await client.trust()
    await client.close()


async def test_nobody_but_the_old_one_vouches_for_another(ring: Ring) -> None:
    """Somebody in between with an authority of their own is not believed for a word that they have made up."""
    auth, token = ring.auth, await ring.token()
    genuine, ring.auth.ring = auth.ca.certificate, None
    key = new_daemon_authority(CLUSTER, entropy=auth.entropy, now=auth.clock.now())
    evil = DaemonCa(DaemonCaKeys(key.private_key, key.public), cluster=CLUSTER, entropy=auth.entropy)
    for before, word in (
        (genuine, evil.vouch(evil.certificate)),
        (genuine, b""),
        ("", b""),
        (evil.certificate, evil.vouch(evil.certificate)),
    ):
        await auth.stop()
        auth.ca = evil
        await auth.start()
        auth.cas._now = replace(auth.cas._now, vouched=(before, word))
        with pytest.raises(ConfigError, match="not the auth service"):
            await ring.join(token)


async def test_a_client_goes_on_through_all_phases(ring: Ring) -> None:
    """It learns, and renews by what it is told."""
    _membership, client = await ring.join(await ring.token())
    for phase in PHASES[:-1]:
        await ring.reach(phase)
        assert len((await client.trust()).roots) == 2
        fresh = await client.renew(HOST_KEY)
        await client.use(KeyPair(client._identity.key, fresh.certificate), "".join(fresh.trust.roots))
        await client.trust()
    await ring.reach(Phase.STANDBY)
    assert (await client.trust()).roots == (ring.new.public,)
    await client.check_roots()
    await client.close()


async def test_who_was_away_is_told_to_join_again(ring: Ring) -> None:
    """In words, whether it does not know auth any more, or auth does not take it; an auth that is away is away."""
    _membership, stranger = await ring.join(await ring.token())
    await ring.reach(Phase.INIT)
    _membership, late = await ring.join(await ring.token())
    await ring.reach(Phase.STANDBY)
    for client, words in ((stranger, "not an auth that this daemon knows"), (late, "does not take this daemon")):
        await client.move(ring.auth.bound.service)  # by a connection of now
        with pytest.raises(Away):
            await client.trust()
        with pytest.raises(Denied, match=words) as told:
            await client.check_roots()
        assert "join again with a token" in told.value.public
    await ring.auth.stop()
    for client in (stranger, late):
        with pytest.raises(StoreError):
            await client.check_roots()
        await client.close()


async def test_a_connection_of_before_is_of_no_use_to_who_has_not_renewed(ring: Ring) -> None:
    """Calls on it are refused, and what it watches ends."""
    _membership, client = await ring.join(await ring.token())
    async with aclosing(client.follow_locks()) as told:
        await anext(told)
        await ring.reach(Phase.STANDBY)
        with pytest.raises(Denied, match="join again"):
            await client.trust()
        ring.auth.locks.tell(NO_LOCKS)
        with pytest.raises(Denied, match="join again"):
            await anext(told)
    await client.close()
