"""Machine users: one token, one holder, and nothing that a person may do."""

from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import PublicKey
from interlock.core.errors import ConfigError, Denied, SignInFailed
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.domain.audit import Kind
from interlock.domain.bot import BY_TOKEN, TOKEN_LIFE, Bot
from interlock.domain.identity import Claims
from interlock.domain.lock import LockKind
from interlock.services.access.caller import Caller
from interlock.services.audit.emitter import EventFactory
from interlock.services.bots.bots import Bots, BotToken, BotTokens, add_bot, check_bot, new_token
from interlock.testing.clock import START, FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy
from interlock.testing.signin import Sink

SOURCE = "192.0.2.7"
BOT = Bot("backup", ("root",), timedelta(hours=1), ("192.0.2.0/24",), START)


class Desk:
    """Everything that signs for bots, over a real database."""

    def __init__(self, local: Local, clock: FakeClock) -> None:
        self.local, self.clock, self.sink = local, clock, Sink()
        self.tokens = BotTokens(local.bots, clock)
        factory = EventFactory(cluster="demo", clock=clock, entropy=FakeEntropy())
        self.bots = Bots(
            local.bots,
            local.authority,
            local.locks,
            events=self.sink,
            factory=factory,
            clock=clock,
            entropy=FakeEntropy(),
        )

    async def add(self, bot: Bot = BOT) -> BotToken:
        """A bot, and its first token."""
        local = self.local
        return await add_bot(
            local.bots, local.users, bot, ["dev"], pin="SHA256:x", clock=self.clock, entropy=FakeEntropy()
        )

    async def join(self, key: str) -> Claims:
        """What a bot gets that has just signed in by its token."""
        return await self._sign(Caller("backup", None, (), self.clock.now(), SOURCE, BY_TOKEN), key)

    async def renew(self, claims: Claims, key: str) -> Claims:
        """What it gets by its certificate."""
        return await self._sign(Caller("backup", claims, ("publickey",), self.clock.now(), SOURCE), key)

    async def _sign(self, caller: Caller, key: str) -> Claims:
        bot = await self.bots.find("backup")
        assert bot is not None
        line, logins = await self.bots.sign(bot, caller, ["dev"], ["root", "app"], key)
        assert logins == ("root",)
        return self.local.claims.read(b64decode(line.split()[1]), now=self.clock.now())

    def told(self) -> list[Kind]:
        """Kinds of events."""
        return [event.kind for event in self.sink.events]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With an empty cluster."""
    data, clock = tmp_path / "data", FakeClock()
    data.mkdir(0o700)
    put_database(data / DATABASE)
    async with open_local(data, clock=clock, entropy=FakeEntropy()) as local:
        yield Desk(local, clock)


def key() -> str:
    """A fresh public key."""
    return PublicKey("ssh-ed25519", (Ed25519PrivateKey.generate().public_key().public_bytes_raw(),)).line()


async def test_a_token_counts_once_for_its_bot_from_its_networks(desk: Desk) -> None:
    """And not after its time; another one replaces it."""
    token = await desk.add()
    assert BotToken.parse(token.text) == token
    spend = desk.tokens.spend
    assert not await spend("backup", token.text, source="198.51.100.1")
    assert not await spend("other", token.text, source=SOURCE)
    assert not await spend("backup", replace(token, secret="x").text, source=SOURCE)
    assert not await spend("backup", "correct horse", source=SOURCE)
    assert await spend("backup", token.text, source=SOURCE)
    assert not await spend("backup", token.text, source=SOURCE)
    later = await new_token(desk.local.bots, BOT, pin="SHA256:x", clock=desk.clock, entropy=FakeEntropy())
    desk.clock.advance(TOKEN_LIFE)
    assert not await spend("backup", later.text, source=SOURCE)


@pytest.mark.parametrize("source", ["[2001:db8:7::1]:4000", "[2001:db8:7:1::9]:4000"])
async def test_a_bot_signs_in_from_an_ipv6_network(desk: Desk, source: str) -> None:
    """By the address itself: what the brake counts as one source is no address."""
    token = await desk.add(replace(BOT, sources=("2001:db8:7::/48",)))
    judged = await desk.local.sign_in(desk.sink).check("backup", token.text, source=source)
    assert judged.device == BY_TOKEN


async def test_a_wrong_token_costs_what_a_wrong_password_does(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that it takes tells nobody which names are bots'."""
    await desk.add()
    verified: list[str] = []
    monkeypatch.setattr(PasswordHasher, "verify", lambda _, stored, __: verified.append(stored))
    for user in ("backup", "ghost"):
        with pytest.raises(SignInFailed):
            await desk.local.sign_in(desk.sink).check(user, "wrong", source=SOURCE)
    assert len(verified) == 2


