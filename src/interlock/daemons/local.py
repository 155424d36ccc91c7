"""A data directory, opened: the stores and the services that need nothing but them.

Shared by the gateway and by ``ilctl``, which works on the same directory whether the gateway runs or not. No
listeners, no background work; whether another gateway runs on the directory is the gateway's question.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwuid
from uuid import UUID

from interlock.adapters.blob.arriving import ArrivingRecordings
from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.db import schema
from interlock.adapters.db.accounts import SqlRoleStore, SqlUserStore
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.authorities import SqlAuthorityStore, SqlClusterStore
from interlock.adapters.db.bots import SqlBotStore
from interlock.adapters.db.browser import SqlBrowserStore
from interlock.adapters.db.claims import SqlSharedClaims
from interlock.adapters.db.clusters import SqlTrustStore
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.adapters.db.exports import SqlExports
from interlock.adapters.db.factors import SqlFactorStore
from interlock.adapters.db.holds import SqlHoldStore
from interlock.adapters.db.inventory import SqlInventory
from interlock.adapters.db.leases import SqlLeaseStore
from interlock.adapters.db.locks import SqlLockFeed, SqlLockStore
from interlock.adapters.db.proofs import SqlProofUses
from interlock.adapters.db.proxies import SqlProxyStore
from interlock.adapters.db.requests import SqlRequestStore
from interlock.adapters.db.retention import SqlEventRetention
from interlock.adapters.db.rotations import SqlRotationStore
from interlock.adapters.db.sso import SqlSsoStore
from interlock.adapters.db.succession import SqlSuccessionStore
from interlock.adapters.db.tokens import SqlTokenStore
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.adapters.db.twins import SqlTwinStore
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.errors import ConfigError
from interlock.core.ids import DaemonId
from interlock.daemons.database import database_place
from interlock.daemons.keys import kept_keys, unlock
from interlock.daemons.storage import open_recordings
from interlock.domain.duties import RecordingMode
from interlock.ports import Clock, Cluster, Entropy, EventSink, Sealing
from interlock.services.access.admission import RoleAdmission
from interlock.services.audit.outbox import Sleep
from interlock.services.bots.bots import BotTokens
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.services.recordings.catalogue import Catalogue
from interlock.services.sessions.claiming import Claim
from interlock.services.signin.admitting import Admitting
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.enrolment import EnrolledKeys
from interlock.services.signin.factors import Factors
from interlock.services.signin.signin import Passwords, SignIn

RECORDINGS = "recordings"
ARRIVING = "sync"  # below it
_DAEMON_ID = "daemon-id"

_TOLD_WITH_LOCKS = tuple(
    each.name for each in (schema.locks, schema.authorities, schema.rotations, schema.cluster)
)
"""Tables whose changes `LockList` tells of."""


@dataclass(frozen=True, slots=True)
class Local:
    """What one data directory offers."""

    data_dir: Path
    daemon_id: DaemonId  # of the daemon that lives in this directory: recorded_by, forwarded_by
    cluster: Cluster
    clock: Clock
    entropy: Entropy
    audit: SqlAuditLog
    trackers: SqlTrackerStore
    twins: SqlTwinStore
    users: SqlUserStore
    roles: SqlRoleStore
    browsers: SqlBrowserStore
    requests: SqlRequestStore
    sso: SqlSsoStore
    inventory: SqlInventory
    tokens: SqlTokenStore
    proxies: SqlProxyStore
    proofs: SqlProofUses
    trusts: SqlTrustStore
    locks: SqlLockStore
    leases: SqlLeaseStore
    database: Database
    clusters: SqlClusterStore
    authorities: SqlAuthorityStore
    recordings: FileRecordings
    arriving: ArrivingRecordings  # in sync modes
    catalogue: Catalogue
    authority: Authority
    rotations: SqlRotationStore
    successions: SqlSuccessionStore
    evidence: SqlEvidenceStore
    exports: SqlExports
    holds: SqlHoldStore
    retention: SqlEventRetention
    shared_claims: SqlSharedClaims | None  # None: no other auth has this database
    claims: CertificateReader
    admission: RoleAdmission
    passwords: Passwords
    sealing: Sealing  # of what stores keep secret
    factor_store: SqlFactorStore
    bots: SqlBotStore

    def sign_in(self, sink: EventSink, browsers: Confirmations | None = None) -> SignIn:
        """Sign-in by password, reporting to ``sink``. ``browsers``: what passkeys confirm at."""
        return SignIn(
            users=self.users,
            passwords=self.passwords,
            factors=self.factors(sink),
            admitting=self.admitting(sink),
            clock=self.clock,
            bots=BotTokens(self.bots, self.clock),
            browsers=browsers,
        )

    def admitting(self, sink: EventSink) -> Admitting:
        """Who may be signed in, told to ``sink``."""
        return Admitting(
            users=self.users,
            locks=self.locks,
            vouched=self.sso,
            sink=sink,
            cluster=self.cluster.name,
            clock=self.clock,
            entropy=self.entropy,
        )

    def enrolled_keys(self) -> EnrolledKeys:
        """Whose a plain key is."""
        return EnrolledKeys(
            keys=self.factor_store,
            users=self.users,
            roles=self.roles,
            cluster=self.cluster.name,
            clock=self.clock,
            vouched=self.sso,
            requests=self.requests,
        )

    def factors(self, sink: EventSink) -> Factors:
        """Second factors, reporting to ``sink``."""
        return Factors(
            devices=self.factor_store,
            recovery=self.factor_store,
            sink=sink,
            cluster=self.cluster.name,
            clock=self.clock,
            entropy=self.entropy,
        )

    def lock_feed(self, *, strict: bool) -> SqlLockFeed:
        """The locks as whoever changes them writes them; for the one daemon that tells all others."""
        nap = self.database.changes.nap(*_TOLD_WITH_LOCKS)
        return SqlLockFeed(self.database, self.locks, strict=strict, clock=self.clock, sleep=nap)

    @property
    def claim(self) -> Claim | None:
        """Claims session IDs for all auths on this database; None if there is one."""
        shared = self.shared_claims
        if shared is None:
            return None
        return lambda sid, daemon: shared.claim(sid, daemon, now=self.clock.now())

    def trust_nap(self) -> Sleep:
        """Between two looks at whom we trust; shorter where the database tells of changes."""
        return self.database.changes.nap(schema.trusted_clusters.name)


@asynccontextmanager
async def open_local(
    data_dir: Path,
    *,
    cluster_name: str = "interlock",
    writer: str = "",
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    data_key: bytes = b"",
) -> AsyncIterator[Local]:
    """Open the directory, making it, its database and its authorities on first use.

    ``cluster_name`` counts on first use only. ``writer``: which of the directory's processes this is, in whose
    chain of the audit log it appends; a process that is started again goes on with the chain of the one before.
    ``data_key``: what the cluster's keys are sealed by, if it is known already.
    ConfigError if the directory is not private or not ours to use,
    StoreError if the database cannot be used.
    """
    clock, entropy = clock or SystemClock(), entropy or SystemEntropy()
    prepare_data_dir(data_dir)
    daemon_id = _daemon_id(data_dir / _DAEMON_ID, entropy)
    database = await open_database(database_place(data_dir))
    try:
        sealing = await unlock(data_dir, database, clock=clock, entropy=entropy, data_key=data_key)
        clusters = SqlClusterStore(database)
        cluster = await clusters.ensure_cluster(
            Cluster(entropy.uuid(), cluster_name, RecordingMode.NODE, clock.now())
        )
        authorities = SqlAuthorityStore(database, clock, sealing)
        rotations = SqlRotationStore(database, sealing)
        authority = await Authority.load(
            authorities,
            rotations,
            token=kept_keys(data_dir).token(),
            cluster=cluster.name,
            daemon_id=daemon_id,
            clock=clock,
            entropy=entropy,
        )
        users, roles, inventory = SqlUserStore(database), SqlRoleStore(database), SqlInventory(database, clock)
        locks, requests = SqlLockStore(database), SqlRequestStore(database)
        chain = f"{daemon_id}.{writer}" if writer else daemon_id
        audit = SqlAuditLog(database, chain)
        trackers, twins = SqlTrackerStore(database), SqlTwinStore(database)
        recordings = open_recordings(data_dir, data_dir / RECORDINGS)
        yield Local(
            data_dir=data_dir,
            daemon_id=daemon_id,
            cluster=cluster,
            clock=clock,
            entropy=entropy,
            audit=audit,
            trackers=trackers,
            twins=twins,
            users=users,
            roles=roles,
            browsers=SqlBrowserStore(database),
            requests=requests,
            sso=SqlSsoStore(database, sealing),
            inventory=inventory,
            tokens=SqlTokenStore(database),
            proxies=SqlProxyStore(database),
            proofs=SqlProofUses(database),
            trusts=SqlTrustStore(database),
            locks=locks,
            leases=SqlLeaseStore(database, clock),
            database=database,
            clusters=clusters,
            authorities=authorities,
            recordings=recordings,
            arriving=ArrivingRecordings(
                data_dir / RECORDINGS / ARRIVING, recordings.quarantined, stored=recordings.stored
            ),
            catalogue=Catalogue(
                daemon_id,
                trackers=trackers,
                recordings=recordings,
                events=audit,
                twins=twins,
                clock=clock,
            ),
            authority=authority,
            evidence=SqlEvidenceStore(database),
            exports=SqlExports(database),
            holds=SqlHoldStore(database),
            retention=SqlEventRetention(database, chain),
            shared_claims=SqlSharedClaims(database) if database.shared else None,
            rotations=rotations,
            successions=SqlSuccessionStore(database, sealing),
            claims=CertificateReader(authority.trusted("user")),
            admission=RoleAdmission(
                users=users,
                roles=roles,
                targets=inventory,
                modes=clusters,
                locks=locks,
                clock=clock,
                requests=requests,
            ),
            passwords=Passwords(),
            sealing=sealing,
            factor_store=SqlFactorStore(database, sealing),
            bots=SqlBotStore(database),
        )
    finally:
        await database.close()


def default_data_dir() -> Path:
    """Where the gateway keeps its data unless somebody says otherwise."""
    return Path("/var/lib/interlock") if os.geteuid() == 0 else Path.home() / ".local/share/interlock"


def require_data_dir(data_dir: Path) -> None:
    """ConfigError unless there is such a directory: a mistyped path must not become a gateway of its own."""
    if not data_dir.exists():
        public = (
            f"there is no directory {data_dir}: name the gateway's with --data-dir, "
            f"or start a new one there: interlock start --data-dir {data_dir}"
        )
        raise ConfigError(public)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the directory with mode 0700; ConfigError if others may enter it or it is not ours."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data_dir.stat()
    except OSError as error:
        raise ConfigError(
            f"cannot use the data directory {data_dir}: {error.strerror}", reason=str(error)
        ) from error
    if found.st_uid != os.geteuid():  # also for root, whose files the owner could not open afterwards
        owner = _user_name(found.st_uid)
        raise ConfigError(f"the data directory {data_dir} belongs to {owner}: run this as {owner}")
    if found.st_mode & 0o077:
        raise ConfigError(f"the data directory {data_dir} is open to other users: run chmod 700 {data_dir}")


def _user_name(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _daemon_id(path: Path, entropy: Entropy) -> DaemonId:
    """The daemon's ID, made once; two processes that start at the same time agree on one."""
    try:
        if not path.exists():
            _write_once(path, entropy.uuid())
        return DaemonId(str(UUID(path.read_text().strip())))
    except OSError as error:
        raise ConfigError(f"cannot use {path}: {error.strerror}", reason=str(error)) from error
    except ValueError:
        raise ConfigError(f"{path} does not contain the daemon's ID: restore it from your backup") from None


def _write_once(path: Path, content: str) -> None:
    """The file appears whole or not at all, and whoever comes first wins."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with fresh.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
