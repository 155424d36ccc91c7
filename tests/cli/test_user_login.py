"""Logging in: who answers, whom to trust, and what comes back must fit."""

import asyncio
import io
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh import portal_client
from interlock.adapters.ssh.browser import HINT, Questions
from interlock.adapters.ssh.portal import Challenge, KeyboardInteractive, PortalSession
from interlock.adapters.ssh.portal_client import Gateway, HostIdentity, connect, new_key_pair
from interlock.cli.user_login import (
    LoginTrust,
    PersonsBrowser,
    StdinAnswers,
    TerminalAnswers,
    add_to_agent,
    remove_from_agent,
    sign_in,
)
from interlock.cli.user_profile import Login, Profile, write_key
from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, SignInFailed, TargetError
from interlock.services.access.caller import Caller
from interlock.services.portal.playback import Download
from interlock.services.signin.confirming import Asked, Collected
from interlock.services.signin.signin import CODE_PROMPT, Confirmation, Judgement, SignInResult
from interlock.testing.clock import START
from interlock.testing.keyboard import keyboard
from interlock.testing.ports import free_port
from interlock.testing.procs import Daemon, poll_until, run

CA = asyncssh.generate_private_key("ssh-ed25519")
OTHER_CA = asyncssh.generate_private_key("ssh-ed25519")


def line(key: asyncssh.SSHKey) -> str:
    """The public half in one line."""
    return key.export_public_key().decode().strip()


@dataclass
class FakeGateway:
    """A gateway that certifies whatever it is told to."""

    host_ca: list[str] = field(default_factory=lambda: [line(CA)])
    certifies: str = ""  # a public key instead of the one that was sent
    certificate: str = ""  # a certificate instead of a good one
    refuses: bool = False
    names: tuple[str, ...] = ("127.0.0.1",)
    signs: asyncssh.SSHKey = CA
    old: bool = True  # it knows nothing of browsers
    ttl: int | None = None  # set by the request

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        if (user, password, code) != ("alice", "right", ""):
            raise SignInFailed("no", reason=source)
        return Judgement(SignInResult.OK)

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        raise AssertionError(user, old, new, source, code)

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        raise AssertionError(user, code, source, certificate, session)

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        assert isinstance(request, wire.Sign)
        if self.refuses:
            return wire.Refused("denied", "no certificates today")
        self.ttl = request.ttl
        key = asyncssh.import_public_key(self.certifies or request.public_key)
        made = CA.generate_user_certificate(key, caller.user, principals=["root"], valid_before="+1h")
        certificate = self.certificate or made.export_certificate().decode().strip()
        return wire.Signed(certificate, self.host_ca, "test", caller.user, ["root"], ["access"], "unused")


class Browsers:
    """`Confirming` of a gateway where somebody confirms at once."""

    offered = True

    async def ask(self, user: str, *, source: str) -> Asked:
        return Asked("id", "ABCD-EFGH-JKLM", f"https://gate.example/c/ABCD-EFGH-JKLM?{user}{source}")

    async def collect(self, asked_id: str) -> Collected | None:
        return Collected("alice", asked_id)


class Server(asyncssh.SSHServer):
    """Plain users, as the proxy does it."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway

    def begin_auth(self, username: str) -> bool:
        self._user = username
        self._questions = KeyboardInteractive(self._gateway, username, "192.0.2.1:1")
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:  # noqa: ARG002
        if self._gateway.old:
            return self._questions.challenge(username)
        self._newer = Questions(self._questions, Browsers(), username, "192.0.2.1:1", patience=lambda: None)
        return self._newer.challenge(username, submethods)

    def validate_kbdint_response(self, username: str, responses: Any) -> Awaitable[Challenge]:
        return (self._questions if self._gateway.old else self._newer).respond(username, responses)

    def session_requested(self) -> PortalSession:
        return PortalSession(self._gateway, Caller(self._user, None, (), START))


@asynccontextmanager
async def served(gateway: FakeGateway) -> AsyncIterator[Gateway]:
    """The gateway on loopback, and its address for alice."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = gateway.signs.generate_host_certificate(
        key, "gateway", principals=list(gateway.names), valid_before="+1h"
    )
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Server(gateway),
        server_host_keys=[(key, certificate)],
        encoding=None,
        line_editor=False,
    )
    async with acceptor:
        yield Gateway("127.0.0.1", acceptor.get_port(), "alice")


def typed(*lines: str) -> StdinAnswers:
    """Standard input with these lines."""
    return StdinAnswers(io.StringIO("".join(f"{each}\n" for each in lines)))


async def test_a_password_on_stdin_brings_a_certificate_for_a_fresh_key() -> None:
    """The certificate is for the key that was made here, and the host CA comes with it."""
    fake = FakeGateway(host_ca=[f"{line(CA)} with a comment"])
    async with served(fake) as gateway:
        trust = LoginTrust("gw", [], CA.get_fingerprint())
        certified = await sign_in(gateway, trust, typed("right"), timedelta(minutes=5))
    certificate = asyncssh.import_certificate(certified.signed.certificate)
    assert certificate.key == asyncssh.import_public_key(certified.key.public)
    assert certified.host_ca == [" ".join(line(CA).split()[:2])]
    assert fake.ttl == 300
    assert trust.accepted is not None


