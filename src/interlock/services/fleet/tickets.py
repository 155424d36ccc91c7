"""Tickets: with one a proxy apart from auth shows that somebody has just signed in there by password.

Auth judges the password and gives the ticket; the proxy shows it with what the person asks for. It is good for one
proxy and for a few minutes. Every auth of the cluster can read it, as its key comes from the daemons' authority.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims
from interlock.services.keys.daemonroots import Secrets

PURPOSE = "sign-in tickets"

CONFIRMED = "second-factor tickets"
"""Purpose of another key, so that neither kind is ever taken for the other."""

MAX_TICKET = 1024
"""Bytes."""

LIFE = timedelta(minutes=5)
"""As long as a sign-in counts for a new certificate (`caller.SIGN_WINDOW`)."""

_SEAL = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a ticket says."""

    user: str
    proxy: DaemonId
    since: float  # seconds since the epoch
    device: str = ""  # `Identity.device`


class Tickets:
    """Gives and reads them. ``keys``: `DaemonCas.secrets` for `PURPOSE`."""

    def __init__(self, keys: Secrets) -> None:
        self._keys = keys

    def give(self, user: str, proxy: DaemonId, now: datetime, *, device: str = "") -> bytes:
        """For somebody whose password was right, and who has used this second factor if there is one."""
        said = msgspec.msgpack.encode(SignedIn(user, proxy, now.timestamp(), device))
        return hmac.digest(self._keys()[0], said, "sha256") + said

    def read(self, ticket: bytes, proxy: DaemonId, now: datetime) -> tuple[str, datetime, str]:
        """Who signed in, when, and with which device; Denied if it is no ticket of this proxy, or too old."""
        seal, said = ticket[:_SEAL], ticket[_SEAL:MAX_TICKET]
        if not _is_ours(self._keys(), said, seal):
            raise Denied("sign in again with ilsh login", reason=f"proxy {proxy} showed a ticket that is none")
        found = msgspec.msgpack.decode(said, type=SignedIn)
        if found.proxy != proxy:
            reason = f"proxy {proxy} showed a ticket of {found.proxy} for {found.user}"
            raise Denied("sign in again with ilsh login", reason=reason)
        since = datetime.fromtimestamp(found.since, UTC)
        if now - since > LIFE:
            public = "this sign-in is too old: sign in again with ilsh login"
            raise Denied(public, reason=f"proxy {proxy} showed a ticket of {since.isoformat()} for {found.user}")
        return found.user, since, found.device


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a ticket says for which somebody has confirmed one connection at one proxy."""

    user: str
    serial: int  # of the certificate that was proven before
    proxy: DaemonId
    device: str
    session: bytes  # of the connection: `Presence.session`
    since: float  # seconds since the epoch


class FactorTickets:
    """Gives and reads them. ``keys``: `DaemonCas.secrets` for `CONFIRMED`."""

    def __init__(self, keys: Secrets) -> None:
        self._keys = keys

    def give(self, claims: Claims, device: str, session: bytes, proxy: DaemonId, now: datetime) -> bytes:
        """For somebody whose code was right on this connection."""
        about = Confirmed(claims.identity.user, claims.serial, proxy, device, session, now.timestamp())
        said = msgspec.msgpack.encode(about)
        return hmac.digest(self._keys()[0], said, "sha256") + said

    def read(self, ticket: bytes, claims: Claims, session: bytes | None, proxy: DaemonId, now: datetime) -> str:
        """The device; Denied unless the ticket is this proxy's, for this certificate, and not too old.

        ``session``: of the connection that is proven to be there; None if none is, as of older proxies.
        """
        seal, said = ticket[:_SEAL], ticket[_SEAL:MAX_TICKET]
        public = "this connection was not confirmed with a second factor: connect again"
        if not _is_ours(self._keys(), said, seal):
            raise Denied(public, reason=f"proxy {proxy} showed a ticket that is none")
        found = msgspec.msgpack.decode(said, type=Confirmed)
        whose = (found.user, found.serial, found.proxy)
        here = session is None or hmac.compare_digest(session, found.session)
        if whose != (claims.identity.user, claims.serial, proxy) or not here:
            raise Denied(public, reason=f"proxy {proxy} showed a ticket of {found.user} at {found.proxy}")
        if now - datetime.fromtimestamp(found.since, UTC) > LIFE:
            raise Denied(public, reason=f"proxy {proxy} showed a ticket of {found.since} for {found.user}")
        return found.device


def _is_ours(keys: Sequence[bytes], said: bytes, seal: bytes) -> bool:
    return any(hmac.compare_digest(hmac.digest(key, said, "sha256"), seal) for key in keys)
