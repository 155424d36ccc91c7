"""Whom a proxy apart from auth acts for: what it shows of them is read, and judged, in this one place.

A proxy never says who somebody is. It shows what the person has shown to it: a certificate, or a key that auth
knows; a proof that they are connected at this moment (`keys.presence`); and auth's own ticket of a second factor.
"""

from dataclasses import dataclass, replace

from interlock.core.errors import Denied
from interlock.core.presence import Proof, digest_of_session
from interlock.domain.bounds import NO_BOUNDS
from interlock.domain.identity import Claims
from interlock.ports import Clock, KeyReader
from interlock.services.clusters.federation import FederatedClaims
from interlock.services.fleet.members import Members, refused
from interlock.services.fleet.tickets import FactorTickets
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.keys.presence import NOT_SHOWN, Attendance, Seen
from interlock.services.signin.enrolment import is_plain_key


@dataclass(frozen=True, slots=True)
class Shown:
    """What a proxy shows of a person."""

    certificate: bytes  # or an enrolled key, in wire form
    proof: Proof | None = None
    ticket: bytes = b""  # what `SecondFactors.confirm` has given


class People:
    """Says who somebody is. ``proxy`` is who its own certificate says."""

    def __init__(
        self,
        *,
        cluster: str,
        members: Members,
        believes: FederatedClaims,
        keys: KeyReader,
        attendance: Attendance,
        confirmed: FactorTickets,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._members = members
        self._believes = believes
        self._keys = keys
        self._attendance = attendance
        self._confirmed = confirmed
        self._clock = clock

    async def claims(self, proxy: HostIdentity, certificate: bytes) -> Claims:
        """What a person's certificate says; Denied if it is not genuine or valid, or was made for a forwarder.

        NotFound for a plain key that nobody has enrolled. That the person is there is not shown by it.
        """
        await self._members.check(proxy)
        if is_plain_key(certificate):
            return await self._keys.claims(certificate)
        claims = self._believes.read(certificate, now=self._clock.now())
        if self.is_ours(claims) and claims.forwarded is not None:
            raise refused(proxy, f"a forwarder's certificate of {claims.identity.user} as a person's")
        return claims

    async def still(self, proxy: HostIdentity, claims: Claims) -> Claims:
        """Of somebody who came a while ago: whose connection it is says a certificate that has expired, too.

        Denied if it cannot be read any more. Whether an enrolled key is still theirs is another question.
        """
        await self._members.check(proxy)
        if not is_plain_key(claims.certificate):
            return self._believes.read(claims.certificate, now=claims.valid_after)
        if not self.is_ours(claims):
            raise refused(proxy, f"a key of {claims.identity.user} of {claims.identity.cluster}")
        return replace(claims, enrolled=True)

    async def enrolled(self, proxy: HostIdentity, blob: bytes, *, bounds: bool) -> Claims:
        """Whose a plain key is; NotFound. ``bounds``: the proxy goes by what keys withhold; if not, Denied."""
        await self._members.check(proxy)
        claims = await self._keys.claims(blob)
        if claims.bounds != NO_BOUNDS and not bounds:
            public = "this proxy is of an older version, which cannot restrict sessions as your key has it"
            raise Denied(public, reason=f"proxy {proxy.id} would drop {', '.join(claims.bounds.facts)}")
        return claims

    async def here(self, proxy: HostIdentity, shown: Shown) -> tuple[Claims, Seen | None]:
        """Who is there, with the second factor that the ticket tells of, and what they asked for.

        Denied without a proof that counts, or with a ticket of something else. None: of this proxy no proof is
        required, and it showed none.
        """
        claims = await self.claims(proxy, shown.certificate)
        seen = await self._see(proxy, claims, shown)
        claims = claims.signed_with(None if seen is None else seen.hardware)
        if not shown.ticket:
            return claims, seen
        session = None if seen is None else digest_of_session(seen.session_id)
        device = self._confirmed.read(shown.ticket, claims, session, proxy.id, self._clock.now())
        return replace(claims, identity=replace(claims.identity, confirmed=device)), seen

    async def use(self, seen: Seen | None, public_key: str) -> None:
        """Let the proof count for this key, and for no other; Denied if it did for another one."""
        await self._attendance.use(seen, public_key)

    def is_ours(self, claims: Claims) -> bool:
        """Whether somebody is of this cluster."""
        return claims.identity.cluster == self._cluster

    async def _see(self, proxy: HostIdentity, claims: Claims, shown: Shown) -> Seen | None:
        """See `Attendance.see`. Public keys are no secret, so who comes by one has to be there in any case."""
        member = await self._members.check(proxy)
        seen = self._attendance.see(member, claims, shown.certificate, shown.proof)
        if seen is None and claims.enrolled:
            raise Denied(NOT_SHOWN, reason=f"proxy {proxy.id} showed an enrolled key without a proof of presence")
        return seen
