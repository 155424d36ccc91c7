"""A connection's first moments and its last in fewer steps: fewer packets on the wire, fewer wake-ups.

What asyncssh sends one write at a time, and some of it only after the remote has spoken, goes out as soon as it
may and together. The messages and their order are asyncssh's own.
"""

import asyncio
from contextlib import suppress

import asyncssh.connection
from asyncssh.connection import SSHConnection
from asyncssh.constants import DEFAULT_LANG
from asyncssh.saslprep import saslprep

from interlock.adapters.ssh.seams.quiet import hush


class PromptConnection(SSHConnection):
    """Sends its KEXINIT with its version, and each step of the handshake in one write."""

    _ahead = False  # whether our KEXINIT is out before the remote's version is in
    _unsent: tuple[bytes, ...] = ()
    _leaving = False  # while the goodbye is made

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
        """Until authentication, and when leaving, keep it for the end of this step of the loop."""
        if (self._auth_complete and not self._leaving) or self._transport is None:
            self._send_unsent(self._transport)
            super()._send(data)
            return
        if not self._unsent:
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


def prepare_name(text: str) -> str:
    """The SASLprep of a user name, without its tables for printable ASCII, which it does not change (RFC 4013)."""
    if text.isascii() and text.isprintable():
        return text
    return saslprep(text)


hush()
vars(asyncssh.connection)["saslprep"] = prepare_name  # asked three times per session
