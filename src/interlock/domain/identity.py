"""Who somebody is: what a verified certificate claims, and nothing that it does not."""

import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network

from interlock.core.ids import DaemonId

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)


def parse_address(text: str) -> tuple[str, int]:
    """Read ``192.0.2.7:22`` or ``[2001:db8::7]:22``; ValueError for names, ports out of range and all else."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 0xFFFF:
        msg = f"not an address with a port: {text[:64]!r}"
        raise ValueError(msg)
    return str(ip_address(match[1] or match[2])), int(match[3])


@dataclass(frozen=True, slots=True)
class Identity:
    """A gateway user as a certificate vouches for it."""

    user: str
    roles: tuple[str, ...]
    cluster: str


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Present in the certificates that auth issues to a forwarding node, for one target and minutes only.

    ``records`` is the duty hand-over, signed by auth: the node behind may leave recording, events and
    tracker to the forwarder if and only if its own certificate check finds it true (ADR-0002).
    """

    target: DaemonId
    by: DaemonId
    records: bool
    client: str = ""  # host:port of the person's client as the forwarder sees it; empty: not said

    @property
    def client_address(self) -> tuple[str, int] | None:
        """The same, parsed: the node sees the forwarder's address only; ValueError if it was never checked."""
        return parse_address(self.client) if self.client else None


@dataclass(frozen=True, slots=True)
class Claims:
    """The contents of a user certificate, to be issued or just verified."""

    identity: Identity
    logins: tuple[str, ...]  # the principals; never empty (R14)
    valid_after: datetime
    valid_before: datetime
    serial: int
    forwarded: Forwarded | None = None
    source_networks: tuple[str, ...] = ()  # CIDR; empty: from anywhere (the critical option source-address)

    def allows_source(self, address: str) -> bool:
        """Whether a client at this IP address may use the certificate; the SSH servers must ask (R12)."""
        if not self.source_networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(client, "ipv4_mapped", None)
        return any((mapped or client) in ip_network(each, strict=False) for each in self.source_networks)
