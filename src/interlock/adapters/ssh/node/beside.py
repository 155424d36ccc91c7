"""What one connection to the node carries beside its sessions, from the first forward on, and how that is told."""

from collections.abc import Callable, Coroutine, Mapping
from typing import cast

import asyncssh

from interlock.adapters.ssh.node.forwarding.connection import NodeForwards
from interlock.adapters.ssh.node.forwarding.ends import ClientEnd
from interlock.adapters.ssh.node.forwarding.reach import Protected
from interlock.adapters.ssh.node.judgement import Guest
from interlock.adapters.ssh.node.live import Live
from interlock.adapters.ssh.record import ConnectionRecord
from interlock.adapters.ssh.seams.forward import ForwardingConnection
from interlock.adapters.ssh.seams.node import NodeConnection
from interlock.core.address import format_address
from interlock.core.errors import Denied, InterlockError


def prohibited(text: str) -> asyncssh.ChannelOpenError:
    """The refusal of a channel that somebody may not have."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)


def closing() -> asyncssh.ChannelOpenError:
    """The refusal of a channel for which it is too late."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is closing")


class Beside:
    """Of one connection, which whoever asks brings along: None once it is gone. ChannelOpenError then."""

    def __init__(
        self,
        *,
        live: Mapping[int, Live],
        emits: Callable[[Guest], bool],
        begin: Callable[[Guest], Live],
        on_lost: Callable[[InterlockError], None],
        ours: Callable[[], Protected],
    ) -> None:
        """``emits``: whether the node tells of what this guest does.

        ``live``, ``begin``, ``on_lost``: as of `ConnectionRecord`. ``ours``: where nobody is forwarded to.
        """
        self._live = live
        self._emits = emits
        self._begin = begin
        self._on_lost = on_lost
        self._ours = ours
        self._made: NodeForwards | None = None  # see `forwards`
        self._record: ConnectionRecord | None = None  # if what is forwarded is told here

    @property
    def activity(self) -> int:
        """See `NodeForwards.activity`."""
        return self._made.activity if self._made is not None else 0

    def end(self, *, failure: str, quiet: bool) -> None:
        """The connection is gone; as of `ConnectionRecord.end`."""
        if self._made is not None:
            self._made.close()
        if self._record is not None:
            self._record.end(failure=failure, quiet=quiet)

    def watch(self, client: NodeConnection | None, guest: Guest, quiet: Callable[[], bool]) -> None:
        """Whoever stays without a session (``-N``) is seen, too; as of `ConnectionRecord.watch`."""
        self.forwards(client, guest)
        if self._record is not None:
            self._record.watch(quiet)

    def forwards(self, client: NodeConnection | None, guest: Guest) -> NodeForwards:
        """Made when somebody was let in, as what it does is told in that name."""
        if self._made is None:
            if self._emits(guest):
                self._record = ConnectionRecord(
                    live=self._live, begin=lambda: self._begin(guest), on_lost=self._on_lost
                )
            if not isinstance(client, ForwardingConnection):
                raise closing()
            self._made = NodeForwards(client, record=self._record, ours=self._ours())
        return self._made

    async def to_port(
        self, client: NodeConnection | None, guest: Guest, dest: tuple[str, int], origin: tuple[str, int]
    ) -> asyncssh.SSHTCPSession[bytes]:
        """-L, -D, -W and -J to somewhere behind this host."""
        forwards = self.forwards(client, guest)
        return await _opened(forwards.to_port(guest.access, *dest, format_address(*origin)))

    async def to_socket(
        self, client: NodeConnection | None, guest: Guest, path: str
    ) -> asyncssh.SSHUNIXSession[bytes]:
        """-L to a socket in the file system."""
        forwards = self.forwards(client, guest)
        end = await _opened(forwards.to_socket(guest.access, guest.account, path))
        return cast(asyncssh.SSHUNIXSession[bytes], end)  # the callbacks are the same


async def _opened(wanted: Coroutine[None, None, ClientEnd]) -> ClientEnd:
    try:
        return await wanted
    except Denied as error:
        raise prohibited(error.public) from None
    except InterlockError as error:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, error.public) from None
