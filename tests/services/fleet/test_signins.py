"""Sign-ins at a proxy apart: auth's judgement, and a ticket for exactly what was proved."""

import pytest

from interlock.core.errors import Denied, LimitReached, SignInFailed
from interlock.domain.browser import Verdict
from interlock.ports import User
from interlock.services.fleet.tickets import PURPOSE, Tickets
from interlock.services.keys.daemonca import open_daemon_ca
from interlock.services.signin.confirming import MAX_OF_SOURCE
from interlock.services.signin.signin import SignInResult
from interlock.testing.factors import Authenticator, phone_of
from interlock.testing.fleet import PASSWORD, AuthSide

SOURCE = "192.0.2.7:5000"
NEW = "staple battery horse correct"


async def tickets_of(auth: AuthSide) -> Tickets:
    """Auth's: what it reads in them."""
    local = auth.local
    ca = await open_daemon_ca(
        local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
    )
    return Tickets(lambda: [ca.secret(PURPOSE)])


async def by_password(
    auth: AuthSide, password: str = PASSWORD, *, new: str | None = None, code: str = "", source: str = SOURCE
) -> tuple[SignInResult, bytes]:
    """What alice gets for a password."""
    return await auth.proxies.sign_ins.by_password(
        auth.gate.identity, "alice", password, source=source, new=new, code=code
    )


async def test_a_ticket_says_who_when_where_and_with_what(auth: AuthSide) -> None:
    """And only who is signed in has one."""
    result, ticket = await by_password(auth)
    assert result is SignInResult.OK
    tickets = await tickets_of(auth)
    assert tickets.read(ticket, auth.gate.identity.id, auth.clock.now()) == ("alice", auth.clock.now(), "")
    with pytest.raises(Denied):
        tickets.read(ticket, auth.other.identity.id, auth.clock.now())
    await auth.local.factor_store.add_device(phone_of("alice"))
    assert await by_password(auth) == (SignInResult.NEEDS_CODE, b"")
    code = Authenticator().code(auth.clock.now())
    result, ticket = await by_password(auth, code=code)
    assert result is SignInResult.OK
    assert tickets.read(ticket, auth.gate.identity.id, auth.clock.now())[2] == phone_of("alice").id
    with pytest.raises(SignInFailed):  # it counts once
        await by_password(auth, code=code)


async def test_a_new_password_on_the_way(auth: AuthSide) -> None:
    """Where the old one was for once there is no ticket before."""
    await auth.local.users.set_password("alice", await auth.local.passwords.hash(PASSWORD), must_change=True)
    assert await by_password(auth) == (SignInResult.MUST_CHANGE, b"")
    with pytest.raises(Denied, match="must have"):
        await by_password(auth, new="short")
    result, ticket = await by_password(auth, new=NEW)
    assert (result, bool(ticket)) == (SignInResult.OK, True)
    with pytest.raises(SignInFailed):
        await by_password(auth)
    assert (await by_password(auth, NEW))[0] is SignInResult.OK


async def test_nobody_is_nowhere(auth: AuthSide) -> None:
    """A source is an address, or is not known; the brake counts by it."""
    assert (await by_password(auth, source=""))[0] is SignInResult.OK
    for source in ("192.0.2.7:99999", "192.0.2.7:", ":22"):
        with pytest.raises(Denied, match="may only act"):
            await by_password(auth, source=source)
        with pytest.raises(Denied, match="may only act"):
            await auth.proxies.sign_ins.ask_browser(auth.gate.identity, "alice", source=source)
        with pytest.raises(Denied, match="may only act"):
            await auth.proxies.factors.confirm(
                auth.gate.identity, auth.certificate, "", source=source, session=b""
            )


async def test_wrong_passwords_are_braked_for_all_proxies(auth: AuthSide) -> None:
    """By the person's address, which each of them tells."""
    for _ in range(12):
        with pytest.raises(SignInFailed):
            await by_password(auth, "wrong")
    with pytest.raises(SignInFailed):
        await auth.proxies.sign_ins.by_password(
            auth.other.identity, "alice", PASSWORD, source="192.0.2.7:5001", new=None
        )


async def test_a_sign_in_in_a_browser_is_whose_confirmed_it(auth: AuthSide) -> None:
    """Once; until then there is nothing, and a name that was given binds."""
    sign_ins, identity = auth.proxies.sign_ins, auth.gate.identity
    asked = await sign_ins.ask_browser(identity, "", source=SOURCE)
    assert asked.url == f"https://gateway.example.com/c/{asked.code}"
    assert await sign_ins.collect_browser(identity, asked.id) == (None, b"")
    await auth.local.users.add_user(User("bob", ("access",), None, must_change=False, created=auth.clock.now()))
    await auth.local.browsers.decide(asked.id, Verdict.CONFIRMED, by="bob", method="local", device="d1")
    found, ticket = await sign_ins.collect_browser(identity, asked.id)
    assert found is not None
    assert (found.user, found.device) == ("bob", "d1")
    read = (await tickets_of(auth)).read(ticket, identity.id, auth.clock.now())
    assert read == ("bob", auth.clock.now(), "d1")
    with pytest.raises(SignInFailed):
        await sign_ins.collect_browser(identity, asked.id)
    refused = await sign_ins.ask_browser(identity, "alice", source=SOURCE)
    await auth.local.browsers.decide(refused.id, Verdict.REFUSED, by="alice", method="local", device="")
    with pytest.raises(SignInFailed):
        await sign_ins.collect_browser(identity, refused.id)


async def test_so_many_wait_from_one_address(auth: AuthSide) -> None:
    """Whatever proxy says so."""
    for _ in range(MAX_OF_SOURCE):
        await auth.proxies.sign_ins.ask_browser(auth.gate.identity, "alice", source=SOURCE)
    with pytest.raises(LimitReached):
        await auth.proxies.sign_ins.ask_browser(auth.other.identity, "alice", source=SOURCE)


async def test_a_second_factor_is_ones_own(auth: AuthSide) -> None:
    """A wrong code gives nothing; nor does a right one for an account that is gone."""
    await auth.local.factor_store.add_device(phone_of("alice"))
    factors, identity = auth.proxies.factors, auth.gate.identity
    asked = await factors.confirm(identity, auth.certificate, "", source=SOURCE, session=b"s")
    assert (asked.device, asked.ticket, bool(asked.prompt)) == ("", b"", True)
    with pytest.raises(SignInFailed):
        await factors.confirm(identity, auth.certificate, "000000", source=SOURCE, session=b"s")
    code = Authenticator().code(auth.clock.now())
    found = await factors.confirm(identity, auth.certificate, code, source=SOURCE, session=b"s")
    assert (found.device, bool(found.ticket)) == (phone_of("alice").id, True)
    auth.clock.advance(60)
    await auth.local.users.remove_user("alice")
    code = Authenticator().code(auth.clock.now())
    with pytest.raises(SignInFailed):
        await factors.confirm(identity, auth.certificate, code, source=SOURCE, session=b"s")
