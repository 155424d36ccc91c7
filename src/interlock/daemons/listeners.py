"""The proxy's port shared out: a listening socket for each slot of workers, all on the same address.

The kernel gives each new connection to one of them (SO_REUSEPORT). They are the supervisor's and stay open as long
as it runs; workers inherit them. So a connection that waits to be accepted waits for whoever serves the slot next,
whatever becomes of the worker that should have accepted it.
"""

import socket
from collections.abc import Sequence

from interlock.adapters.ssh.proxy import BACKLOG
from interlock.core.address import format_address


class Listeners:
    """Slots of sockets. A host name may stand for several addresses: each slot has a socket for each of them."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._slots: list[list[socket.socket]] = []

    @property
    def where(self) -> str:
        """The address that was asked for, with the port that it got."""
        host, port = self._slots[0][0].getsockname()[:2]
        return format_address(host, port)

    def grow(self, slots: int) -> None:
        """Have at least so many. OSError, with those as before, if the address is not to be had."""
        while len(self._slots) < slots:
            self._slots.append(self._open())

    def shared(self, slot: int, slots: int) -> list[socket.socket]:
        """Those of one slot among so many: none is without a worker, however many there were before."""
        return [each for sockets in self._slots[slot::slots] for each in sockets]

    def close(self) -> None:
        """Listen no more."""
        for sockets in self._slots:
            for each in sockets:
                each.close()
        self._slots.clear()

    def _open(self) -> list[socket.socket]:
        opened: list[socket.socket] = []
        try:
            for family, address in self._addresses():
                if not self._slots:
                    _bound(family, address, shared=False).close()  # another program's port would be shared, too
                opened.append(_bound(family, address, shared=True))
        except BaseException:
            for each in opened:
                each.close()
            raise
        return opened

    def _addresses(self) -> Sequence[tuple[int, tuple[object, ...]]]:
        if self._slots:
            return [(each.family, each.getsockname()) for each in self._slots[0]]
        found = socket.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        if shared:
            made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
