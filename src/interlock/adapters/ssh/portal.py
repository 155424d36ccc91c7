"""The portal on the proxy's SSH port: sign-in by keyboard-interactive, and the subsystem of core.portal.

For connections whose SSH user name is a plain gateway user. This side only moves bytes: what a caller may
have is decided in portal.portal, whether a password is right in signin.signin. Shell and exec are
answered with a hint at the routes to a node.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from enum import Enum
from typing import Any, Protocol

import asyncssh
import structlog

from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, Locked, RemoteProtocolError, SignInFailed
from interlock.services.access.caller import Caller
from interlock.services.portal.playback import Download
from interlock.services.portal.portal import refusal
from interlock.services.signin.signin import CODE_PROMPT, Confirmation, Judgement, SignInResult

MAX_ATTEMPTS = 6
"""Rounds of questions on one connection. OpenSSH asks three times (NumberOfPasswordPrompts)."""

HINT = (
    "This is the Interlock gateway; to reach a node use: ssh LOGIN%NODE@GATEWAY, or ssh -J USER@GATEWAY LOGIN@NODE"
)
"""What a person reads who asks the gateway itself for a shell."""

CODE_ASKED = (
    "Your account has a second factor: type the code that your authenticator shows, or a recovery code. "
    "(With a passkey, sign in by ilsh login --browser.)"
)
"""What is asked when a password has been right."""

_log = structlog.get_logger(__name__)

Challenge = bool | tuple[str, str, str, list[tuple[str, bool]]]
"""True: signed in; False: failed; otherwise name, instruction, language and (prompt, echo) to ask."""


class _Asked(Enum):
    """Which question the client has before it."""

    NOTHING = "nothing"
    PASSWORD = "password"  # noqa: S105 - the name of a question
    NEW_PASSWORD = "new password"  # noqa: S105 - the name of a question
    CODE = "code"


class _Gone(Exception):
    """The channel was closed under us: nobody is left to tell."""


class PasswordCheck(Protocol):
    """Sign-in by password; services.signin.signin.SignIn."""

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, with the code of a second factor if there is one; SignInFailed if it is wrong."""
        ...

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Replace it; SignInFailed if the old one is wrong, Denied if the new one will not do."""
        ...

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """A second factor of whoever has proved a certificate; SignInFailed if the code is wrong."""
        ...


class Answerer(Protocol):
    """What answers requests; services.portal.portal.Portal."""

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request."""
        ...


class KeyboardInteractive:
    """One connection's sign-in; ends in success for the user it was made for and for no other."""

    def __init__(self, signin: PasswordCheck, user: str, source: str) -> None:
        self._signin = signin
        self._user = user
        self._source = source
        self._asked = _Asked.NOTHING
        self._rounds = 0
        self._password = ""  # while more is being asked for
        self._new = ""  # the one that is to replace it
        self.device = ""  # `Identity.device` of who is signed in

    def challenge(self, user: str) -> Challenge:
        """The first question (asyncssh's get_kbdint_challenge); starts anew when it is asked for again."""
        self._password = self._new = ""
        return self._ask(_Asked.PASSWORD, "", "Password: ") if user == self._user else False

    async def respond(self, user: str, responses: Sequence[str]) -> Challenge:
        """Judge the answers (asyncssh's validate_kbdint_response): success, failure or the next question."""
        asked, self._asked = self._asked, _Asked.NOTHING
        if user != self._user:
            return False
        try:
            match asked, responses:
                case _Asked.PASSWORD, [password]:
                    self._password = password
                    return await self._judge("")
                case _Asked.NEW_PASSWORD, [new, again]:
                    return await self._change(new, again)
                case _Asked.CODE, [code]:
                    return await self._judge(code)
                case _:
                    return False
        except SignInFailed:
            return False
        except Locked as error:  # a question without questions: only its text matters
            return self._ask(_Asked.NOTHING, error.public)
        except InterlockError as error:  # the storage or an auth that is away, not the answer, is at fault
            _log.warning("portal.signin_failed", user=self._user, reason=error.reason)
            return self._ask(_Asked.NOTHING, error.public)

    async def _judge(self, code: str) -> Challenge:
        if self._new:
            judged = await self._signin.change(
                self._user, self._password, self._new, source=self._source, code=code
            )
        else:
            judged = await self._signin.check(self._user, self._password, source=self._source, code=code)
        match judged.result:
            case SignInResult.MUST_CHANGE:
                return self._ask_new("Your password is a one-time password: choose a new one.")
            case SignInResult.NEEDS_CODE:
                return self._ask(_Asked.CODE, CODE_ASKED, CODE_PROMPT, echo=True)
            case SignInResult.OK:
                self._password = self._new = ""
                self.device = judged.device
                return True

    async def _change(self, new: str, again: str) -> Challenge:
        if new != again:
            return self._ask_new("The two new passwords differ.")
        self._new = new
        try:
            return await self._judge("")
        except Denied as error:
            self._new = ""
            return self._ask_new(error.public)

    def _ask_new(self, instruction: str) -> Challenge:
        return self._ask(_Asked.NEW_PASSWORD, instruction, "New password: ", "Repeat new password: ")

    def _ask(self, asked: _Asked, instruction: str, *prompts: str, echo: bool = False) -> Challenge:
        self._rounds += 1
        if self._rounds > MAX_ATTEMPTS:
            return False
        self._asked = asked
        return "", instruction, "", [(prompt, echo) for prompt in prompts]


