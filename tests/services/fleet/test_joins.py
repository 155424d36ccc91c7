"""Who may join a session at a proxy apart, and where: auth's word, whatever the proxy says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, InterlockError, Locked, NotFound
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId
from interlock.daemons.proxy import local_admission
from interlock.domain.access import RoleOptions
from interlock.domain.identity import Claims, Joining
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.services.fleet.joins import Joins
from interlock.testing.fleet import DAY, SID, WEB, AuthSide

OBSERVING = Joining(SID, (JoinMode.OBSERVER,))


class Asking:
    """The service, asked by the proxy for alice."""

    def __init__(self, auth: AuthSide) -> None:
        self.auth = auth
        self.there = auth.other.identity.id
        self.claims = replace(
            auth.local.claims.read(auth.certificate, now=auth.clock.now()), certificate=auth.certificate
        )
        self._joins = Joins(
            cluster=auth.local.cluster.name,
            admission=local_admission(auth.local),
            trackers=auth.local.trackers,
            targets=auth.local.inventory,
            clock=auth.clock,
        )

    async def permit(
        self, wanted: Joining = OBSERVING, *, at: DaemonId | None = None, claims: Claims | None = None
    ) -> Permit:
        """The permit."""
        return await self._joins.permit(
            self.auth.gate.identity, claims or self.claims, wanted, at=at or self.there, source="192.0.2.7:1"
        )

    async def refused(self, wanted: Joining = OBSERVING, *, at: DaemonId | None = None) -> str:
        """The refusal, with what only the audit log says."""
        with pytest.raises(InterlockError) as caught:
            await self.permit(wanted, at=at)
        return f"{type(caught.value).__name__}: {caught.value.reason}"


@pytest.fixture
def asking(auth: AuthSide) -> Asking:
    """Alice, with her certificate."""
    return Asking(auth)


async def test_ones_own_session_at_a_proxy_and_at_a_node(asking: Asking) -> None:
    """The permit leads to whoever has it: a proxy is no target of its own."""
    await asking.auth.track(asking.there)
    permit = await asking.permit()
    assert (permit.target.id, permit.target.hostname, permit.joining) == (asking.there, "web1", OBSERVING)
    assert permit.target.host == ""
    await asking.auth.track(WEB.id)
    held = await asking.permit(at=WEB.id)
    assert (held.target.id, held.target.host) == (WEB.id, "10.0.0.5")


async def test_where_the_session_is_not_nobody_is_sent(asking: Asking) -> None:
    """Otherwise a stolen proxy could have the person's certificate for another daemon."""
    await asking.auth.track(asking.there)
    assert f"to join {SID} at {WEB.id}" in await asking.refused(at=WEB.id)


async def test_as_roles_say(asking: Asking) -> None:
    """Of another's session; one's own cannot be moderated, and no mode at all is none."""
    await asking.auth.track(asking.there)
    for modes in ((), (JoinMode.MODERATOR,), (JoinMode.OBSERVER, JoinMode.MODERATOR)):
        assert "to join" in await asking.refused(Joining(SID, modes))
    await asking.auth.track(asking.there, owner="bob")
    assert "to join" in await asking.refused()
    options = RoleOptions(join_sessions=(JoinMode.OBSERVER,))
    await asking.auth.local.roles.replace_role(Role("access", ("root",), {"env": "test"}, options))
    assert (await asking.permit()).joining == OBSERVING
    assert "to join" in await asking.refused(Joining(SID, (JoinMode.PEER,)))


async def test_nobody_joins_what_is_over(asking: Asking) -> None:
    """Or never was."""
    assert (await asking.refused()).startswith(NotFound.__name__)
    await asking.auth.track(asking.there)
    asking.auth.clock.advance(DAY + timedelta(seconds=1))
    assert (await asking.refused()).startswith(NotFound.__name__)


async def test_people_who_are_locked_removed_or_of_elsewhere(asking: Asking) -> None:
    """Each is told so."""
    await asking.auth.track(asking.there)
    foreign = replace(asking.claims, identity=replace(asking.claims.identity, cluster="root"))
    with pytest.raises(Denied) as caught:
        await asking.permit(claims=foreign)
    assert "alice of root to join" in caught.value.reason
    await asking.auth.lock()
    with pytest.raises(Locked):
        await asking.permit()
    await asking.auth.local.locks.remove_lock("l1")
    await asking.auth.local.users.remove_user("alice")
    with pytest.raises(Denied, match="no longer exists"):
        await asking.permit()
