"""Auth's judgement whether a person is connected to a proxy apart from it, by the proof that the proxy shows.

The person has signed for this (`core.presence`), so a proxy cannot make it up: not for somebody who is not there,
nor later, since it has to carry a beacon of auth's, nor twice, since each is good for one key to dial with. What
the person asked for, and which host key the client saw, is in what was signed, and holds the proxy to it.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.core.certificate import CertKind, PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.core.limits import REFUSALS_TOLD
from interlock.core.presence import BEACON, Proof, SignedRequest
from interlock.domain.access import HardwareKey
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.identity import Claims, Joining
from interlock.domain.party import parse_wish
from interlock.domain.target import Route, Target, parse_route
from interlock.ports import Clock, EventSink, MemberProxy, ProofUses
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.daemonroots import Secrets
from interlock.services.keys.signatures import flags_of, is_signed

PURPOSE = "beacons of presence"

WINDOW_S = 30
"""Seconds after which there is another beacon."""

FRESH = timedelta(minutes=5)
"""For as long a proof counts: connecting and signing take a person a while, with a second factor above all."""

SKEW = 2
"""Windows by which another auth's clock may be ahead."""

KEPT = FRESH + timedelta(seconds=WINDOW_S * (SKEW + 2))
"""How long it is remembered that a proof was used; it is stale before."""

TOLD_AGAIN = timedelta(hours=1)
"""For as long one proxy's refusals are counted against `REFUSALS_TOLD`."""

_LOOKED_BACK = timedelta(hours=1)
"""How far back a beacon that does not count is looked for, to say what is wrong with it."""

NOT_SHOWN = (
    "this proxy does not show that you are connected, which auth requires: it has just started, or is of an older "
    "version; try again, and tell your administrator if that does not help"
)
NOT_BELIEVED = "the gateway could not show that you are connected now: connect again"


class Beacons:
    """Gives and recognises them. ``keys``: `DaemonCas.secrets` for `PURPOSE`, so that every auth can."""

    def __init__(self, keys: Secrets) -> None:
        self._keys = keys

    def give(self, proxy: DaemonId, now: datetime) -> bytes:
        """The beacon of this moment, for this proxy's connections."""
        return _beacon(self._keys()[0], proxy, _window(now))

    def age(self, beacon: bytes, proxy: DaemonId, now: datetime, *, within: timedelta = FRESH) -> timedelta | None:
        """How long ago it was given to this proxy, at most; None: not ``within`` that time."""
        newest, keys = _window(now) + SKEW, self._keys()
        for window in range(newest, _window(now - within) - 1, -1):
            if any(hmac.compare_digest(_beacon(key, proxy, window), beacon) for key in keys):
                return timedelta(seconds=max(0.0, now.timestamp() - window * WINDOW_S))
        return None


