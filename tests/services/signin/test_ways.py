"""Every way of signing in, for whoever may not: the same words and the same event, whatever they have proved.

A row for each way; in each alice first comes in, and is then locked out (by name, by her role, by her device),
without roles, braked, and at last removed between her proof and what comes of it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.errors import InterlockError, SignInFailed
from interlock.core.ids import DeviceId
from interlock.daemons.config import WebConfig
from interlock.daemons.proxy import local_admission
from interlock.daemons.web import signing_in, web_parts
from interlock.domain.audit import AuditEvent
from interlock.domain.bot import Bot
from interlock.domain.browser import Verdict
from interlock.domain.factor import EnrolledKey, Passkey
from interlock.domain.lock import Lock, LockKind
from interlock.domain.rbac import Role
from interlock.domain.sso import Connector, Rule
from interlock.services.bots.bots import new_token
from interlock.services.signin.admitting import NOT_SIGNED_IN, WRONG_CODE, Way
from interlock.services.signin.brake import FREE_FAILURES, SOURCE_FAILURES
from interlock.services.signin.confirming import BY_PASSKEY, NOT_VALID
from interlock.services.signin.factors import STEP_S
from interlock.services.signin.signin import in_browser
from interlock.testing.authenticator import Authenticator as PasskeyDevice
from interlock.testing.browsing import PASSWORD, URL, WebDesk, web_desk
from interlock.testing.clock import START
from interlock.testing.factors import Authenticator, phone_of
from interlock.testing.presence import public_blob
from interlock.testing.provider import CLIENT, ISSUER, SECRET, FakeProvider

SOURCE = "192.0.2.7:5000"
BROWSER = "the cookie of a browser"
SETTINGS = WebConfig(listen="127.0.0.1:0", public_url=URL)
STAFF = Connector("company", ISSUER, CLIENT, (Rule("groups", "staff", ("dev",)),))
BOT = Bot("alice", ("root",), timedelta(hours=1), (), START)
PHONE = phone_of("alice").id
FISHING = "access is locked: gone fishing"


@dataclass
class Scene:
    """Everything that signs people in, over one data directory."""

    desk: WebDesk
    provider: FakeProvider
    gone: bool = False  # alice is to be removed when she has proved what there is to prove
    key: PasskeyDevice = field(default_factory=PasskeyDevice)
    person: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        """Composed as the gateway composes them."""
        self.local, self.clock = self.desk.local, self.desk.clock
        self.signin = signing_in(SETTINGS, self.local, self.desk.events)
        self.web = web_parts(SETTINGS, self.local, self.desk.events, self.signin, self.provider)
        assert self.web.passkeys is not None
        self.passkeys = self.web.passkeys

    async def proved(self) -> None:
        """Alice has done what she has to do."""
        if self.gone:
            await self.local.users.remove_user("alice")

    async def lock(self, kind: LockKind, name: str) -> None:
        """With words for her."""
        await self.local.locks.add_lock(Lock("l1", kind, name, self.clock.now(), "gone fishing"))


Deed = Callable[[Scene], Awaitable[None]]


async def nothing(scene: Scene) -> None:
    """She has her password."""
    del scene


async def has_phone(scene: Scene) -> None:
    """An authenticator."""
    await scene.local.factor_store.add_device(phone_of("alice"))


async def has_passkey(scene: Scene) -> None:
    """A passkey, as made in a browser."""
    asked = await scene.passkeys.begin_new("alice", BROWSER, source=SOURCE)
    await scene.passkeys.add("alice", BROWSER, scene.key.make(asked), "key", source=SOURCE)


async def is_vouched_for(scene: Scene) -> None:
    """An account that the provider's word makes, in the place of her own."""
    await scene.local.users.remove_user("alice")
    assert await scene.local.sso.add_connector(STAFF, SECRET)
    scene.provider.claims |= {"preferred_username": "alice"}


async def is_bot(scene: Scene) -> None:
    """A machine."""
    await _token(scene)


