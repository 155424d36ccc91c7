"""Which proxies apart from auth there are, what they say of themselves, and what they are told of each other."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from interlock.core.address import parse_address
from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, parse_session_id
from interlock.ports import Clock, MemberProxy, ProxyStore
from interlock.services.clusters.federation import FederatedClaims
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.keys.presence import Attendance

MAX_TUNNELS_TOLD = 10_000
"""Nodes whose tunnels one proxy may say that it has: all others are told of each."""

REFRESH_S = 2.0
"""Seconds after which the roots that are believed, and the proxies that there are, are read again."""


class Members:
    """See the module's docstring. ``proxy`` is who its certificate says."""

    def __init__(
        self, *, proxies: ProxyStore, believes: FederatedClaims, attendance: Attendance, clock: Clock
    ) -> None:
        self._proxies = proxies
        self._believes = believes  # read again with the proxies
        self._attendance = attendance
        self._clock = clock
        self._known: Mapping[DaemonId, MemberProxy] = {}
        self._read: float | None = None  # when; None: it is to be done again

    async def check(self, proxy: HostIdentity) -> MemberProxy:
        """What is known of it; Denied to a proxy that was removed, two seconds later at most."""
        now = self._clock.monotonic()
        old = self._read is None or now - self._read >= REFRESH_S
        if old or proxy.id not in self._known:
            self._read = now
            await self._believes.refresh()
            self._known = {each.id: each for each in await self._proxies.proxies()}
        if proxy.id not in self._known:
            raise _removed(proxy)
        return self._known[proxy.id]

    async def beacon(self, proxy: HostIdentity, host_key: str) -> bytes:
        """What the proxy's next connections are to carry.

        Its host key is learnt from its first question: Denied if it says later that it has another one.
        """
        member = await self.check(proxy)
        try:
            line = PublicKey.parse(host_key).line()
        except ValueError as error:
            raise refused(proxy, f"a beacon for a host key that is none: {error}") from None
        if not member.host_key:
            await self._proxies.pin_host_key(proxy.id, line)
            self._read = None
            member = await self.check(proxy)
        if member.host_key != line:
            raise refused(proxy, f"a beacon for another host key than its own: {line}")
        return self._attendance.beacon(proxy.id)

    async def report(self, proxy: HostIdentity, *, peer: str, tunnels: Sequence[DaemonId], ttl: timedelta) -> None:
        """What a proxy says of itself; Denied if it was removed, or says what cannot be."""
        try:
            if peer:
                parse_address(peer)
            for node in tunnels[:MAX_TUNNELS_TOLD]:
                parse_session_id(node)  # a daemon's ID has the form of a session's
        except ValueError:
            raise refused(proxy, f"to be reached at {peer[:128]!r}, with {len(tunnels)} tunnels") from None
        if len(tunnels) > MAX_TUNNELS_TOLD:
            raise refused(proxy, f"to have {len(tunnels)} tunnels")
        expires = self._clock.now() + ttl
        await self._proxies.report_proxy(proxy.id, peer=peer, tunnels=tunnels, expires=expires)

    async def peers(self, proxy: HostIdentity) -> list[MemberProxy]:
        """The other proxies that live; Denied to one that was removed."""
        found = await self._proxies.proxies()
        if proxy.id not in {each.id for each in found}:
            raise _removed(proxy)
        now = self._clock.now()
        return [each for each in found if each.id != proxy.id and each.lives(now=now)]


def _removed(proxy: HostIdentity) -> Denied:
    return Denied("this proxy was removed from the cluster", reason=f"there is no proxy {proxy.id}")


def refused(proxy: HostIdentity, what: str) -> Denied:
    """What a proxy has asked for that none may."""
    return Denied("a proxy may only act for people who are there", reason=f"proxy {proxy.id} asked for {what}")


def check_source(proxy: HostIdentity, source: str) -> None:
    """Denied if that is nowhere where a person can be; empty: it is not known."""
    try:
        if source:
            parse_address(source, default_port=1)
    except ValueError:
        raise refused(proxy, f"somebody at {source[:128]!r}") from None