async def test_certificates_count_on_and_keep_their_restrictions(desk: Desk) -> None:
    """The life, the networks and the number are in each (R29); the join is told."""
    await desk.add()
    claims = await desk.join(key())
    for number in (1, 2, 3):
        assert claims.bot == number
        assert claims.source_networks == BOT.sources
        assert BOT.life - timedelta(seconds=1) < claims.valid_before - desk.clock.now() <= BOT.life
        desk.clock.advance(timedelta(minutes=30))
        claims = await desk.renew(claims, key())
    assert desk.told() == [Kind.BOT_JOIN]


async def test_who_holds_a_copy_is_noticed_at_the_next_renewal(desk: Desk) -> None:
    """Both are locked out, whoever was first."""
    await desk.add()
    stolen = claims = await desk.join(key())
    await desk.renew(claims, key())
    with pytest.raises(Denied, match="held twice"):
        await desk.renew(stolen, key())
    [lock] = await desk.local.locks.locks()
    assert (lock.kind, lock.name) == (LockKind.USER, "backup")
    assert desk.told() == [Kind.BOT_JOIN, Kind.BOT_MISMATCH, Kind.LOCK_CREATE]


async def test_a_lost_answer_is_given_again(desk: Desk) -> None:
    """To who asks for the same key: nobody else has asked for that."""
    await desk.add()
    claims, next_key = await desk.join(key()), key()
    first = await desk.renew(claims, next_key)
    again = await desk.renew(claims, next_key)
    assert (first.bot, again.bot) == (2, 2)
    assert (await desk.renew(again, key())).bot == 3


async def test_another_token_locks_out_who_has_the_old_identity(desk: Desk) -> None:
    """The bot that signs in anew goes on."""
    await desk.add()
    old = await desk.join(key())
    desk.clock.advance(1.0)
    fresh = await desk.join(key())
    assert fresh.bot == 2
    with pytest.raises(Denied, match="held twice"):
        await desk.renew(old, key())


async def test_nothing_but_a_token_brings_the_first_certificate(desk: Desk) -> None:
    """No password, no browser, no old sign-in, no second certificate; no person's certificate either."""
    await desk.add()
    bot = await desk.bots.find("backup")
    assert bot is not None
    since = desk.clock.now()
    for caller in (
        Caller("backup", None, (), since, SOURCE),
        Caller("backup", None, (), since, SOURCE, "recovery-code"),
        Caller("backup", None, (), since - timedelta(minutes=6), SOURCE, BY_TOKEN),
    ):
        with pytest.raises(Denied):
            await desk.bots.sign(bot, caller, ["dev"], ["root"], key())
    claims = await desk.join(key())
    with pytest.raises(Denied, match="already"):
        await desk.join(key())
    with pytest.raises(Denied, match="held twice"):
        await desk.renew(replace(claims, bot=0), key())


@pytest.mark.parametrize(
    "wrong",
    [{"life": timedelta(hours=25)}, {"life": timedelta(0)}, {"logins": ()}, {"sources": ("nowhere",)}],
)
def test_what_no_bot_can_be(wrong: dict[str, object]) -> None:
    """Said when it is added."""
    with pytest.raises(ConfigError):
        check_bot(replace(BOT, **wrong))  # type: ignore[arg-type]  # fields of Bot


@pytest.mark.parametrize("text", ["", "ilb1", "ilb1..x.y", "ilj1.a.b.c", "ilb1.YQ.x", "ilb1.%.x.y"])
def test_what_is_no_token(text: str) -> None:
    """ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r".*"):
        BotToken.parse(text)
