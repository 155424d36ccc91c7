"""Connecting from this host on behalf of a client: resolved first, judged then, and no name asked twice (R5)."""

import asyncio
import socket

from interlock.adapters.ssh.node.forwarding.ends import SocketEnd
from interlock.core.errors import Denied, TargetError
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.domain.reach import forbidden

Protected = frozenset[tuple[str, int]]
"""Addresses and ports of the gateway's own listeners; an empty address is every address of this machine."""


async def connect_port(end: SocketEnd, host: str, port: int, *, ours: Protected) -> None:
    """Connect to the first address that answers. Denied for forbidden ones, TargetError if none answers."""
    name = host.strip("[]") or "localhost"
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            await _connect(end, name, port, ours)
    except TimeoutError:
        raise TargetError("Connection timed out", reason=f"{name} port {port}") from None
    except (ValueError, OverflowError) as error:  # no host name, no port
        raise TargetError("Name or service not known", reason=f"{name[:64]!r} port {port}: {error!r}") from None
    except OSError as error:
        words = error.strerror or "Connection refused"
        raise TargetError(words, reason=f"{name} port {port}: {error!r}") from None


async def _connect(end: SocketEnd, host: str, port: int, ours: Protected) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    for address in addresses:
        why = forbidden([address], port, ours=ours, is_local=is_local(address))
        if why is not None:
            raise Denied(why, reason=f"{why}: {host} is {address}")
    failure: OSError = OSError(0, "No address")
    for address in addresses:
        try:
            await loop.create_connection(lambda: end, address, port)
        except OSError as error:
            failure = error
        else:
            return
    raise failure


def is_local(address: str) -> bool:
    """Whether an address is one of this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
