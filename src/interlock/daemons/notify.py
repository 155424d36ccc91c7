"""What systemd is told of a daemon's life (sd_notify(3)): one datagram each, and nothing if nobody asks for it."""

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as ``READY=1``; False if no service manager wants to know, or it cannot be told."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return False
    path = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(path)
            sender.sendall(state.encode())
    except OSError:
        return False
    return True