async def has_key(scene: Scene) -> None:
    """A key that counts without a certificate."""
    key = EnrolledKey(public_blob(scene.person), "alice", "laptop", scene.clock.now())
    assert await scene.local.factor_store.enrol_key(key)


async def _token(scene: Scene) -> str:
    made = await new_token(scene.local.bots, BOT, pin="SHA256:x", clock=scene.clock, entropy=scene.local.entropy)
    return made.text


# --- ways in ------------------------------------------------------------------------------------


async def by_password(scene: Scene) -> None:
    """Alone: removed before, as there is no moment between."""
    await scene.proved()
    await scene.signin.check("alice", PASSWORD, source=SOURCE)


async def by_password_and_code(scene: Scene) -> None:
    """The same, with what the phone shows."""
    code = Authenticator().code(scene.clock.now())
    await scene.proved()
    await scene.signin.check("alice", PASSWORD, source=SOURCE, code=code)


async def by_recovery_code(scene: Scene) -> None:
    """The same, without the phone."""
    [code, *_] = await scene.web.factors.new_recovery_codes("alice")
    await scene.proved()
    await scene.signin.check("alice", PASSWORD, source=SOURCE, code=code)


async def by_token(scene: Scene) -> None:
    """A bot's."""
    token = await _token(scene)
    await scene.proved()
    await scene.signin.check("alice", token, source=SOURCE)


async def by_passkey(scene: Scene) -> None:
    """In a browser, without a password."""
    answer = scene.key.sign(await scene.passkeys.begin(BROWSER, source=SOURCE))
    await scene.proved()
    await scene.passkeys.sign_in(BROWSER, answer, source=SOURCE)


async def by_provider(scene: Scene) -> None:
    """There and back."""
    back = scene.provider.sign_in(await scene.web.sso.leave("company", BROWSER, source=SOURCE))
    await scene.proved()
    await scene.web.sso.come_back(BROWSER, back, source=SOURCE)


async def _by_browser(scene: Scene, method: str) -> None:
    asked = await scene.web.confirmations.ask("alice", source=SOURCE)
    waiting = await scene.web.confirmations.look(asked.code, source=SOURCE)
    await scene.web.confirmations.decide(waiting, Verdict.CONFIRMED, by="alice", method=method, device="")
    await scene.proved()
    assert await scene.web.confirmations.collect(asked.id)


async def by_browser(scene: Scene) -> None:
    """At a terminal, confirmed by who is signed in there by password or passkey."""
    await _by_browser(scene, "local")


async def by_browser_and_provider(scene: Scene) -> None:
    """By who is signed in there by a provider."""
    await _by_browser(scene, "oidc")


async def confirming_by_code(scene: Scene) -> None:
    """On a connection; a certificate has proved who it is."""
    code = Authenticator().code(scene.clock.now())
    await scene.proved()
    assert (await scene.signin.confirm("alice", code, source=SOURCE)).device == PHONE


async def confirming_by_passkey(scene: Scene) -> None:
    """The same, at the page."""
    answer = scene.key.sign(await scene.passkeys.begin(BROWSER, source=SOURCE, user="alice"))
    await scene.proved()
    await scene.passkeys.confirm("alice", BROWSER, answer, source=SOURCE)


async def confirming_in_a_browser(scene: Scene) -> None:
    """The same, at the terminal that waits; the page has told that it was confirmed."""
    asked = await scene.signin.confirm("alice", "", source=SOURCE)
    code = asked.question.split("/c/")[1].split()[0]
    waiting = await scene.web.confirmations.look(code, source=SOURCE)
    device = (await scene.passkeys.of("alice"))[0].id
    await scene.web.confirmations.decide(waiting, Verdict.CONFIRMED, by="alice", method=BY_PASSKEY, device=device)
    await scene.proved()
    assert (await scene.signin.confirm("alice", in_browser(asked.waits), source=SOURCE)).device == device


async def by_key(scene: Scene) -> None:
    """By key alone: it is judged on each connection, as a certificate is."""
    claims = await scene.local.enrolled_keys().claims(public_blob(scene.person))
    await scene.proved()
    await local_admission(scene.local).current_roles(claims)


