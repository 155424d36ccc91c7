"""Requests for access by the portal: who asks, who decides, and what the certificate says then."""

from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core import portal as wire
from interlock.core.errors import Denied
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.audit import Kind, rfc3339
from interlock.domain.bot import BY_TOKEN, Bot
from interlock.domain.bounds import Bounds, Permission
from interlock.domain.identity import Claims, Identity
from interlock.domain.rbac import Role
from interlock.ports import User
from interlock.services.access.caller import Caller
from interlock.services.access.requests import Requests
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.certificates import CertificateReader
from interlock.services.portal.certifying import NO_LOGIN
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLocks
from interlock.testing.portal import KEY, SID, Elsewhere, Events, World, certified, portal_of, refused, signed_in
from interlock.testing.requests import MemoryRequests

KNOWN = {
    "dev": Role("dev", ("www",), {"env": "prod"}, RoleOptions(request_roles=("dba",))),
    "asker": Role("asker", options=RoleOptions(request_roles=("dba",))),
    "dba": Role("dba", ("postgres",), {"env": "db"}, RoleOptions(max_request_ttl=7200)),
    "lead": Role("lead", options=RoleOptions(review_roles=("dba",))),
}
PEOPLE = {"alice": ("dev",), "newcomer": ("asker",), "bob": ("lead",), "eve": ("dev",)}


class Office(World):
    """People who ask, and one who decides."""

    async def user(self, name: str) -> User:
        return User(name, PEOPLE[name], None, must_change=False, created=START)

    async def roles(self, names: Iterable[str]) -> list[Role]:
        return [role for name, role in KNOWN.items() if name in set(names)]


@pytest.fixture
def store() -> MemoryRequests:
    """Nobody has asked yet."""
    return MemoryRequests()


@pytest.fixture
async def office(clock: FakeClock, events: Events, elsewhere: Elsewhere, store: MemoryRequests) -> Portal:
    """The portal, where roles can be asked for."""
    world, entropy = Office(), FakeEntropy()
    factory = EventFactory(cluster="test", clock=clock, entropy=entropy)
    access = Requests(store, roles=world, locks=MemoryLocks(), factory=factory, clock=clock, entropy=entropy)
    return await portal_of(world, clock=clock, events=events, elsewhere=elsewhere, access=access)


async def ask(portal: Portal, caller: Caller, request: wire.AnyRequest) -> Any:
    """The reply, which is no refusal."""
    reply = await portal.answer(caller, request)
    assert not isinstance(reply, wire.Refused), reply
    return reply


async def approved(office: Portal, user: str = "alice", role: str = "dev", **more: Any) -> wire.AccessItem:
    """A request to which bob said yes."""
    made = (await ask(office, certified(user, role), wire.AskAccess(["dba"], "incident", **more))).request
    done = await ask(office, certified("bob", "lead"), wire.ReviewAccess(made.id, approve=True))
    item: wire.AccessItem = done.request
    return item


def claims_of(office: Portal, signed: wire.Signed, clock: FakeClock) -> Claims:
    """What the certificate says."""
    reader = CertificateReader([office._authority.export("user")])
    return reader.read(b64decode(signed.certificate.split()[1]), now=clock.now())


async def test_a_request_goes_its_way(office: Portal, events: Events) -> None:
    """Both sides see where it stands; each step is an event."""
    done = await approved(office)
    assert (done.state, done.yours, [each.by for each in done.reviews]) == ("approved", False, ["bob"])
    listed = (await ask(office, certified("alice", "dev"), wire.Accesses())).requests
    assert [(each.id, each.yours) for each in listed] == [(done.id, True)]
    assert (await ask(office, certified("eve", "dev"), wire.Accesses())).requests == []
    shown = (await ask(office, certified("alice", "dev"), wire.ShowAccess(done.id))).request
    assert shown.expires == rfc3339(START + timedelta(hours=2))
    await ask(office, certified("alice", "dev"), wire.CancelAccess(done.id))
    kinds = [event.kind for event in events]
    assert kinds == [Kind.ACCESS_REQUEST_CREATE, Kind.ACCESS_REQUEST_REVIEW, Kind.ACCESS_REQUEST_UPDATE]


async def test_the_next_sign_in_has_the_roles(office: Portal, clock: FakeClock) -> None:
    """With the request in the certificate, which ends with the access."""
    done = await approved(office, ttl=600)
    signed = await ask(office, signed_in(), wire.Sign(KEY))
    assert (signed.roles, signed.logins) == (["dev", "dba"], ["postgres", "www"])
    claims = claims_of(office, signed, clock)
    assert claims.identity == Identity("alice", ("dev", "dba"), "test", requests=(done.id,))
    assert claims.valid_before == (START + timedelta(seconds=600)).replace(microsecond=0)


