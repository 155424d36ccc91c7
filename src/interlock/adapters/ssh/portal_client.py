"""A user's side of the portal: sign in to the gateway, trust it for a reason, ask and get replies.

Used by ``ilsh``. It reads no files of the user (no ~/.ssh/config, no default keys, no key agent): what it
may use, it is given. Opening sessions on nodes is the stock ssh client's work, not this module's.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import asyncssh

from interlock.adapters.ssh.words import words
from interlock.core import portal as wire
from interlock.core.address import format_address
from interlock.core.browser import CHALLENGE, SUBMETHOD, address_in
from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.errors import (
    ConfigError,
    Denied,
    InterlockError,
    NotFound,
    RemoteProtocolError,
    Rule,
    SignInFailed,
    TargetError,
)
from interlock.core.limits import DIAL_TIMEOUT_S, LOGIN_TIMEOUT_S

READ_SIZE = 64 * 1024
"""Bytes read from the channel at once."""

KEEPALIVE_S = 15.0
"""Seconds of silence after which a gateway is asked whether it is there; three unanswered ones end the wait."""

_ENDLESS = 1 << 62  # bytes: more than any recording has

_Reply = TypeVar("_Reply", bound=wire.AnyReply)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the gateway is, and as whom to speak to it."""

    host: str
    port: int
    user: str
    alias: str = ""  # the name in its host certificate, if that is not the host's

    def __str__(self) -> str:
        """The address as people write it."""
        return format_address(self.host, self.port)


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """What an unknown gateway showed: its host CA, or its bare host key if it has no certificate."""

    line: str  # OpenSSH one-line form
    fingerprint: str  # SHA256:…
    is_ca: bool


class Trust(Protocol):
    """How a gateway comes to be trusted."""

    @property
    def host_ca(self) -> Sequence[str]:
        """Public keys of host CAs that are trusted already."""
        ...

    def judge(self, shown: HostIdentity) -> bool:
        """Whether to trust a gateway that none of these vouches for."""
        ...


class Answers(Protocol):
    """Where answers to the gateway's questions come from."""

    def attempt(self) -> bool:
        """Whether to try (once more) to sign in."""
        ...

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
        """The person's answer; SignInFailed if there is none."""
        ...


class InBrowser(Protocol):
    """How somebody signs in with a browser."""

    @property
    def at_once(self) -> bool:
        """Whether to ask the gateway for it; otherwise it is the person's choice, who is asked for a password."""
        ...

    def show(self, text: str, address: str) -> None:
        """Lead the person to the address."""
        ...


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A fresh Ed25519 key."""

    private: str  # OpenSSH private key file
    public: str  # one line


def new_key_pair(comment: str) -> KeyPair:
    """Make a key pair whose private half never leaves this machine."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return KeyPair(key.export_private_key().decode(), key.export_public_key().decode().strip())


def key_pair_of(private: str) -> KeyPair:
    """The same of a private key's file; ValueError if it is none."""
    try:
        key = asyncssh.import_private_key(private)
    except asyncssh.KeyImportError as error:
        raise ValueError(str(error)) from error
    return KeyPair(private, key.export_public_key().decode().strip())


def validity(line: str) -> tuple[datetime, datetime]:
    """From when until when a certificate counts; ValueError if it is none."""
    try:
        found = SignedCertificate.parse(b64decode(line.split()[1])).certificate
    except IndexError:
        msg = "not a certificate"
        raise ValueError(msg) from None
    return datetime.fromtimestamp(found.valid_after, tz=UTC), datetime.fromtimestamp(found.valid_before, tz=UTC)


def fingerprint(line: str) -> str:
    """The SHA256:… fingerprint of a public key line; ValueError if it is none."""
    try:
        return asyncssh.import_public_key(line).get_fingerprint()
    except asyncssh.KeyImportError as error:
        raise ValueError(str(error)) from error


def check_certificate(line: str, key: KeyPair) -> datetime:
    """When the certificate expires; ValueError unless it is one line and certifies this key."""
    certificate = SignedCertificate.from_line(line).certificate
    if certificate.key != PublicKey.parse(key.public):
        msg = "the certificate is for another key"
        raise ValueError(msg)
    return datetime.fromtimestamp(certificate.valid_before, tz=UTC)


