"""A connection's first moments and its last in fewer steps: fewer packets on the wire, fewer wake-ups.

What asyncssh sends one write at a time, and some of it only after the remote has spoken, goes out as soon as it
may and together. The messages and their order are asyncssh's own.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from types import CoroutineType, coroutine
from typing import Any

import asyncssh.connection
from asyncssh.connection import SSHConnection
from asyncssh.constants import DEFAULT_LANG
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.saslprep import saslprep

from interlock.adapters.ssh.seams.packets import quicken
from interlock.adapters.ssh.seams.quiet import hush
from interlock.core.wire import KEXINIT


class PromptConnection(SSHConnection):
    """Sends its KEXINIT with its version, and each step of the handshake in one write, from no task of its own."""

    _ahead = False  # whether our KEXINIT is out before the remote's version is in
    _unsent: tuple[bytes, ...] = ()
    _leaving = False  # while the goodbye is made
    _gathering = False  # while something is being handled whose answers go out together at its end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send version and KEXINIT in one write."""
        self._gathering = True
        try:
            super().connection_made(transport)
        finally:
            self._gathering = False
            self._send_unsent(self._transport)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Send all that answers these bytes in one write."""
        transport, self._gathering = self._transport, True
        try:
            super().data_received(data, datatype)
        finally:
            self._gathering = False
            self._send_unsent(transport)

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Handle a KEXINIT at once: asyncssh would make a task of it, which never waits for anything.

        Requests to authenticate must stay tasks: of those that are sent together, each is judged (R13).
        """
        result = super().process_packet(pkttype, pktid, packet)
        return begun(result) if pkttype == KEXINIT and isinstance(result, CoroutineType) else result

    def _send_version(self) -> None:
        """Begin the key exchange at once: it depends on nothing that the remote says (RFC 4253 §4.2)."""
        super()._send_version()
        super()._send_kexinit()
        self._kexinit_sent = self._ahead = True

    def _send_kexinit(self) -> None:
        """As asyncssh does when the remote's version arrives, unless it is done; later to change keys."""
        if self._ahead:
            self._ahead = False
        else:
            super()._send_kexinit()

    def _send(self, data: bytes) -> None:
        """Until authentication, and when leaving, keep it for the end of this step of the loop or before."""
        if self._transport is None:
            return
        if self._auth_complete and not self._leaving:
            self._send_unsent(self._transport)
            super()._send(data)
            return
        if not (self._unsent or self._gathering):
            self._loop.call_soon(self._send_unsent, self._transport)
        self._unsent = (*self._unsent, data)

    def disconnect(self, code: int, reason: str, lang: str = DEFAULT_LANG) -> None:
        """Close the channels and say why in one write: ``ssh -W`` leaves with its channel, and reads no more."""
        transport, self._leaving = self._transport, True
        try:
            super().disconnect(code, reason, lang)
        finally:
            self._leaving = False
            self._send_unsent(transport)

    def _send_unsent(self, transport: asyncio.Transport | None) -> None:
        """Also when the connection is closing: what is to be read last was sent before it closes."""
        unsent, self._unsent = self._unsent, ()
        if unsent and transport is not None:
            with suppress(ConnectionError):
                transport.write(b"".join(unsent))


def begun(work: Coroutine[Any, Any, None]) -> bool | Awaitable[None]:
    """Run a handler up to where it waits for something: True if it never does, else what is left to be awaited.

    Its errors are raised here, but for those of decoding: asyncssh gives them another name when they come at once.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return True
    except PacketDecodeError as error:
        return _failed(error)
    return _continued(work, awaited)


async def _failed(error: Exception) -> None:
    raise error


async def _continued(work: Coroutine[Any, Any, None], awaited: object) -> None:
    await _rest(work, awaited)


@coroutine
def _rest(work: Coroutine[Any, Any, None], awaited: object) -> Generator[object, object, None]:
    """What is left of a coroutine that has begun and waits for ``awaited``."""
    while True:
        try:
            value = yield awaited
        except BaseException as error:  # noqa: BLE001 - a cancellation, above all, is the coroutine's
            step = partial(work.throw, error)
        else:
            step = partial(work.send, value)
        try:
            awaited = step()
        except StopIteration:
            return


def prepare_name(text: str) -> str:
    """The SASLprep of a user name, without its tables for printable ASCII, which it does not change (RFC 4013)."""
    if text.isascii() and text.isprintable():
        return text
    return saslprep(text)


hush()
quicken()
vars(asyncssh.connection)["saslprep"] = prepare_name  # asked three times per session
