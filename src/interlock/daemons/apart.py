"""Composition of what auth does for proxies apart from it."""

import structlog

from interlock.adapters.ssh.portal import PasswordCheck
from interlock.core.errors import NotFound
from interlock.core.portal import NodeItem
from interlock.daemons.proxy import Services, local_admission, local_portal
from interlock.daemons.web import confirmations
from interlock.domain.identity import Claims
from interlock.services.clusters.federation import FederatedClaims, Leaves
from interlock.services.fleet.joins import Joins
from interlock.services.fleet.lookups import Lookups, Standings
from interlock.services.fleet.members import Members
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.requests import PortalRequests
from interlock.services.fleet.shown import People
from interlock.services.fleet.signing import JumpSigning, LeafSigning, TargetSigning
from interlock.services.fleet.signins import SecondFactors, SignIns
from interlock.services.fleet.tickets import CONFIRMED, PURPOSE, FactorTickets, Tickets
from interlock.services.keys.daemonroots import DaemonCas
from interlock.services.keys.presence import PURPOSE as BEACONS
from interlock.services.keys.presence import Attendance, Beacons

_log = structlog.get_logger()


def proxies_apart(services: Services, passwords: PasswordCheck, ca: DaemonCas) -> Proxies:
    """What auth does for them. ``passwords``: with the brake that all proxies share."""
    local, required = services.local, services.config.auth.presence == "required"
    if not required:
        _log.warning("presence.when_offered", text="proxies that never proved that people are there are believed")
    cluster, clock = local.cluster.name, local.clock
    attendance = Attendance(
        Beacons(ca.secrets(BEACONS)),
        local.proofs,
        required=required,
        events=services.emitter,
        factory=services.factory,
        clock=clock,
    )
    believes = FederatedClaims(local.claims, local.trusts, local.cluster)
    members = Members(proxies=local.proxies, believes=believes, attendance=attendance, clock=clock)
    confirmed, tickets = FactorTickets(ca.secrets(CONFIRMED)), Tickets(ca.secrets(PURPOSE))
    people = People(
        cluster=cluster,
        members=members,
        believes=believes,
        keys=local.enrolled_keys(),
        attendance=attendance,
        confirmed=confirmed,
        clock=clock,
    )
    admission, signer, targets = local_admission(local), local.authority, local.inventory
    joins = Joins(cluster=cluster, admission=admission, trackers=local.trackers, targets=targets, clock=clock)
    leaves = Leaves(admission, cluster=local.cluster, trusts=local.trusts, modes=local.clusters, clock=clock)
    browsers = confirmations(services.config.web, local, services.emitter)
    portal = local_portal(services, admission, _ProxiesAsk())
    return Proxies(
        members=members,
        people=people,
        standings=Standings(people=people, admission=admission, modes=local.clusters),
        lookups=Lookups(
            members=members,
            trusts=local.trusts,
            targets=targets,
            trackers=local.trackers,
            sessions=local.audit,
        ),
        targets=TargetSigning(people=people, admission=admission, targets=targets, joins=joins, signer=signer),
        leaves=LeafSigning(people=people, leaves=leaves, signer=signer),
        jumps=JumpSigning(members=members, trusts=local.trusts, targets=targets, signer=signer),
        sign_ins=SignIns(members=members, passwords=passwords, browsers=browsers, tickets=tickets, clock=clock),
        factors=SecondFactors(people=people, confirms=passwords, confirmed=confirmed, clock=clock),
        portal=PortalRequests(members=members, people=people, tickets=tickets, portal=portal, clock=clock),
    )


class _ProxiesAsk:
    """`portal.LeafDirectory` of auth, which dials nobody: proxies ask leaves themselves."""

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[NodeItem]:
        """No."""
        del claims, client_addr
        raise NotFound(f"auth itself knows no nodes of the cluster {cluster[:128]}")
