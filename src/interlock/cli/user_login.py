"""``ilsh login``: who answers the gateway's questions, why its host key is trusted, and the key agent.

Secrets come from the terminal or from standard input, never from the command line, and go nowhere else.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TextIO

from interlock.adapters.question import ask
from interlock.adapters.ssh.portal_client import (
    Answers,
    Gateway,
    HostIdentity,
    InBrowser,
    KeyPair,
    check_certificate,
    connect,
    fingerprint,
    new_key_pair,
    wrong_answer,
)
from interlock.cli.output import printable
from interlock.cli.user_profile import Login
from interlock.core import portal as wire
from interlock.core.errors import Denied, SignInFailed

TRIES = 3
"""Passwords that a person may mistype; as many as ssh asks for."""


class TerminalAnswers:
    """A person at the terminal."""

    def __init__(self) -> None:
        self._left = TRIES
        self._last = ""  # what was asked

    def attempt(self) -> bool:
        """Ask again after a wrong password."""
        self._left -= 1
        if 0 <= self._left < TRIES - 1:
            wrong = wrong_answer(self._last)
            print(f"{wrong[0].upper()}{wrong[1:]}, try again.", file=sys.stderr)
        return self._left >= 0

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
        """Show the question; what is typed is shown only if the gateway says so."""
        if not sys.stdin.isatty():
            raise SignInFailed("there is no terminal to ask for the password: use --password-stdin")
        if instruction:
            print(printable(instruction), file=sys.stderr)
        self._last = prompt
        try:
            return ask(printable(prompt), echo=echo)
        except EOFError:
            raise SignInFailed("no password was given") from None


class StdinAnswers:
    """Lines of standard input: the password, after a one-time password the new one, then codes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._tried = False

    def attempt(self) -> bool:
        """Once: the same answer would be wrong again."""
        tried, self._tried = self._tried, True
        return not tried

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:  # noqa: ARG002 - nobody looks
        """The next line; a password that is to be repeated is."""
        if not prompt.startswith("Repeat"):
            line = self._stream.readline()
            if not line:
                question = printable(" ".join(filter(None, (instruction, prompt.strip()))))
                raise SignInFailed(f"standard input has no line for: {question}")
            self._last = line.rstrip("\r\n")
        return self._last


@dataclass(slots=True)
class LoginTrust:
    """Trusts a stored or given host CA, one with the pinned fingerprint, or one that the person accepts."""

    gateway: str
    host_ca: Sequence[str]
    pin: str | None = None
    accepted: HostIdentity | None = field(default=None)  # set when `judge` said yes

    def judge(self, shown: HostIdentity) -> bool:
        """Decide about a gateway that the known authorities do not vouch for; Denied says why not."""
        what = "host CA" if shown.is_ca else "host key"
        if self.host_ca:
            known = "is not the one that is known; if your administrator has changed it: ilsh login --host-ca FILE"
            raise Denied(f"its {what} {shown.fingerprint} {known}")
        if self.pin is not None:
            if not shown.is_ca or shown.fingerprint != self.pin:
                raise Denied(f"its {what} is {shown.fingerprint}, not the pinned one")
        elif not sys.stdin.isatty():
            raise Denied(f"its {what} {shown.fingerprint} is not known: use --ca-pin or --host-ca")
        elif not _confirmed(self.gateway, what, shown.fingerprint):
            raise Denied("it was not accepted")
        self.accepted = shown
        return True


def _confirmed(gateway: str, what: str, print_: str) -> bool:
    print(f"The gateway {gateway} is not known yet.", file=sys.stderr)
    print(f"Its {what} has the fingerprint {print_}.", file=sys.stderr)
    question = "Compare it with what your administrator told you. Trust it? (yes/no) "
    try:
        while (answer := ask(question, echo=True).strip().lower()) not in ("yes", "no"):
            question = "Please answer yes or no: "
    except EOFError:
        return False
    return answer == "yes"


@dataclass(frozen=True, slots=True)
class Certified:
    """What a login brings."""

    key: KeyPair
    signed: wire.Signed
    host_ca: list[str]
    valid_until: datetime


class PersonsBrowser:
    """The browser of somebody at the terminal: opened here if there is one, or anywhere by what is printed."""

    def __init__(self, *, at_once: bool, opens: bool) -> None:
        """``at_once``: see `InBrowser`. ``opens``: try to open one on this machine."""
        self.at_once = at_once
        self.used = False  # set when the gateway led here
        self._opens = opens

    def show(self, text: str, address: str) -> None:
        """Print what the gateway says, and open the address."""
        self.used = True
        print(*(printable(line) for line in text.splitlines()), sep="\n", file=sys.stderr)
        if self._opens and has_browser():
            import webbrowser

            webbrowser.open(address)
        print("Waiting for the browser (Ctrl-C to give up)", file=sys.stderr, flush=True)


def has_browser() -> bool:
    """Whether a browser can be opened on this machine that the person sees."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))


async def sign_in(
    gateway: Gateway,
    trust: LoginTrust,
    answers: Answers | None,
    ttl: timedelta | None,
    browser: InBrowser | None = None,
    public_key: str = "",
) -> Certified:
    """Sign in and have a fresh key certified; InterlockError if anything is refused or does not fit.

    ``public_key``: this one instead, whose private half is elsewhere, in a security key for example.
    """
    key = KeyPair("", public_key) if public_key else new_key_pair(f"{gateway.user.lstrip('-')}@{gateway}")
    seconds = None if ttl is None else int(ttl.total_seconds())
    async with connect(gateway, trust, answers=answers, browser=browser) as portal:
        signed = await portal.ask(wire.Sign(key.public, seconds), wire.Signed)
    try:
        valid_until = check_certificate(signed.certificate, key)
        prints = {fingerprint(line): " ".join(line.split()[:2]) for line in signed.host_ca}
    except ValueError as error:
        raise Denied("the gateway sent a certificate that cannot be used", reason=str(error)) from None
    seen = trust.accepted
    if seen is not None and seen.is_ca and seen.fingerprint not in prints:
        raise Denied("the gateway's host certificate is not from its own host CA")
    return Certified(key, signed, list(prints.values()), valid_until)


def add_to_agent(login: Login, lifetime: timedelta) -> bool:
    """Hand the key to the person's agent until the certificate expires; False if none takes it."""
    return _ssh_add("-q", "-t", str(max(1, int(lifetime.total_seconds()))), str(login.key))


def remove_from_agent(login: Login) -> bool:
    """Take the key and its certificate back."""
    return login.key.exists() and _ssh_add("-q", "-d", str(login.key))


def _ssh_add(*arguments: str) -> bool:
    program = shutil.which("ssh-add")
    if program is None or not os.environ.get("SSH_AUTH_SOCK"):
        return False
    done = subprocess.run([program, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell, our own paths
    return done.returncode == 0