# --- wrong proofs, that a brake counts ----------------------------------------------------------


async def wrong_password(scene: Scene) -> None:
    """Or a wrong token."""
    await scene.signin.check("alice", "wrong", source=SOURCE)


async def wrong_code(scene: Scene) -> None:
    """Behind the right password."""
    await scene.signin.check("alice", PASSWORD, source=SOURCE, code="000000")


async def wrong_passkey(scene: Scene) -> None:
    """An answer to nothing."""
    await scene.passkeys.sign_in(BROWSER, "{}", source=SOURCE)


async def wrong_confirmation(scene: Scene) -> None:
    """On a connection."""
    await scene.signin.confirm("alice", "000000", source=SOURCE)


async def wrong_look(scene: Scene) -> None:
    """A code that nobody waits for."""
    await scene.web.confirmations.look("BBBB-BBBB-BBBB", source=SOURCE)


@dataclass(frozen=True, slots=True)
class Row:
    """A way in, and what is particular about it."""

    way: Way | None  # None: no sign-in, but a connection by itself
    has: Deed
    enters: Deed
    errs: Deed | None = None  # None: nothing can be guessed at
    braked: str = ""  # what is read then, if not the text of this way
    removed: str = ""  # likewise
    without_roles: str = ""  # empty: signed in; what roles allow is asked about afterwards
    device: Callable[[Scene], Awaitable[DeviceId]] | None = None  # by which alice may be locked out, too
    told: bool = True  # whether success is told here


async def phone(scene: Scene) -> DeviceId:
    """Alice's."""
    del scene
    return PHONE


async def passkey(scene: Scene) -> DeviceId:
    """Alice's."""
    [found] = [each for each in await scene.passkeys.of("alice") if isinstance(each.proof, Passkey)]
    return found.id