def _beacon(key: bytes, proxy: DaemonId, window: int) -> bytes:
    return hmac.digest(key, f"{window} {proxy}".encode(), "sha256")[:BEACON]


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody who has signed a moment ago on a connection to this proxy, and what they asked for there."""

    user: str  # the SSH user name
    session_id: bytes
    names: frozenset[str] | None  # in the host certificate that the client saw; None: it saw a bare key
    refuse: Callable[[str], Denied]
    hardware: HardwareKey | None = None  # what the key that has signed has shown

    def name_for(self, login: str) -> str | None:
        """The name of the target that they asked for; None: they are at a jump's end. Denied for another login.

        Whether it is the right target is to be looked up, and told by `to_target`.
        """
        route = self._route()
        asked = self.user if route is None else route.login
        if asked != login or (route is not None and parse_wish(route) is not None):
            raise self.refuse(f"for {self.user[:128]!r} in place of the login {login[:64]!r}")
        return None if route is None else route.target

    def to_target(self, target: Target, wanted: DaemonId, *, named: bool) -> None:
        """Denied unless the wanted target is what they asked for. ``named``: ``target`` is what the route says."""
        if not named:
            self._at((target.hostname, target.id))
        elif target.id != wanted:
            raise self.refuse(f"for {self.user[:128]!r} in place of the target {wanted}")

    def to_session(self, joining: Joining) -> None:
        """Denied unless they wanted to join this session like this."""
        route = self._route()
        wish = None if route is None else parse_wish(route)
        if wish is None or wish.sid != joining.sid or (wish.mode is not None and wish.mode not in joining.modes):
            raise self.refuse(f"for {self.user[:128]!r} in place of joining {joining.sid}")

    def to_leaf(self, login: str, node: str, leaf: str) -> None:
        """Denied unless they asked for that node of the leaf cluster."""
        name, route = f"{node}.{leaf}", self._route()
        if route is None:
            right = self.user == login
            self._at((name,))
        else:
            right = (route.login, route.target.lower()) == (login, name.lower())
        if not right:
            raise self.refuse(f"for {self.user[:128]!r} in place of {login[:64]}%{name[:128]}")

    def to_portal(self, user: str, proxy: DaemonId) -> None:
        """Denied unless they came to the portal as themselves."""
        if self.user != user:
            raise self.refuse(f"for {self.user[:128]!r} in place of the portal")
        self._at((proxy,))

    def _route(self) -> Route | None:
        """Where to; None: to the portal, or the login at the end of a jump."""
        try:
            return parse_route(self.user)
        except Denied:
            raise self.refuse(f"for {self.user[:128]!r}, which leads nowhere") from None

    def _at(self, names: Collection[str]) -> None:
        """Denied if the client knows that it was not connected to what is called one of these."""
        if self.names is not None and {name.lower() for name in self.names}.isdisjoint(map(str.lower, names)):
            raise self.refuse(f"of a connection to {', '.join(sorted(self.names))[:256]}, not {', '.join(names)}")


class Attendance:
    """Judges proofs, and tells of those that it refuses."""

    def __init__(
        self,
        beacons: Beacons,
        uses: ProofUses,
        *,
        required: bool,
        events: EventSink,
        factory: EventFactory,
        clock: Clock,
    ) -> None:
        """``required``: of every proxy; otherwise of those that have asked for a beacon once."""
        self._beacons = beacons
        self._uses = uses
        self._required = required
        self._events = events
        self._factory = factory
        self._clock = clock
        self._told: dict[DaemonId, tuple[datetime, int]] = {}  # of each proxy: since when, how many refusals

    def beacon(self, proxy: DaemonId) -> bytes:
        """What a proxy's next connections are to carry."""
        return self._beacons.give(proxy, self._clock.now())

    def see(self, proxy: MemberProxy, claims: Claims, shown: bytes, proof: Proof | None) -> Seen | None:
        """Who has signed, with the key in ``shown`` (certificate or key, in wire form); Denied if it is not so.

        None: nothing was shown, and of this proxy nothing is required.
        """

        def refuse(what: str) -> Denied:
            return self._refused(proxy, claims, f"showed a proof of presence {what}", NOT_BELIEVED)

        if proof is None:
            if self._required or proxy.host_key:
                raise self._refused(proxy, claims, "showed no proof of presence", NOT_SHOWN)
            return None
        try:
            said = SignedRequest.read(proof)
            key, names = _host_key(said.host_key)
            person = _person(shown)
        except ValueError as error:
            raise refuse(f"that is none: {error}") from None
        if key.line() != proxy.host_key:
            raise refuse("of a connection to another host key than its own")
        now = self._clock.now()
        if self._beacons.age(said.beacon, proxy.id, now) is None:
            age = self._beacons.age(said.beacon, proxy.id, now, within=_LOOKED_BACK)
            raise refuse("without a beacon of its own" if age is None else f"that is stale: {_minutes(age)} old")
        if said.key != shown:
            raise refuse("by another key or certificate than it showed")
        flags = {"verified": claims.verified, "untouched": claims.untouched}
        if not is_signed(person, said.algorithm, said.signature, said.signed, **flags):
            raise refuse("whose signature does not match")
        hardware = HardwareKey.shown_by(flags_of(person, said.signature))
        return Seen(said.user, said.session_id, names, refuse, hardware)

    async def use(self, seen: Seen | None, public_key: str) -> None:
        """Let the proof count for this key to dial with, and for no other; Denied if it did for another one."""
        if seen is None:
            return
        used = hashlib.sha256(seen.session_id).hexdigest()
        by = hashlib.sha256(public_key.encode()).hexdigest()
        now = self._clock.now()
        if not await self._uses.use_proof(used, by, now=now, forget=now - KEPT):
            raise seen.refuse("that was used before")

    def _refused(self, proxy: MemberProxy, claims: Claims, what: str, public: str) -> Denied:
        reason = f"proxy {proxy.id} {what}"
        count = self._count(proxy.id)
        if count <= REFUSALS_TOLD:
            last = " (later ones of this proxy are not reported for an hour)" if count == REFUSALS_TOLD else ""
            fields: dict[str, JsonValue] = {
                "success": False,
                "user": claims.identity.user,
                "proxy_id": proxy.id,
                "proxy_names": list(proxy.names),
                "error": reason + last,
            }
            self._events.emit(self._factory.make(Kind.PRESENCE_FAILURE, fields))
        return Denied(public, reason=reason)

    def _count(self, proxy: DaemonId) -> int:
        now = self._clock.now()
        since, count = self._told.get(proxy, (now, 0))
        if now - since >= TOLD_AGAIN:
            since, count = now, 0
        self._told[proxy] = since, count + 1
        return count + 1


def _window(moment: datetime) -> int:
    return int(moment.timestamp()) // WINDOW_S


def _minutes(age: timedelta) -> str:
    return f"{int(age.total_seconds()) // 60} min"


def _host_key(blob: bytes) -> tuple[PublicKey, frozenset[str] | None]:
    """The key that a client was shown, and the names beside it; ValueError.

    Who signed the certificate is the client's to check: one that does not has checked the bare key, and its names
    then bind the proxy to nothing that the bare key would not.
    """
    try:
        certificate = SignedCertificate.parse(blob).certificate
    except ValueError:
        return PublicKey.from_blob(blob), None
    if certificate.kind is not CertKind.HOST:
        msg = "the server showed a person's certificate"
        raise ValueError(msg)
    return certificate.key, frozenset(certificate.principals)


def _person(shown: bytes) -> PublicKey:
    """The key that a person signs with: a certificate's, or an enrolled one."""
    try:
        return SignedCertificate.parse(shown).certificate.key
    except ValueError:
        return PublicKey.from_blob(shown)