class PortalSession(asyncssh.SSHServerSession[bytes]):
    """One session channel of a portal connection; its task is owned by the connection and ends with it."""

    def __init__(self, portal: Answerer, caller: Caller) -> None:
        self._portal = portal
        self._caller = caller
        self._chan: Any = None  # set in connection_made
        self._serves = False  # set when the subsystem was asked for
        self._lines = wire.LineReader()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = False  # no more bytes will arrive
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Remember the channel."""
        self._chan = chan
        self._writable.set()

    def pty_requested(self, *_: object) -> bool:
        """Allow a terminal, so that the hint is all that the person sees."""
        return True

    def shell_requested(self) -> bool:
        """Answer with the hint."""
        return True

    def exec_requested(self, command: str) -> bool:  # noqa: ARG002 - whatever it is, it does not run
        """Answer with the hint."""
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Offer the portal and nothing else."""
        self._serves = subsystem == wire.SUBSYSTEM
        return self._serves

    def session_started(self) -> None:
        """Begin to answer."""
        if self._serves:
            self._task = self._chan.get_connection().create_task(self._serve())
            return
        self._chan.write_stderr(f"{HINT}\r\n".encode())
        self._chan.exit(1)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:  # noqa: ARG002 - clients send no stderr
        """Hold a request; reading goes on when it has been answered."""
        if self._task is not None:
            self._lines.add(data)
            self._chan.pause_reading()
            self._arrived.set()

    def eof_received(self) -> bool:
        """Finish what was asked before closing."""
        self._ended = True
        self._arrived.set()
        return True

    def pause_writing(self) -> None:
        """Hold a recording back while the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason changes nothing
        """Stop answering."""
        if self._task is not None:
            self._task.cancel()

    async def _serve(self) -> None:
        status = 0
        try:
            while (line := await self._next_line()) is not None:
                await self._answer(line)
        except RemoteProtocolError as error:
            await self._write(wire.encode(refusal(error)))
            status = 1
        except _Gone:
            return
        self._chan.exit(status)

    async def _next_line(self) -> bytes | None:
        """The next request, or None when the client has finished."""
        while (line := self._lines.next()) is None:
            if self._ended:
                return None
            self._arrived.clear()
            self._chan.resume_reading()
            await self._arrived.wait()
        return line

    async def _answer(self, line: bytes) -> None:
        try:
            request = wire.parse_request(line)
        except RemoteProtocolError as error:
            await self._write(wire.encode(refusal(error)))
            return
        try:
            reply = await self._portal.answer(self._caller, request)
        except Exception:  # noqa: BLE001 - one bug must not end the connection without a word
            _log.exception("portal.request_failed", user=self._caller.user, request=type(request).__name__)
            reply = wire.Refused("failed", "the gateway failed to answer: see its log")
        if isinstance(reply, Download):
            await self._send(reply)
        else:
            await self._write(wire.encode(reply))

    async def _send(self, download: Download) -> None:
        """Stream a recording as fast as the client reads; say at the end whether it was whole."""
        await self._write(wire.encode(download.head))
        async with aclosing(download.pieces) as pieces:
            end = await self._send_pieces(pieces, download.head.sid)
        await self._write(wire.END_OF_CHUNKS + wire.encode(end))

    async def _send_pieces(self, pieces: AsyncIterator[bytes], sid: str) -> wire.Streamed | wire.Refused:
        size = 0
        try:
            async for piece in pieces:
                for chunk in wire.chunks(piece):
                    await self._write(chunk)
                size += len(piece)
        except InterlockError as error:
            return refusal(error)
        except OSError:
            _log.exception("portal.stream_failed", user=self._caller.user, sid=sid)
            return wire.Refused("failed", "the recording could not be read to its end")
        return wire.Streamed(size)

    async def _write(self, data: bytes) -> None:
        try:
            self._chan.write(data)
        except OSError:
            raise _Gone from None
        await self._writable.wait()