ROWS: dict[str, Row] = {
    "password": Row(Way.PASSWORD, nothing, by_password, wrong_password),
    "password and code": Row(Way.PASSWORD, has_phone, by_password_and_code, wrong_code, device=phone),
    "recovery code": Row(Way.PASSWORD, has_phone, by_recovery_code, wrong_code),
    "bot": Row(Way.TOKEN, is_bot, by_token, wrong_password),
    "passkey": Row(Way.PASSKEY, has_passkey, by_passkey, wrong_passkey, device=passkey),
    "provider": Row(Way.PROVIDER, is_vouched_for, by_provider, without_roles=Way.PROVIDER.value.public),
    "browser": Row(Way.BROWSER, nothing, by_browser, wrong_look, braked=NOT_VALID),
    "browser and provider": Row(
        Way.BROWSER_PROVIDER, nothing, by_browser_and_provider, wrong_look, braked=NOT_VALID
    ),
    "confirming by code": Row(Way.CONFIRM_CODE, has_phone, confirming_by_code, wrong_confirmation, device=phone),
    "confirming by passkey": Row(
        Way.CONFIRM_PASSKEY, has_passkey, confirming_by_passkey, wrong_passkey, device=passkey
    ),
    "confirming in a browser": Row(
        Way.CONFIRM_BROWSER,
        has_passkey,
        confirming_in_a_browser,
        wrong_look,
        braked=NOT_VALID,
        device=passkey,
        told=False,
    ),
    "enrolled key": Row(None, has_key, by_key, removed="access denied: your account no longer exists"),
}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Alice has an account with a role, and nothing else."""
    async with web_desk(tmp_path / "data", settings=SETTINGS) as desk:
        provider = FakeProvider(desk.clock)
        await desk.local.roles.add_role(Role("dev", ("root",), {"*": "*"}))
        await desk.person()
        yield Scene(desk, provider)


TELLING = {kind for way in Way for kind in (way.value.done, way.value.failed)}


async def outcome(scene: Scene, enters: Deed) -> tuple[str, list[AuditEvent]]:
    """What alice reads, which is nothing if she is in; and what is told of it."""
    events = scene.desk.events.all
    events.clear()
    scene.clock.advance(2 * STEP_S)
    try:
        await enters(scene)
        text = ""
    except InterlockError as error:
        text = error.public
    return text, [event for event in events if event.kind in TELLING]


def check(
    row: Row, found: tuple[str, list[AuditEvent]], words: str, *, told: bool = True, user: str = "alice"
) -> None:
    """The words, and one event that says the same; none of what no sign-in is."""
    text, events = found
    assert text == words
    if row.way is None or not told:
        assert events == []
        return
    [event] = events
    assert event.kind is (row.way.value.failed if words else row.way.value.done)
    assert (event.fields["user"], event.fields["addr.remote"]) == (user, SOURCE)
    assert event.fields["success"] is not bool(words)
    assert event.fields.get("through", "") == row.way.value.through
    assert bool(event.fields.get("error")) == bool(words)
    assert event.fields.get("message", "") == words


@pytest.mark.parametrize("name", ROWS)
async def test_whoever_may_not_come_in(scene: Scene, name: str) -> None:
    """Reads why, if they have proved everything, and otherwise what everybody reads."""
    row = ROWS[name]
    public = row.way.value.public if row.way is not None else ""
    await row.has(scene)
    check(row, await outcome(scene, row.enters), "", told=row.told)
    locks = [(LockKind.USER, "alice"), (LockKind.ROLE, "dev")]
    locks += [] if row.device is None else [(LockKind.MFA_DEVICE, await row.device(scene))]
    for kind, what in locks:
        await scene.lock(kind, what)
        check(row, await outcome(scene, row.enters), FISHING)
        await scene.local.locks.remove_lock("l1")
    scene.provider.claims |= {"groups": []}
    await scene.local.users.set_access("alice", (), {})
    found = await outcome(scene, row.enters)
    check(
        row,
        found,
        row.without_roles,
        told=row.told or bool(row.without_roles),
        user="" if row.without_roles else "alice",
    )
    scene.provider.claims |= {"groups": ["staff"]}
    if row.errs is not None:
        for _ in range(max(FREE_FAILURES, SOURCE_FAILURES) + 1):
            with pytest.raises(SignInFailed):
                await row.errs(scene)
        await braked(scene, row)
        scene.clock.advance(timedelta(days=1))
    scene.gone = True
    text, events = await outcome(scene, row.enters)
    assert text == (row.removed or public)
    assert [event.fields["message"] for event in events] == ([] if row.way is None else [public])


async def braked(scene: Scene, row: Row) -> None:
    """Also who has everything right, for as long as the brake is on."""
    assert row.way is not None
    scene.desk.events.all.clear()
    with pytest.raises(SignInFailed) as caught:
        await row.enters(scene)
    assert caught.value.public == (row.braked or row.way.value.public)
    told = [event for event in scene.desk.events.all if event.kind in TELLING]
    assert [event.kind for event in told] == ([] if row.braked else [row.way.value.failed])


def test_each_way_has_its_row() -> None:
    """And its own words only where people can do something else about it."""
    assert {row.way for row in ROWS.values()} == {*Way, None}
    assert Way.PASSWORD.value.public == Way.TOKEN.value.public == NOT_SIGNED_IN
    assert Way.CONFIRM_CODE.value.public == WRONG_CODE
    assert all(way.value.failed is not way.value.done for way in Way)


async def test_an_identity_providers_people_come_by_it_alone(scene: Scene) -> None:
    """Whatever else they have here: nobody but the provider vouches for them."""
    await is_vouched_for(scene)
    check(ROWS["provider"], await outcome(scene, by_provider), "")
    await scene.local.users.set_password("alice", await scene.local.passwords.hash(PASSWORD), must_change=False)
    await has_passkey(scene)
    await scene.local.factor_store.add_device(phone_of("alice"))
    for name in ("password and code", "passkey"):
        way = ROWS[name].way
        assert way is not None
        text, events = await outcome(scene, ROWS[name].enters)
        assert text == way.value.public
        assert [event.fields["error"] for event in events] == ["the account is an identity provider's"]
    assert {way for way in Way if way.value.alone} == {Way.PASSWORD, Way.TOKEN, Way.PASSKEY}
