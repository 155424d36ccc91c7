"""The echo server and the ways to it."""

import os
import socket
import threading
from pathlib import Path

import pytest

from interlock.testing.far_ends import EchoServer, connect, connect_by_socks, exchange
from interlock.testing.ports import LOOPBACK


@pytest.mark.parametrize("unix", [False, True])
def test_everything_comes_back(tmp_path: Path, unix: bool) -> None:
    """More than the sockets' buffers hold, on a port and on a path."""
    data = os.urandom(3_000_000)
    with EchoServer(tmp_path / "socket" if unix else None) as server:
        assert exchange(connect(server.address), data) == data
        assert exchange(connect(server.address), b"") == b""


@pytest.mark.parametrize("answer", [0, 2])
def test_socks_client_names_the_host(answer: int) -> None:
    """It sends the name unresolved; a refusal is an error."""
    asked = b""

    def proxy(listener: socket.socket) -> None:
        nonlocal asked
        client, _ = listener.accept()
        with client:
            client.recv(3)
            client.sendall(b"\x05\x00")
            asked = client.recv(100)
            client.sendall(bytes([5, answer]) + bytes(8))

    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=proxy, args=(listener,))
        thread.start()
        address = (LOOPBACK, listener.getsockname()[1])
        if answer:
            with pytest.raises(ConnectionRefusedError):
                connect_by_socks(address, "name", 80)
        else:
            connect_by_socks(address, "name", 80).close()
        thread.join()
    assert asked == b"\x05\x01\x00\x03\x04name\x00\x50"
