"""What is signed for a dial, for a leaf's door and for a jump's end, and what is not."""

from base64 import b64decode
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.certificate import TOUCHED, VERIFIED, SignedCertificate
from interlock.core.errors import Denied, NotFound
from interlock.core.presence import digest_of_session
from interlock.domain.access import HardwareKey, RoleOptions, SecondFactor
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import EnrolledKey
from interlock.domain.identity import Claims
from interlock.domain.rbac import Role
from interlock.services.fleet.shown import Shown
from interlock.services.fleet.signing import ForLeaf, ForTarget
from interlock.services.fleet.tickets import LIFE
from interlock.testing.agent import SecurityKey
from interlock.testing.factors import Authenticator, phone_of
from interlock.testing.fleet import DB, WEB, AuthSide

SOURCE = "192.0.2.7:5000"
TO_LEAF = ForLeaf("root", "web1", "leaf", "", offers=True, client_addr=SOURCE)


def to(auth: AuthSide, *, login: str = "root", records: bool = True, key: str = "") -> ForTarget:
    """A dial to web1."""
    return ForTarget(login, WEB.id, key or auth.key, records, SOURCE)


async def signed(auth: AuthSide, shown: Shown, wanted: ForTarget) -> Claims:
    """What the certificate says that comes of it."""
    made = await auth.proxies.targets.sign(auth.gate.identity, shown, wanted)
    return auth.local.claims.read(b64decode(made.certificate.split()[1]), now=auth.clock.now())


async def refusal(auth: AuthSide, shown: Shown, wanted: ForTarget) -> str:
    """Why it is not signed, for the audit log."""
    with pytest.raises(Denied) as caught:
        await auth.proxies.targets.sign(auth.gate.identity, shown, wanted)
    return caught.value.reason


async def test_a_certificate_says_for_whom_where_and_who_records(auth: AuthSide) -> None:
    """And which proxy stands at the target."""
    claims = await signed(auth, await auth.came(), to(auth))
    assert (claims.identity.user, claims.logins) == ("alice", ("root",))
    assert claims.forwarded is not None
    assert (claims.forwarded.target, claims.forwarded.records) == (WEB.id, True)
    assert claims.forwarded.client == SOURCE


async def test_what_a_key_on_hardware_has_shown_is_seen_by_auth_itself(auth: AuthSide) -> None:
    """By the person's own signature: a proxy's word for it is not asked for, and a certificate does not say it."""
    options = RoleOptions(hardware_key=HardwareKey.PIN)
    await auth.local.roles.replace_role(Role("access", ("root",), {"env": "test"}, options))
    token = SecurityKey()
    key = EnrolledKey(token.blob, "alice", "token", auth.clock.now())
    assert await auth.local.factor_store.enrol_key(key)
    assert "no key on hardware" in await refusal(auth, await auth.came(), to(auth))
    assert "one that has shown touch" in await refusal(auth, await auth.touched(token), to(auth))
    token.flags = VERIFIED
    assert "does not match" in await refusal(auth, await auth.touched(token), to(auth))
    token.flags = TOUCHED | VERIFIED
    claims = await signed(auth, await auth.touched(token), to(auth))
    assert claims.identity.hardware is HardwareKey.PIN


async def test_it_is_for_what_was_asked_for(auth: AuthSide) -> None:
    """Another target or login that alice may have is not had by the way."""
    came = await auth.came("root%db1")
    assert f"in place of the target {WEB.id}" in await refusal(auth, came, to(auth))
    assert "in place of the login 'mallory'" in await refusal(auth, await auth.came(), to(auth, login="mallory"))
    await auth.proxies.targets.sign(auth.gate.identity, came, replace(to(auth), target=DB.id))
    with pytest.raises(NotFound):
        await signed(auth, await auth.came("root%web9"), to(auth))