async def test_a_known_host_ca_is_trusted_without_asking() -> None:
    """Nothing is judged when the certificate fits."""
    async with served(FakeGateway()) as gateway:
        trust = LoginTrust("gw", [line(CA)])
        await sign_in(gateway, trust, typed("right"), None)
    assert trust.accepted is None


@pytest.mark.parametrize(
    ("known", "pin", "names"),
    [
        ([line(OTHER_CA)], None, ("127.0.0.1",)),
        ([], OTHER_CA.get_fingerprint(), ("127.0.0.1",)),
        ([], None, ("127.0.0.1",)),
        ([line(CA)], None, ("elsewhere",)),
    ],
    ids=["other CA", "other pin", "unknown without terminal", "certificate of another host"],
)
async def test_no_password_reaches_a_gateway_that_is_not_trusted(
    known: list[str], pin: str | None, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-in ends before anything is asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    answers = typed("right")
    async with served(FakeGateway(names=names)) as gateway:
        with pytest.raises(Denied, match="is not trusted"):
            await sign_in(gateway, LoginTrust("gw", known, pin), answers, None)
    assert answers.attempt(), "the gateway asked nothing"


async def test_a_pin_does_not_accept_a_bare_host_key() -> None:
    """The pin is of the CA: a host key of the same fingerprint vouches for one host only."""
    trust = LoginTrust("gw", [], CA.get_fingerprint())
    with pytest.raises(Denied, match="not the pinned one"):
        trust.judge(HostIdentity(line(CA), CA.get_fingerprint(), is_ca=False))


@pytest.mark.parametrize(("said", "trusted"), [(b"yes\n", True), (b"y\n", False), (b"no\n", False), (b"", False)])
def test_first_contact_asks_the_person(
    said: bytes, trusted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a whole yes counts; the fingerprint is shown to compare."""
    trust = LoginTrust("gw:3023", [])
    shown = HostIdentity(line(CA), CA.get_fingerprint(), is_ca=True)
    with keyboard() as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        typed.types(said + b"\x04")
        if trusted:
            assert trust.judge(shown)
            assert trust.accepted == shown
        else:
            with pytest.raises(Denied):
                trust.judge(shown)
            assert trust.accepted is None
    assert CA.get_fingerprint() in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fake", "text"),
    [
        (FakeGateway(refuses=True), "no certificates today"),
        (FakeGateway(certifies=new_key_pair("x").public), "cannot be used"),
        (FakeGateway(certificate="nonsense"), "cannot be used"),
        (FakeGateway(host_ca=["nonsense"]), "cannot be used"),
        (FakeGateway(host_ca=[line(OTHER_CA)]), "its own host CA"),
    ],
    ids=["refused", "other key", "no certificate", "no host CA", "other host CA"],
)
async def test_an_answer_that_does_not_fit_is_refused(fake: FakeGateway, text: str) -> None:
    """Nothing that the gateway sends is stored unread."""
    async with served(fake) as gateway:
        with pytest.raises(Denied, match=text):
            await sign_in(gateway, LoginTrust("gw", [], CA.get_fingerprint()), typed("right"), None)


async def test_a_wrong_password_on_stdin_is_tried_once() -> None:
    """Lines behind it are for a new password, not further guesses."""
    async with served(FakeGateway()) as gateway:
        with pytest.raises(SignInFailed, match="wrong user name or password"):
            await sign_in(gateway, LoginTrust("gw", [line(CA)]), typed("wrong", "right"), None)


@dataclass
class Slow:
    """Somebody who compares fingerprints, looks for the password, and takes longer than a gateway may."""

    accepted: HostIdentity | None = None
    host_ca: tuple[str, ...] = ()

    def judge(self, shown: HostIdentity) -> bool:
        time.sleep(1.2)
        self.accepted = shown
        return True

    def attempt(self) -> bool:
        return True

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
        del instruction, prompt, echo
        time.sleep(1.2)
        return "right"


async def test_a_person_may_take_time_and_a_gateway_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the gateway's: it would end each sign-in for which somebody looks for a password."""
    monkeypatch.setattr(portal_client, "DIAL_TIMEOUT_S", 1.0)
    async with served(FakeGateway()) as gateway, connect(gateway, Slow(), answers=Slow()) as portal:
        assert isinstance(await portal.ask(wire.Sign(new_key_pair("x").public, None), wire.Signed), wire.Signed)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = Gateway("127.0.0.1", silent.getsockname()[1], "alice")
        with pytest.raises(TargetError, match="does not answer"):
            await sign_in(gateway, LoginTrust("gw", []), Slow(), None)


async def test_an_empty_stdin_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is a terminal that is not there."""
    async with served(FakeGateway()) as gateway:
        trust = LoginTrust("gw", [line(CA)])
        with pytest.raises(SignInFailed, match="no line for: Password:"):
            await sign_in(gateway, trust, typed(), None)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SignInFailed, match="--password-stdin"):
            await sign_in(gateway, trust, TerminalAnswers(), None)


async def test_a_gateway_that_is_not_there_is_told() -> None:
    """In one sentence with its address."""
    port = free_port()
    gateway = Gateway("127.0.0.1", port, "alice")
    with pytest.raises(TargetError, match=f"127.0.0.1:{port}"):
        await sign_in(gateway, LoginTrust("gw", []), typed("right"), None)


async def test_a_damaged_key_file_is_told() -> None:
    """The person is told to log in again."""
    with pytest.raises(SignInFailed, match="run ilsh login"):
        async with connect(Gateway("127.0.0.1", 1, "alice"), LoginTrust("gw", []), identity=("x", "y")):
            pytest.fail("connected")


def test_a_new_password_on_stdin_is_given_twice() -> None:
    """The second line answers both questions."""
    answers = typed("one-time", "new password")
    asked = ["Password: ", "New password: ", "Repeat new password: "]
    given = [answers.answer("", prompt, echo=False) for prompt in asked]
    assert given == ["one-time", "new password", "new password"]
    with pytest.raises(InterlockError, match="has no line for: too short New password:"):
        answers.answer("too short", "New password: ", echo=False)


def test_a_person_has_three_tries(capsys: pytest.CaptureFixture[str]) -> None:
    """As with ssh; each further one after a word."""
    answers = TerminalAnswers()
    assert [answers.attempt() for _ in range(5)] == [True, True, True, False, False]
    assert capsys.readouterr().err.count("try again") == 2


def test_after_a_wrong_code_the_person_is_told_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password was right then; most often it is the code of the sign-in just before."""
    answers = TerminalAnswers()
    assert answers.attempt()
    with keyboard() as typing:
        monkeypatch.setattr(sys, "stdin", typing)
        typing.types(b"123456\n")
        answers.answer("", CODE_PROMPT, echo=True)
    assert answers.attempt()
    assert "used already: wait for the next one, try again." in capsys.readouterr().err


@pytest.mark.interop
def test_the_agent_holds_key_and_certificate_until_logout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a lifetime; taken back at logout; without an agent nothing happens."""
    key = new_key_pair("alice@gw")
    certificate = CA.generate_user_certificate(
        asyncssh.import_public_key(key.public), "alice", principals=["root"], valid_before="+1h"
    )
    profile = Profile("gw", 3023, "alice", "test", [], ["root"], START)
    login = Login(profile, tmp_path)
    write_key(
        login.key,
        private=key.private,
        public=key.public,
        certificate=certificate.export_certificate().decode().strip(),
    )
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert not add_to_agent(login, timedelta(hours=1))
    socket = tmp_path / "agent.sock"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    argv: list[str | Path] = [shutil.which("ssh-agent") or "ssh-agent", "-D", "-a", socket]
    with Daemon(argv, log=tmp_path / "agent.log", env=dict(os.environ), name="agent"):
        poll_until(socket.exists, "the agent's socket")
        assert add_to_agent(login, timedelta(hours=1))
        assert "ED25519-CERT" in run(["ssh-add", "-l"]).stdout
        assert remove_from_agent(login)
        assert "no identities" in run(["ssh-add", "-l"]).stdout


async def test_a_browser_is_led_to_what_the_gateway_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Opened here if there is one and it is wanted; printed in any case."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    program.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(program))
    for opens in (True, False):
        person = PersonsBrowser(at_once=True, opens=opens)
        async with served(FakeGateway(old=False)) as gateway:
            certified = await sign_in(gateway, LoginTrust("gw", [line(CA)]), None, None, person)
        assert certified.signed.user == "alice"
        assert person.used
        assert "https://gate.example/c/ABCD-EFGH-JKLM" in capsys.readouterr().err
    await asyncio.to_thread(poll_until, opened.exists, "the browser")
    assert len(opened.read_text().splitlines()) == 1


async def test_an_empty_password_leads_to_the_browser() -> None:
    """If the person is asked for one; the gateway's hint is shown."""

    class Asks(StdinAnswers):
        said = ""

        def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
            self.said += instruction
            return super().answer(instruction, prompt, echo=echo)

    answers, person = Asks(io.StringIO("\n")), PersonsBrowser(at_once=False, opens=False)
    async with served(FakeGateway(old=False)) as gateway:
        await sign_in(gateway, LoginTrust("gw", [line(CA)]), answers, None, person)
    assert person.used
    assert answers.said == HINT


async def test_a_gateway_without_a_browsers_side_says_so() -> None:
    """An old one asks for a password, which is not what was wanted; who expects none fails in words."""
    person = PersonsBrowser(at_once=True, opens=False)
    async with served(FakeGateway()) as gateway:
        with pytest.raises(SignInFailed, match="no sign-in by browser"):
            await sign_in(gateway, LoginTrust("gw", [line(CA)]), typed("right"), None, person)
    async with served(FakeGateway(old=False)) as gateway:
        with pytest.raises(SignInFailed, match="Open https://"):
            await sign_in(gateway, LoginTrust("gw", [line(CA)]), typed(""), None)
