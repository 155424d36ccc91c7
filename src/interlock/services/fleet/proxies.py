"""What auth does for proxies apart from it, in one place: each service has its subject, and its own few parts.

Every method takes the proxy that asks, which is who its certificate says (`adapters/rpc` has verified it).
"""

from dataclasses import dataclass

from interlock.services.fleet.lookups import Lookups, Standings
from interlock.services.fleet.members import Members
from interlock.services.fleet.requests import PortalRequests
from interlock.services.fleet.shown import People
from interlock.services.fleet.signing import JumpSigning, LeafSigning, TargetSigning
from interlock.services.fleet.signins import SecondFactors, SignIns


@dataclass(frozen=True, slots=True)
class Proxies:
    """See the module's docstring."""

    members: Members
    people: People
    standings: Standings
    lookups: Lookups
    targets: TargetSigning
    leaves: LeafSigning
    jumps: JumpSigning
    sign_ins: SignIns
    factors: SecondFactors
    portal: PortalRequests
