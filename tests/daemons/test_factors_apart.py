"""Second factors and enrolled keys at proxies apart: auth judges both, and who skips them gets nothing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.adapters.rpc.proxy_client import FarKeys, FarPortal
from interlock.core.errors import Denied, NotFound, SignInFailed
from interlock.core.presence import Presence
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.rbac import Role
from interlock.services.signin.enrolment import Enrolment
from interlock.services.signin.signin import CODE_PROMPT
from interlock.testing.apart import Scene, blob, cluster_apart
from interlock.testing.clock import FakeClock
from interlock.testing.factors import Authenticator, phone_of

pytestmark = pytest.mark.slow


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Alice has a phone."""
    async with cluster_apart(tmp_path) as made:
        await made.local.factor_store.add_device(phone_of("alice"))
        yield made


async def confirmed(scene: Scene, code: str) -> Scene:
    """The same once alice has answered with this code."""
    claims = scene.claims
    found = await FarPortal(scene.proxy.client).confirm(
        "alice", code, source="10.1.1.1:1", certificate=claims.certificate, session=claims.presence.session
    )
    assert found.device
    return replace(scene, claims=replace(claims, presence=Presence(claims.presence.proof, found.ticket)))


async def test_a_code_is_judged_by_auth_and_its_ticket_opens_one_connection(scene: Scene) -> None:
    """Neither the proxy's word nor another connection's ticket does, and no code counts twice."""
    options = RoleOptions(second_factor=SecondFactor.SESSION)
    await scene.local.roles.replace_role(Role("access", ("root",), {"env": "test"}, options))
    here, there = await scene.here(), await scene.here()
    with pytest.raises(Denied, match="confirmed with a second factor"):
        await here.mint()
    portal = FarPortal(scene.proxy.client)
    asked = await portal.confirm("alice", "", source="10.1.1.1:1", certificate=scene.claims.certificate)
    assert (asked.prompt, asked.device) == (CODE_PROMPT, "")
    with pytest.raises(SignInFailed):
        await confirmed(here, "000000")
    code = Authenticator().code(scene.local.clock.now())
    ready = await confirmed(here, code)
    with pytest.raises(SignInFailed):
        await confirmed(there, code)
    ticket = ready.claims.presence.ticket
    swapped = replace(there, claims=replace(there.claims, presence=Presence(there.claims.presence.proof, ticket)))
    with pytest.raises(Denied, match="connect again"):
        await swapped.mint()
    assert (await ready.mint()).identity.confirmed == phone_of("alice").id


async def test_an_enrolled_key_counts_for_whoever_is_there_to_sign(scene: Scene) -> None:
    """Public keys are no secret: without a proof of presence a proxy gets nothing by one, whatever policy says."""
    enrolment = Enrolment(scene.local.factor_store, scene.local.clock)
    key = await enrolment.add("alice", scene.key, name="laptop")
    claims = await FarKeys(scene.proxy.client, scene.local.clock).claims(key.blob)
    assert (claims.identity.user, claims.certificate, claims.enrolled) == ("alice", key.blob, True)
    own = replace(scene, claims=claims)
    with pytest.raises(Denied, match="does not show that you are connected"):
        await own.mint()
    beacon = await scene.proxy.client.beacon(scene.proxy.host_key)
    there = replace(own.connecting("root%web1", beacon), algorithm="ssh-ed25519")
    assert (await own.proving(there.prove()).mint()).identity.user == "alice"
    await enrolment.remove("alice", "laptop")
    with pytest.raises(NotFound):
        await own.proving(replace(there, salt=b"x" * 32).prove()).mint()


async def test_a_proxy_asks_once_in_a_while_for_a_key_that_is_nobodys(scene: Scene) -> None:
    """Stock clients offer theirs on each connection."""
    clock = FakeClock()
    keys, raw = FarKeys(scene.proxy.client, clock), blob(scene.key)
    with pytest.raises(NotFound):
        await keys.claims(raw)
    await Enrolment(scene.local.factor_store, scene.local.clock).add("alice", scene.key, name="laptop")
    with pytest.raises(NotFound):
        await keys.claims(raw)
    clock.advance(11)
    assert (await keys.claims(raw)).identity.user == "alice"
