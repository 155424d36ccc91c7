"""What every way of a client through the proxy has: the client, and how it ends before there is a forwarder."""

import contextlib
from abc import ABC, abstractmethod

import asyncssh

from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.domain.audit import JsonValue


class ClientWay(ABC):
    """Of an authenticated client: to a target, or to a session of somebody else."""

    def __init__(self, parts: ProxyParts, connection: ClientLegConnection) -> None:
        self._parts = parts
        self._connection = connection

    @abstractmethod
    def _facts(self) -> dict[str, JsonValue]:
        """Who wanted what, as events of refusals say it."""

    def abort(self) -> None:
        """Drop the client."""
        self._connection.abort()

    def give_up(self) -> None:
        """A bug of ours: tell the client that it is not to blame, note it, and drop it."""
        public = "internal error of the gateway: its log has the details"
        self._parts.sessions.rejected(self._facts(), public=public, reason=public)
        with contextlib.suppress(OSError):
            self.disconnect(public)
        self.abort()

    def disconnect(self, text: str) -> None:
        """Tell the client, then drop it. Only while there is no forwarder."""
        self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, text)