class PortalClient:
    """An open portal channel; one request at a time."""

    def __init__(self, requests: asyncssh.SSHWriter[bytes], replies: asyncssh.SSHReader[bytes]) -> None:
        self._out = requests
        self._in = replies
        self._reader = wire.ReplyReader()

    async def ask(self, request: wire.AnyRequest, expected: type[_Reply]) -> _Reply:
        """The reply of the expected kind; a refusal is raised as Denied, NotFound or InterlockError."""
        self._send(request)
        return _expect(await self._next(), expected)

    async def download(self, sid: str) -> AsyncGenerator[bytes, None]:
        """A recording's bytes; InterlockError if it breaks off."""
        self._send(wire.Recording(sid))
        _expect(await self._next(), wire.Stream)
        async for piece in self._pieces():
            yield piece

    async def download_from(self, sid: str, at: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """What is needed to play a recording from a microsecond on: offset and bytes, in order.

        All of it from a gateway that is too old to know what is needed, or where it cannot be told. InterlockError
        if it breaks off.
        """
        self._send(wire.Recording(sid, at))
        reply = await self._next()
        if isinstance(reply, wire.Refused) and reply.why == "malformed":
            self._send(wire.Recording(sid))
            reply = await self._next()
        places = _expect(reply, wire.Stream).places or [(0, _ENDLESS)]
        async for piece in self._pieces():
            left = memoryview(piece)
            while left:
                if not places:
                    raise InterlockError("the gateway sent more than it announced")
                offset, size = places[0]
                taken = left[:size]
                yield offset, bytes(taken)
                left, places = left[len(taken) :], places[1:]
                if size > len(taken):
                    places = [(offset + len(taken), size - len(taken)), *places]
        if places and places[0][1] < _ENDLESS // 2:
            raise InterlockError("the recording is incomplete", reason=f"{len(places)} places are missing")

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """What follows a `Stream`."""
        size = 0
        while isinstance(item := await self._next(), bytes):
            size += len(item)
            yield item
        end = _expect(item, wire.Streamed)
        if end.size != size:
            raise InterlockError(f"the recording is incomplete: {size} of {end.size} bytes arrived")

    def _send(self, request: wire.AnyRequest) -> None:
        try:
            self._out.write(wire.encode(request))
        except OSError:
            raise InterlockError("the gateway closed the connection") from None

    async def _next(self) -> wire.AnyReply | bytes:
        while (item := self._reader.next()) is None:
            try:
                data = await self._in.read(READ_SIZE)
            except (asyncssh.Error, OSError) as error:
                raise InterlockError("the connection to the gateway was lost", reason=str(error)) from None
            if not data:
                raise InterlockError("the gateway closed the connection")
            self._reader.add(data)
        return item


@asynccontextmanager
async def connect(
    gateway: Gateway,
    trust: Trust,
    *,
    answers: Answers | None = None,
    browser: InBrowser | None = None,
    identity: tuple[str, str] | None = None,
) -> AsyncIterator[PortalClient]:
    """Sign in by ``answers``, ``browser``, or ``identity`` (private key and certificate as text); open the portal.

    TargetError if the gateway cannot be reached, Denied if it is not trusted, SignInFailed if it refuses.
    """
    client = _Client(trust, answers, browser)
    conn = await _sign_in(gateway, client, identity)
    async with conn:
        try:
            out, replies, _ = await conn.open_session(subsystem=wire.SUBSYSTEM, encoding=None)
        except asyncssh.ChannelOpenError as error:
            raise Denied(f"the gateway refused: {error.reason}") from None
        except (asyncssh.Error, OSError) as error:
            raise TargetError("the connection to the gateway was lost", reason=str(error)) from None
        yield PortalClient(out, replies)


async def _sign_in(gateway: Gateway, client: "_Client", identity: tuple[str, str] | None) -> Any:
    options: dict[str, Any] = {
        "username": gateway.user,
        "host_key_alias": gateway.alias or (),
        "known_hosts": _known(client.trust),
        "client_keys": [_load(identity)] if identity else None,
        "agent_path": None,
        "config": None,
        "compression_algs": ["none"],
        "login_timeout": 0 if identity is None else LOGIN_TIMEOUT_S,  # a person may take time to answer
        "keepalive_interval": KEEPALIVE_S,
        "client_version": "Interlock_ilsh",
    }
    try:
        # asyncssh's own time limit would count the time that a person, or a browser, takes to answer.
        async with asyncio.timeout(DIAL_TIMEOUT_S) as client.limit:
            return await asyncssh.connect(gateway.host, gateway.port, client_factory=lambda: client, **options)
    except asyncssh.PermissionDenied as error:
        if client.failure is not None:
            raise client.failure from None
        text = wrong_answer(client.asked) if identity is None else "the certificate was refused: run ilsh login"
        raise SignInFailed(f"sign-in failed: {client.banner or text}", reason=error.reason) from None
    except asyncssh.HostKeyNotVerifiable as error:
        if client.failure is not None:
            raise client.failure from None
        public = f"the gateway at {gateway} is not trusted: {client.distrust or error.reason}"
        raise Denied(public, reason=error.reason) from None
    except TimeoutError:
        raise TargetError(f"the gateway at {gateway} does not answer") from None
    except OSError as error:
        raise TargetError(f"cannot reach the gateway at {gateway}: {words(error)}", reason=str(error)) from None
    except asyncssh.ProtocolError as error:
        public = f"what answers at {gateway} speaks no proper SSH: is that the gateway?"
        raise TargetError(public, reason=error.reason) from None
    except asyncssh.Error as error:
        raise TargetError(f"no connection to the gateway at {gateway}: {error.reason}") from None


def wrong_answer(prompt: str) -> str:
    """What to tell somebody whose answer to this question did not do."""
    if prompt.startswith("Code"):  # asked only after a right password
        return "that code is not right, or it has been used already: wait for the next one"
    return "wrong user name or password"


class _Client(asyncssh.SSHClient):
    """Callbacks of one connection."""

    def __init__(self, trust: Trust, answers: Answers | None, browser: InBrowser | None = None) -> None:
        self.trust = trust
        self.failure: SignInFailed | None = (
            None  # set when there was no answer to a question, or the gateway gave a reason
        )
        self.distrust = ""  # why the gateway's key was not accepted
        self.banner = ""  # the gateway's last word before a failure
        self.asked = ""  # the last question
        self.limit: asyncio.Timeout | None = None  # of what the gateway has to do by itself
        self._asked = False  # for the sign-in with a browser
        self._answers = answers
        self._browser = browser

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Ask about a host CA that is not known yet."""
        return self._judge(key, is_ca=True)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Ask about a bare host key."""
        return self._judge(key, is_ca=False)

    def _judge(self, key: asyncssh.SSHKey, *, is_ca: bool) -> bool:
        line = key.export_public_key().decode().strip()
        try:
            trusted = self.trust.judge(HostIdentity(line, key.get_fingerprint(), is_ca))
            self._wait_until(asyncio.get_running_loop().time() + DIAL_TIMEOUT_S)  # a person may have been asked
        except SignInFailed as error:
            self.failure = error
            return False
        except InterlockError as error:
            self.distrust = error.public
            return False
        return trusted

    def auth_banner_received(self, msg: str, lang: str) -> None:  # noqa: ARG002
        """Keep what the gateway says."""
        self.banner = msg.strip()

    def _wait_until(self, when: float | None) -> None:
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(when)

    def kbdint_auth_requested(self) -> str | None:
        """Sign in by answering questions, if somebody is there to answer, or with a browser, once."""
        self._wait_until(None)
        if self._browser is not None and self._browser.at_once:
            asked, self._asked = self._asked, True
            return None if asked else SUBMETHOD
        return "" if self._answers is not None and self.failure is None and self._answers.attempt() else None

    def kbdint_challenge_received(
        self,
        name: str,
        instructions: str,
        lang: str,  # noqa: ARG002
        prompts: Sequence[tuple[str, bool]],
    ) -> list[str] | None:
        """Pass the questions on."""
        address = address_in(instructions) if name == CHALLENGE and not prompts else ""
        if self._browser is not None and address:
            self._browser.show(instructions, address)
            return []
        if self._browser is not None and self._browser.at_once and prompts:
            self.failure = SignInFailed("this gateway has no sign-in by browser")
            return None
        if self._answers is None and not instructions:
            return None
        if instructions and not prompts:  # a refusal that gives its reason
            self.failure = SignInFailed(f"sign-in failed: {instructions.strip()}")
            return None
        if self._answers is None:
            return None
        self.asked = prompts[-1][0] if prompts else self.asked
        try:
            return [
                self._answers.answer("" if number else instructions, prompt, echo=echo)
                for number, (prompt, echo) in enumerate(prompts)
            ]
        except SignInFailed as error:
            self.failure = error
            return None


def _known(trust: Trust) -> tuple[list[str], list[asyncssh.SSHKey], list[str]]:
    """Trusted keys, trusted CAs and revoked keys, as asyncssh takes them."""
    try:
        return [], [asyncssh.import_public_key(line) for line in trust.host_ca], []
    except asyncssh.KeyImportError as error:
        raise ConfigError("the stored host CA of the gateway cannot be read", reason=str(error)) from None


def _load(identity: tuple[str, str]) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
    private, certificate = identity
    try:
        return asyncssh.import_private_key(private), asyncssh.import_certificate(certificate)
    except asyncssh.KeyImportError as error:
        raise SignInFailed("the stored key cannot be read: run ilsh login", reason=str(error)) from None


def _expect(item: wire.AnyReply | bytes, expected: type[_Reply]) -> _Reply:
    if isinstance(item, expected):
        return item
    if isinstance(item, wire.Refused):
        match item.why:
            case "denied":
                raise Denied(item.message)
            case "not-found":
                raise NotFound(item.message)
            case "malformed":  # it was well formed when we sent it
                public = "the gateway does not know this request: it is of an older version"
                raise InterlockError(public, reason=item.message)
            case _:
                raise InterlockError(item.message)
    raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"{type(item).__name__} instead of {expected.__name__}")