async def test_access_is_taken_without_signing_in_again(office: Portal, clock: FakeClock) -> None:
    """R29: not for longer than the certificate that is shown, and with all that restricts it."""
    done = await approved(office)
    caller = certified("alice", "dev")
    assert caller.claims is not None
    shown = replace(
        caller.claims,
        identity=replace(caller.claims.identity, device="0b8f4a5e-1111-4222-8333-944445555666"),
        source_networks=("192.0.2.7/32",),
    )
    signed = await ask(office, replace(caller, claims=shown), wire.UseAccess(done.id, KEY))
    claims = claims_of(office, signed, clock)
    assert claims.valid_before == shown.valid_before.replace(microsecond=0)
    assert claims.source_networks == ("192.0.2.7/32",)
    assert claims.identity == replace(shown.identity, roles=("dev", "dba"), requests=(done.id,))


@pytest.mark.parametrize("how", ["pending", "denied", "another's", "expired", "password", "unknown"])
async def test_what_gives_no_access_gives_no_certificate(office: Portal, clock: FakeClock, how: str) -> None:
    """And a certificate does not renew itself by it."""
    caller = certified("alice", "dev")
    made = (await ask(office, caller, wire.AskAccess(["dba"], "incident"))).request
    if how not in {"pending", "unknown"}:
        await ask(office, certified("bob", "lead"), wire.ReviewAccess(made.id, approve=how != "denied"))
    if how == "expired":
        clock.advance(7200)
        caller = replace(caller, claims=replace(caller.claims, valid_before=clock.now() + timedelta(hours=1)))  # type: ignore[type-var]  # it has claims
    who = {"another's": certified("eve", "dev"), "password": signed_in()}.get(how, caller)
    request_id = made.id if how != "unknown" else "nonsense"
    assert (await refused(office, who, wire.UseAccess(request_id, KEY))).why == "denied"


async def test_access_is_for_the_key_that_is_shown_and_no_other(office: Portal) -> None:
    """A proxy that passes the request on cannot put its own key in, and a thief of the key gets no second one."""
    done = await approved(office)
    another = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    for key in (another.decode(), "nonsense"):
        assert (await refused(office, certified("alice", "dev"), wire.UseAccess(done.id, key))).why == "denied"


async def test_what_is_restricted_gets_no_more_by_it(office: Portal) -> None:
    """R29: what restricts a key or certificate, such as verify-required, would be lost."""
    done = await approved(office)
    caller = certified("alice", "dev")
    assert caller.claims is not None
    for restricted in (
        replace(caller.claims, enrolled=True),
        replace(caller.claims, verified=True),
        replace(caller.claims, untouched=True),
        replace(caller.claims, bounds=Bounds(None, (Permission.PTY,))),
    ):
        who = replace(caller, claims=restricted)
        assert "ilsh login" in (await refused(office, who, wire.UseAccess(done.id, KEY))).message


@pytest.mark.parametrize("wanted", [SecondFactor.SIGN_IN, SecondFactor.SESSION])
async def test_a_stolen_key_decides_nothing_where_a_role_asks_for_a_second_factor(
    office: Portal, monkeypatch: pytest.MonkeyPatch, wanted: SecondFactor
) -> None:
    """Nor plays a recording or ends a session: the certificate has to say that there was one."""
    made = (await ask(office, certified("alice", "dev"), wire.AskAccess(["dba"], "incident"))).request
    options = RoleOptions(review_roles=("dba",), second_factor=wanted)
    monkeypatch.setitem(KNOWN, "lead", Role("lead", options=options))
    bob = certified("bob", "lead")
    assert bob.claims is not None
    for request in (wire.ReviewAccess(made.id, approve=True), wire.Recording(SID), wire.EndSession(SID)):
        assert "second factor" in (await refused(office, bob, request)).message
        assert "second factor" in (await refused(office, signed_in("bob"), request)).message
    device = replace(bob.claims.identity, device="0b8f4a5e-1111-4222-8333-944445555666")
    proven = replace(bob, claims=replace(bob.claims, identity=device))
    assert (await ask(office, proven, wire.ReviewAccess(made.id, approve=True))).request.state == "approved"
    assert (await ask(office, bob, wire.Accesses())).requests


async def test_whoever_has_no_login_can_sign_in_to_ask(office: Portal, clock: FakeClock) -> None:
    """With a principal that is nobody's; whoever may not even ask is refused as ever."""
    signed = await ask(office, signed_in("newcomer"), wire.Sign(KEY))
    assert signed.logins == []
    assert claims_of(office, signed, clock).logins == (NO_LOGIN,)
    await approved(office, "newcomer", "asker")
    assert (await ask(office, signed_in("newcomer"), wire.Sign(KEY))).logins == ["postgres"]


