"""What stands at the far end of a forward in tests: an echo server on a port or a path, and how to reach one.

`exchange` sends, half-closes, and reads to the end: a forward that loses an EOF in either direction never ends it.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from interlock.testing.ports import LOOPBACK

Address = tuple[str, int] | Path
"""A TCP port, or a UNIX socket's path."""

_BLOCK = 65_536


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(_BLOCK):
                self.request.sendall(data)


class EchoServer:
    """Sends back what it gets, to any number of clients; ``path``: on a UNIX socket instead of a free port."""

    def __init__(self, path: Path | None = None) -> None:
        self._server: socketserver.BaseServer
        self.address: Address
        if path is None:
            tcp = socketserver.ThreadingTCPServer((LOOPBACK, 0), _Handler)
            self._server, self.address = tcp, (LOOPBACK, int(tcp.server_address[1]))
        else:
            self._server, self.address = socketserver.ThreadingUnixStreamServer(str(path), _Handler), path
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Its TCP port."""
        assert isinstance(self.address, tuple)
        return self.address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def connect(address: Address, timeout: float = 30.0) -> socket.socket:
    """A connection to a port or path; OSError if nobody is there."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(str(address) if isinstance(address, Path) else address)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_by_socks(proxy: Address, host: str, port: int) -> socket.socket:
    """The same through a SOCKS5 proxy, which resolves the name (RFC 1928); ConnectionError if it refuses."""
    sock = connect(proxy)
    try:
        sock.sendall(b"\x05\x01\x00")
        name = host.encode()
        if sock.recv(2) == b"\x05\x00":
            sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port))
        reply = sock.recv(10)  # ssh answers with an IPv4 address, whatever was asked
    except BaseException:
        sock.close()
        raise
    if reply[1:2] != b"\0":
        sock.close()
        msg = f"SOCKS: {reply!r}"
        raise ConnectionRefusedError(msg)
    return sock


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """What comes back for ``data``, to the end. Closes the socket."""
    received = bytearray()
    with sock:
        sender = threading.Thread(target=_send, args=(sock, data), daemon=True)
        sender.start()
        with contextlib.suppress(ConnectionError):
            while block := sock.recv(_BLOCK):
                received += block
        sender.join()
    return bytes(received)


def _send(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
