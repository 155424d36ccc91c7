"""What proxies apart are told of people and of what there is."""

from dataclasses import replace

import pytest

from interlock.core.errors import NotFound
from interlock.domain.access import RoleOptions
from interlock.domain.cluster import Relation
from interlock.domain.duties import RecordingMode
from interlock.domain.rbac import Role
from interlock.testing.fleet import DB, SID, WEB, AuthSide


async def test_what_counts_of_somebody(auth: AuthSide) -> None:
    """The roles with what proxies go by, the mode, and what may be asked for; as of now."""
    options = RoleOptions(request_roles=("admin",), max_certificate_ttl=60)
    await auth.local.roles.replace_role(Role("access", ("root",), {"env": "test"}, options))
    await auth.local.roles.add_role(Role("admin", ("root",), {"*": "*"}))
    found = await auth.proxies.standings.standing(auth.gate.identity, auth.certificate)
    assert [role.name for role in found.roles] == ["access"]
    assert found.roles[0].options.max_certificate_ttl is None  # which is auth's alone
    assert [role.name for role in found.askable] == ["admin"]
    assert (found.modes.default, found.root) == (RecordingMode.PROXY, None)
    await auth.local.roles.remove_role("access")
    assert (await auth.proxies.standings.standing(auth.gate.identity, auth.certificate)).roles == ()


async def test_what_somebody_calls_a_target(auth: AuthSide) -> None:
    """By name or ID; of several with one name none is guessed at."""
    standings = auth.proxies.standings
    for name in ("web1", WEB.id):
        assert (await standings.find(auth.gate.identity, auth.certificate, name)).id == WEB.id
    with pytest.raises(NotFound, match="unknown node"):
        await standings.find(auth.gate.identity, auth.certificate, "web9")
    await auth.local.inventory.heartbeat(replace(DB, hostname="web1", expires=auth.clock.now().replace(year=2030)))
    with pytest.raises(NotFound, match="several nodes"):
        await standings.find(auth.gate.identity, auth.certificate, "web1")


async def test_what_there_is(auth: AuthSide) -> None:
    """Targets, sessions that live, and clusters."""
    lookups, identity = auth.proxies.lookups, auth.gate.identity
    assert (await lookups.target(identity, WEB.id)).hostname == "web1"
    with pytest.raises(NotFound):
        await lookups.target(identity, "web9")
    assert await lookups.tracker(identity, SID) == (None, False)
    await auth.track(auth.other.identity.id)
    tracker, _ = await lookups.tracker(identity, SID)
    assert tracker is not None
    assert tracker.daemon_id == auth.other.identity.id
    assert [(each.name, each.relation) for each in await lookups.trusted()] == [("leaf", Relation.LEAF)]