async def test_what_is_recorded_where_is_policys_word(auth: AuthSide) -> None:
    """A node is relieved of it only in a mode in which proxies record."""
    await auth.local.clusters.set_recording_mode(RecordingMode.NODE)
    assert "asked to record instead" in await refusal(auth, await auth.came(), to(auth))
    claims = await signed(auth, await auth.came(), to(auth, records=False))
    assert claims.forwarded is not None
    assert not claims.forwarded.records


async def test_a_proof_is_good_for_one_key(auth: AuthSide) -> None:
    """Also if it is asked for a leaf the second time; an answer that was lost is given again."""
    came, other = await auth.came(), auth.gate.line
    await signed(auth, came, to(auth))
    await signed(auth, came, to(auth))
    assert "used before" in await refusal(auth, came, to(auth, key=other))
    away = await auth.came("root%web1.leaf")
    await auth.proxies.leaves.sign(auth.gate.identity, away, replace(TO_LEAF, public_key=auth.key))
    with pytest.raises(Denied):
        await auth.proxies.leaves.sign(auth.gate.identity, away, replace(TO_LEAF, public_key=other))


async def test_a_leafs_portal_is_asked_as_often_as_ones_own(auth: AuthSide) -> None:
    """One proof serves several questions."""
    came = await auth.came("alice")
    wanted = replace(TO_LEAF, login="", node="", offers=False)
    for key in (auth.key, auth.gate.line):
        await auth.proxies.leaves.sign(auth.gate.identity, came, replace(wanted, public_key=key))
    with pytest.raises(NotFound, match="no such leaf cluster"):
        await auth.proxies.leaves.sign(
            auth.gate.identity, came, replace(wanted, leaf="elsewhere", public_key=auth.key)
        )


async def test_where_roles_ask_for_a_second_factor_its_ticket_is_needed(auth: AuthSide) -> None:
    """For this person, this connection and this proxy, and for minutes."""
    careful = RoleOptions(second_factor=SecondFactor.SESSION)
    await auth.local.roles.replace_role(Role("access", ("root",), {"env": "test"}, careful))
    await auth.local.factor_store.add_device(phone_of("alice"))
    came = await auth.came()
    assert came.proof is not None
    assert "has not confirmed this connection" in await refusal(auth, came, to(auth))
    seen = (await auth.proxies.people.here(auth.gate.identity, came))[1]
    assert seen is not None
    confirmed = await auth.proxies.factors.confirm(
        auth.gate.identity,
        auth.certificate,
        Authenticator().code(auth.clock.now()),
        source=SOURCE,
        session=digest_of_session(seen.session_id),
    )
    ready = replace(came, ticket=confirmed.ticket)
    assert (await signed(auth, ready, to(auth))).identity.confirmed == phone_of("alice").id
    elsewhere = replace(await auth.came(at=auth.other), ticket=confirmed.ticket)
    with pytest.raises(Denied, match="not confirmed"):
        await auth.proxies.targets.sign(auth.other.identity, elsewhere, to(auth))
    assert "showed a ticket of" in await refusal(
        auth, replace(await auth.came(), ticket=confirmed.ticket), to(auth)
    )
    assert "a ticket that is none" in await refusal(auth, replace(ready, ticket=b"x" * 64), to(auth))
    auth.clock.advance(LIFE + timedelta(seconds=1))
    assert await refusal(auth, ready, to(auth))


async def test_a_jumps_end_is_a_target(auth: AuthSide) -> None:
    """By its names, one target at a time; of nodes of leaves auth knows no more than the ending."""
    jumps, gate = auth.proxies.jumps, auth.gate
    good: tuple[tuple[str, ...], ...] = (("web1",), (WEB.id,), ("web1", WEB.id), ("anything.leaf",))
    for names in good:
        line = await jumps.sign(gate.identity, gate.line, names)
        assert SignedCertificate.from_line(line).certificate.principals == names
    bad = ((), ("web1", "db1"), ("web9",), ("web1", WEB.id, "x"), ("gate",), ("web1", "other.leaf"))
    for names in bad:
        with pytest.raises(Denied, match="may only act"):
            await jumps.sign(gate.identity, gate.line, names)