async def test_a_role_binds_certificates_to_an_address_and_a_time(
    office: Portal, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sign-in; and nobody signs in from nowhere."""
    options = RoleOptions(pin_source_ip=True, max_certificate_ttl=3600)
    monkeypatch.setitem(KNOWN, "dev", Role("dev", ("www",), {"env": "prod"}, options))
    for ttl in (None, 7200):
        claims = claims_of(office, await ask(office, signed_in(), wire.Sign(KEY, ttl)), clock)
        assert claims.source_networks == ("192.0.2.7/32",)
        assert claims.valid_before == (START + timedelta(hours=1)).replace(microsecond=0)
    short = claims_of(office, await ask(office, signed_in(), wire.Sign(KEY, 60)), clock)
    assert short.valid_before == (START + timedelta(seconds=60)).replace(microsecond=0)
    assert (
        "your address is not known"
        in (await refused(office, replace(signed_in(), source=""), wire.Sign(KEY))).message
    )


async def test_a_role_by_request_binds_the_certificate_too(
    office: Portal, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the address and the time that it wants, without signing in again."""
    options = RoleOptions(max_request_ttl=7200, pin_source_ip=True, max_certificate_ttl=600)
    monkeypatch.setitem(KNOWN, "dba", Role("dba", ("postgres",), {"env": "db"}, options))
    done = await approved(office)
    caller = replace(certified("alice", "dev"), source="192.0.2.7:4000")
    claims = claims_of(office, await ask(office, caller, wire.UseAccess(done.id, KEY)), clock)
    assert claims.source_networks == ("192.0.2.7/32",)
    assert claims.valid_before == (START + timedelta(seconds=600)).replace(microsecond=0)


class Machines:
    """`Bots`, as far as the portal asks for it."""

    def __init__(self) -> None:
        self.signed: list[Bot] = []

    async def sign(
        self, bot: Bot, caller: Caller, roles: Sequence[str], allowed: Sequence[str], public_key: str
    ) -> tuple[str, tuple[str, ...]]:
        """Nothing: it is enough to know for what."""
        self.signed.append(bot)
        raise Denied("no", reason=f"{caller.user}, {roles}, {allowed}, {public_key}")

    async def find(self, user: str) -> Bot | None:
        """Alice is."""
        return Bot("alice", ("www",), timedelta(hours=1), (), START) if user == "alice" else None


async def test_what_roles_say_of_certificates_counts_for_bots(
    office: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shorter life, and the address that it comes from."""
    options = RoleOptions(pin_source_ip=True, max_certificate_ttl=600)
    monkeypatch.setitem(KNOWN, "dev", Role("dev", ("www",), {"env": "prod"}, options))
    machines = Machines()
    monkeypatch.setattr(office._certifying, "_bots", machines)  # the rest of it is not asked for
    await refused(office, replace(signed_in(), source="192.0.2.7:4000"), wire.Sign(KEY))
    [bot] = machines.signed
    assert (bot.life, bot.sources) == (timedelta(minutes=10), ("192.0.2.7/32",))


async def test_a_bot_is_one_however_it_was_signed_in(office: Portal) -> None:
    """By a link or a passkey in a browser as well: nothing of what is for people."""
    office._bots = Machines()  # type: ignore[assignment]  # the rest of it is not asked for
    for device in ("", "0b8f4a5e-1111-4222-8333-944445555666", BY_TOKEN):
        caller = replace(signed_in(), device=device)
        for request in (wire.Accesses(), wire.Recordings(), wire.Devices()):
            assert "bots" in (await refused(office, caller, request)).message
    assert not isinstance(await office.answer(signed_in("bob"), wire.Accesses()), wire.Refused)


@pytest.mark.parametrize("enrolled", [False, True])
async def test_a_bot_is_one_by_whatever_key_it_comes(office: Portal, clock: FakeClock, enrolled: bool) -> None:
    """Certificates that were signed by hand, and enrolled keys, have no number: they are a bot's all the same."""
    claims = replace(claims_of(office, await ask(office, signed_in(), wire.Sign(KEY)), clock), enrolled=enrolled)
    office._bots = Machines()  # type: ignore[assignment]  # the rest of it is not asked for
    caller = Caller("alice", claims, ("publickey",), START)
    for request in (wire.Accesses(), wire.Recordings(), wire.Devices()):
        assert "bots" in (await refused(office, caller, request)).message
    assert not isinstance(await office.answer(caller, wire.Nodes()), wire.Refused)


async def test_roles_by_request_count_at_the_portal_while_it_gives_them(
    office: Portal, clock: FakeClock, store: MemoryRequests
) -> None:
    """Asked anew for every request."""
    done = await approved(office)
    claims = claims_of(office, await ask(office, signed_in(), wire.Sign(KEY)), clock)
    caller = Caller("alice", claims, ("publickey",), START)
    assert (await ask(office, caller, wire.WhoAmI())).roles == ["dev", "dba"]
    await store.remove_request(done.id)
    assert (await ask(office, caller, wire.WhoAmI())).roles == ["dev"]
