"""Free loopback ports for daemons that tests start.

Ports come from below the kernel's ephemeral range, so that no outgoing connection of the same test takes one
between the check and the daemon's own bind.
"""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    highest = _ephemeral_start() - 1
    for _ in range(200):
        port = random.SystemRandom().randint(_LOWEST, highest)
        if _is_free(port):
            return port
    msg = f"no free port between {_LOWEST} and {highest}"
    raise OSError(msg)


def free_ports(count: int) -> list[int]:
    """``count`` different free ports."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def _ephemeral_start() -> int:
    try:
        start = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError):
        start = 32_768
    return start if start > _LOWEST + 1000 else 60_000


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
