"""What a proxy shows of somebody is read as what it is, and is never enough where the person has to be there."""

from base64 import b64decode
from pathlib import Path

import pytest

from interlock.core.errors import Denied, NotFound
from interlock.daemons.config import AuthConfig
from interlock.services.fleet.shown import Shown
from interlock.services.fleet.signing import ForTarget
from interlock.services.keys.daemonca import HostIdentity
from interlock.testing.fleet import DAY, WEB, AuthSide, auth_side, line_of
from interlock.testing.presence import public_blob


async def test_a_certificate_or_an_enrolled_key_with_a_proof(auth: AuthSide) -> None:
    """And who has come with it, as what."""
    claims, seen = await auth.proxies.people.here(auth.gate.identity, await auth.came("root%web1"))
    assert (claims.identity.user, claims.enrolled, claims.identity.confirmed) == ("alice", False, "")
    assert seen is not None
    assert seen.user == "root%web1"
    assert auth.proxies.people.is_ours(claims)
    await auth.enrol()
    claims, seen = await auth.proxies.people.here(auth.gate.identity, await auth.came(plain=True))
    assert (claims.identity.user, claims.enrolled) == ("alice", True)
    assert seen is not None


async def test_a_plain_key_that_is_nobodys(auth: AuthSide) -> None:
    """Whoever is there."""
    with pytest.raises(NotFound):
        await auth.proxies.people.here(auth.gate.identity, await auth.came(plain=True))
    with pytest.raises(NotFound):
        await auth.proxies.people.enrolled(auth.gate.identity, public_blob(auth.person), bounds=True)


async def test_what_a_key_withholds_an_older_proxy_would_drop(auth: AuthSide) -> None:
    """R6: it is not told whose the key is."""
    await auth.enrol(("command", "backup"))
    people, identity, blob = auth.proxies.people, auth.gate.identity, public_blob(auth.person)
    with pytest.raises(Denied, match="this proxy is of an older version"):
        await people.enrolled(identity, blob, bounds=False)
    assert (await people.enrolled(identity, blob, bounds=True)).bounds.command == "backup"


async def test_what_is_no_certificate_of_ours(auth: AuthSide) -> None:
    """Another authority's, one that has expired, and noise."""
    people, identity = auth.proxies.people, auth.gate.identity
    for shown in (b"", b"x" * 100, auth.certificate[:-1], auth.certificate[:-1] + b"\0"):
        with pytest.raises(Denied):
            await people.claims(identity, shown)
    auth.clock.advance(DAY)
    with pytest.raises(Denied, match="expired"):
        await people.claims(identity, auth.certificate)


async def test_a_forwarders_certificate_is_not_the_persons(auth: AuthSide) -> None:
    """What auth has signed for a dial opens nothing more at auth."""
    wanted = ForTarget("root", WEB.id, line_of(auth.person), records=True, client_addr="")
    made = await auth.proxies.targets.sign(auth.gate.identity, await auth.came(), wanted)
    forwarders = b64decode(made.certificate.split()[1])
    with pytest.raises(Denied) as caught:
        await auth.proxies.people.claims(auth.gate.identity, forwarders)
    assert "a forwarder's certificate of alice" in caught.value.reason


async def test_a_proxy_of_before_proofs(tmp_path: Path) -> None:
    """Where none is required of it, a certificate is enough, and a public key is not: that is no secret."""
    async with auth_side(tmp_path, AuthConfig(presence="when_offered")) as auth:
        await auth.enrol()
        people, identity = auth.proxies.people, auth.gate.identity
        claims, seen = await people.here(identity, Shown(auth.certificate))
        assert (claims.identity.user, seen) == ("alice", None)
        with pytest.raises(Denied, match="does not show that you are connected"):
            await people.here(identity, Shown(public_blob(auth.person)))
        await auth.came()  # it asks for a beacon: from now on proofs are required of it
        auth.clock.advance(2)
        with pytest.raises(Denied, match="does not show that you are connected"):
            await people.here(identity, Shown(auth.certificate))


async def test_only_members_are_listened_to(auth: AuthSide) -> None:
    """Whatever their certificate says, they have to be in the list."""
    stranger = HostIdentity(auth.local.cluster.name, WEB.id, ("gate",), auth.gate.identity.kind)
    with pytest.raises(Denied, match="was removed"):
        await auth.proxies.people.claims(stranger, auth.certificate)
