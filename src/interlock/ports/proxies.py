"""Narrow protocols: the proxies that are daemons of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.core.ids import DaemonId


@dataclass(frozen=True, slots=True)
class MemberProxy:
    """A proxy that has joined."""

    id: DaemonId
    names: tuple[str, ...]  # what clients call it; no node may have one of them
    joined: datetime
    peer: str = ""  # host:port at which other proxies reach it; empty: it has not said
    tunnels: tuple[DaemonId, ...] = ()  # nodes whose tunnels end there
    expires: datetime | None = None  # what it said of itself counts until then
    host_key: str = ""  # its SSH host key, one line; empty: it is of before proofs of presence

    def lives(self, *, now: datetime) -> bool:
        """Whether it was heard of lately."""
        return self.expires is not None and now < self.expires


class ProxyStore(Protocol):
    """Where they are kept. Who is not here (any more) is no proxy, whatever its certificate says."""

    async def add_proxy(self, proxy: MemberProxy) -> None:
        """It has joined."""
        ...

    async def proxies(self) -> list[MemberProxy]:
        """All of them, by name."""
        ...

    async def report_proxy(
        self, proxy: DaemonId, *, peer: str, tunnels: Iterable[DaemonId], expires: datetime
    ) -> None:
        """What a proxy says of itself; Denied if it was removed."""
        ...

    async def pin_host_key(self, proxy: DaemonId, host_key: str) -> None:
        """Keep what it says its SSH host key is, unless there is one already."""
        ...

    async def remove_proxy(self, proxy: DaemonId) -> None:
        """Forget it; NotFound if there is none."""
        ...


class ProofUses(Protocol):
    """Where every auth of the cluster notes which proofs of presence were used."""

    async def use_proof(self, proof: str, by: str, *, now: datetime, forget: datetime) -> bool:
        """Note the use of a proof; False if it was used ``by`` something else. Uses before ``forget`` may go."""
        ...
