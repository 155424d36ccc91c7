"""What systemd is told of a daemon's life (sd_notify(3)): one datagram each, and nothing if nobody asks for it."""

import asyncio
import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def reloading(now: float) -> str:
    """The state of a daemon that reads its configuration; ``now`` by the monotonic clock, in seconds."""
    return f"RELOADING=1\nMONOTONIC_USEC={int(now * 1_000_000)}"


def notify(state: str) -> bool:
    """Send a state; False if no service manager wants to know, or it cannot be told."""
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


def watchdog_pause() -> float | None:
    """Seconds between two signs of life that the service manager wants of this process; None: it wants none."""
    wanted, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or not int(wanted) or whose not in ("", str(os.getpid())):
        return None
    return int(wanted) / 2_000_000


async def keep_watchdog() -> None:
    """Say that the event loop runs, until cancelled; whoever does not hear it restarts the daemon."""
    pause = watchdog_pause()
    while pause is not None:
        notify(ALIVE)
        await asyncio.sleep(pause)
