"""The tables, as the stores use them. Migrations make them; a test holds the two together.

Policy columns (logins, labels, keys) are JSON text which the stores decode strictly themselves: a layer that
turned a malformed policy into "no restriction" would grant what nobody decided (R6).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

from interlock.adapters.db.words import not_by_index

_BYTES = Text(collation="C")  # compared byte by byte, as SQLite does, whatever the database's language is

TEXT: TypeEngine[str] = Text().with_variant(_BYTES, "postgresql")
ID: TypeEngine[str] = String(36).with_variant(_BYTES, "postgresql")
KIND: TypeEngine[str] = String(16).with_variant(_BYTES, "postgresql")
NUMBER: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


class Moment(TypeDecorator[datetime]):
    """A point in time as sortable UTC text with microseconds."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = String(27).with_variant(_BYTES, "postgresql")
    cache_ok: bool | None = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """To the database; ValueError for a time without zone."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a time without zone cannot be stored"
            raise ValueError(msg)
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()

# Of the states only `TrackerState.TERMINATED` is 2. In words: SQLite uses an index of some rows only for queries
# with the same words.
TRACKER_LIVES = text("state != 2 AND NOT swept")
TRACKER_IS_OVER = text("(state = 2 OR swept)")
SESSION_BEGAN = text("event = 'session.start'")
ONCE_AND_SHOWN = text("event IN ('session.start', 'session.end', 'session.data', 'session.upload') AND NOT hidden")
MADE_UP_AND_SHOWN = text("synthesized = 'auth' AND NOT hidden")


def _some(condition: TextClause) -> dict[str, Any]:
    """An index of some rows only."""
    return {"sqlite_where": condition, "postgresql_where": condition}


cluster = Table(
    "cluster",
    metadata,
    Column("only", Integer, primary_key=True),  # always 1: there is one row
    Column("id", ID, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("recording_mode", TEXT, nullable=False),
    Column("offline_s", Integer, nullable=False),  # `LockList.offline_s`
    Column("created", Moment, nullable=False),
)

mode_rules = Table(
    "mode_rules",
    metadata,
    Column("labels", TEXT, primary_key=True),  # JSON object of strings, keys sorted
    Column("mode", TEXT, nullable=False),  # `RecordingMode`; one that is not known here voids the whole policy
)

authorities = Table(
    "authorities",
    metadata,
    Column("kind", KIND, primary_key=True),  # user, host, openssh, recordings, x509; KIND.next
    Column("private_key", TEXT, nullable=False),  # PKCS #8 PEM, sealed or not: `adapters.db.sealed`
    Column("public", TEXT, nullable=False),  # OpenSSH line; for x509 the PEM certificate
    Column("created", Moment, nullable=False),
)

rotations = Table(
    "rotations",  # `domain.rotation.Rotation`; the new key is the authority KIND.next
    metadata,
    Column("kind", KIND, primary_key=True),
    Column("phase", KIND, nullable=False),
    Column("began", Moment, nullable=False),
    Column("since", Moment, nullable=False),
    Column("signing", Moment),
    Column("grace_s", Integer, nullable=False),
    Column("compromised", Boolean, nullable=False),
)

heard = Table(
    "heard",  # `ports.Heard`: what daemons apart were told of the authorities
    metadata,
    Column("daemon", ID, primary_key=True),
    Column("trust", KIND, nullable=False),
    Column("signer", KIND, nullable=False),
    Column("at", Moment, nullable=False),
)

key_wrappers = Table(
    "key_wrappers",  # `ports.KeyWrapper`: ways to the key that seals what `adapters.db.sealed` lists
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("kind", KIND, nullable=False),
    Column("parameters", TEXT, nullable=False),  # JSON object of strings and numbers
    Column("wrapped", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("password_hash", TEXT),  # argon2id, PHC form; null: no password sign-in
    Column("must_change", Boolean, nullable=False),
    Column("roles", TEXT, nullable=False),  # JSON array
    Column("traits", TEXT, nullable=False, server_default="{}"),  # JSON object of arrays
    Column("created", Moment, nullable=False),
)

mfa_devices = Table(
    "mfa_devices",
    metadata,
    Column("id", ID, primary_key=True),
    Column("user", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("kind", KIND, nullable=False),  # a value of DeviceKind
    Column("added", Moment, nullable=False),
    Column("used", Moment),  # null: never
    Column("counter", NUMBER, nullable=False),  # of a passkey its signatures, of TOTP the step of the last code
    Column("secret", LargeBinary),  # of TOTP
    Column("credential", LargeBinary, unique=True),  # of a passkey, and so are those that follow
    Column("public_key", LargeBinary),
    Column("transports", TEXT),  # JSON array
    Index("mfa_devices_by_name", "user", "name", unique=True),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user", TEXT, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
)

user_keys = Table(
    "user_keys",
    metadata,
    Column("blob", LargeBinary, primary_key=True),  # the public key in wire form: one person's
    Column("user", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("options", TEXT, nullable=False),  # JSON array of pairs; one that is not known here voids the key
    Column("added", Moment, nullable=False),
    Column("expires", Moment),  # null: until it is removed
    Index("user_keys_by_name", "user", "name", unique=True),
)

links = Table(
    "links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("user", TEXT, nullable=False, unique=True),
    Column("purpose", KIND, nullable=False),  # a value of LinkPurpose
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
)

browser_sign_ins = Table(
    "browser_sign_ins",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # of the cookie
    Column("user", TEXT, nullable=False),
    Column("method", TEXT, nullable=False),
    Column("device", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("used", Moment, nullable=False),
    Column("proved", Moment, nullable=False),
    Index("browser_sign_ins_by_user", "user", "created"),
)

errands = Table(  # what browsers come back for within minutes
    "errands",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("kind", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),  # as `address.source_of` counts
    Column("facts", TEXT, nullable=False),  # JSON object of strings
    Column("expires", Moment, nullable=False),
    Index("errands_by_source", "source"),
)

confirmations = Table(  # sign-ins elsewhere that wait for a browser
    "confirmations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # of the code
    Column("purpose", KIND, nullable=False),  # a value of Purpose
    Column("user", TEXT, nullable=False),  # empty: whoever confirms
    Column("client", TEXT, nullable=False),  # host:port
    Column("source", TEXT, nullable=False),  # the same, as `address.source_of` counts
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("verdict", KIND, nullable=False),  # a value of Verdict
    Column("by", TEXT, nullable=False),
    Column("method", TEXT, nullable=False),
    Column("device", TEXT, nullable=False),
    Index("confirmations_by_source", "source"),
)

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", ID, primary_key=True),
    Column("user", TEXT, nullable=False),
    Column("roles", TEXT, nullable=False),  # JSON array
    Column("reason", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("ttl_s", Integer, nullable=False),  # of the access
    Column("approvals", Integer, nullable=False),  # how many it takes
    Column("state", KIND, nullable=False),  # `RequestState`; one that is not known here grants nothing
    Column("reviews", TEXT, nullable=False),  # JSON array of objects
    Column("until", Moment),  # the end of the access; null: not approved
    Index("access_requests_by_user", "user", "created"),
)

bots = Table(
    "bots",  # `domain.bot.Bot`; the account is in users, without a password
    metadata,
    Column("user", TEXT, primary_key=True),
    Column("logins", TEXT, nullable=False),  # JSON array
    Column("life_s", Integer, nullable=False),
    Column("sources", TEXT, nullable=False),  # JSON array
    Column("created", Moment, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("key", TEXT, nullable=False),
    Column("signed", Moment),
    Column("token_hash", LargeBinary),
    Column("token_expires", Moment),
)

connectors = Table(  # identity providers
    "connectors",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("issuer", TEXT, nullable=False, unique=True),
    Column("client_id", TEXT, nullable=False),
    Column("secret", TEXT, nullable=False),
    Column("settings", TEXT, nullable=False),  # JSON; what is not known here voids the connector
)

vouched = Table(  # who somebody at a provider is here; outlives the account
    "vouched",
    metadata,
    Column("issuer", TEXT, primary_key=True),
    Column("subject", TEXT, primary_key=True),
    Column("user", TEXT, nullable=False, unique=True),
    Column("created", Moment, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("logins", TEXT, nullable=False),  # JSON array
    Column("node_labels", TEXT, nullable=False),  # JSON object of strings
    Column("options", TEXT, nullable=False),  # JSON object; a key that is not known here voids the role
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("hostname", TEXT, nullable=False),  # nodes may share one; an agentless host has its own
    Column("host", TEXT, nullable=False),
    Column("port", Integer, nullable=False),
    Column("sub_kind", TEXT, nullable=False),
    Column("labels", TEXT, nullable=False),  # JSON object of strings
    Column("host_keys", TEXT, nullable=False),  # JSON array of OpenSSH lines
    Column("version", TEXT, nullable=False),
    Column("expires", Moment),  # null: registered by hand
    Column("tunnel", Boolean, nullable=False, server_default=false()),  # reached by a tunnel that it brings
    Index("nodes_by_hostname", "hostname"),
)

proxies = Table(
    "proxies",
    metadata,
    Column("id", ID, primary_key=True),
    Column("names", TEXT, nullable=False),  # JSON array: what clients call it
    Column("joined", Moment, nullable=False),
    Column("peer", TEXT, nullable=False),  # host:port for other proxies; empty: not said
    Column("tunnels", TEXT, nullable=False),  # JSON array: nodes whose tunnels end there
    Column("expires", Moment),  # of what it said of itself; null: nothing yet
    Column("host_key", TEXT, nullable=False, server_default=""),  # one line; empty: it is of before proofs
)

proofs = Table(
    "proofs",
    metadata,
    Column("proof", TEXT, primary_key=True),  # hash of the session identifier that a person has signed
    Column("used_by", TEXT, nullable=False),  # hash of the key that was certified for it
    Column("used", Moment, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("uses", Integer, nullable=False),  # how many are left
    Column("kind", TEXT, nullable=False),  # what may join with it: node or cluster
)

trusted_clusters = Table(
    "trusted_clusters",
    metadata,
    Column("relation", TEXT, primary_key=True),  # what it is to us: root or leaf
    Column("name", TEXT, primary_key=True),  # in lower case
    Column("id", ID, nullable=False),
    Column("user_cas", TEXT, nullable=False),  # JSON array of OpenSSH lines
    Column("host_cas", TEXT, nullable=False),  # JSON array of OpenSSH lines
    Column("proxy", TEXT, nullable=False),  # of a leaf
    Column("roles", TEXT, nullable=False),  # of a root: JSON object of arrays
    Column("insists", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", Moment, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", NUMBER, primary_key=True),  # order of arrival
    Column("uid", TEXT, nullable=False, unique=True),
    Column("sid", ID),
    Column("event", TEXT, nullable=False),
    Column("time", Moment, nullable=False),
    Column("user", TEXT),
    Column("ei", Integer, nullable=False),
    Column("synthesized", TEXT),  # null: told by the session's daemon as it happened
    Column("body", TEXT, nullable=False),  # the whole event as JSON: what the chain covers
    Column("writer", Integer, nullable=False),  # whose chain it is in
    Column("number", NUMBER, nullable=False),  # its place there, from 1
    Column("hash", LargeBinary, nullable=False),  # of the hash before and the body (`domain.chain`)
    Column("hidden", Boolean, nullable=False),  # superseded, or the mark that says so of another
    Index("events_in_chain", "writer", "number", unique=True),
    Index("events_by_sid", "sid", "seq"),
    Index("events_by_user", "user", "seq"),
    Index("events_by_event", "event", "seq"),
    Index(
        "events_once_per_session",
        "sid",
        "event",
        unique=True,
        **_some(ONCE_AND_SHOWN),
    ),
    Index("events_made_up_by_auth", "sid", **_some(MADE_UP_AND_SHOWN)),
    Index("events_that_begin_sessions", "user", "seq", **_some(SESSION_BEGAN)),
    Index("events_that_begin_sessions_by_time", "user", "time", **_some(SESSION_BEGAN)),
)

writers = Table(
    "writers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("number", NUMBER, nullable=False),  # of the newest event of its chain
    Column("hash", LargeBinary, nullable=False),  # and its hash
    Column("bytes", NUMBER, nullable=False),  # of the bodies that are stored
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("body", TEXT, nullable=False),  # `domain.chain.Checkpoint` as JSON: what is signed
    Column("signature", LargeBinary, nullable=False),
)

checkpoint_heads = Table(  # an index of what checkpoints cover; what counts is their bodies
    "checkpoint_heads",
    metadata,
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("checkpoint", Integer, nullable=False),
    Index("checkpoint_heads_by_checkpoint", "checkpoint"),
)

cuts = Table(  # what policy has dropped
    "cuts",
    metadata,
    Column("writer", TEXT, primary_key=True),  # empty: of the checkpoints
    Column("body", TEXT, nullable=False),  # `domain.chain.Cut` as JSON: what is signed
    Column("signature", LargeBinary, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", TEXT, nullable=False),  # a value of HoldKind
    Column("name", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("created_by", TEXT, nullable=False),
)

exports = Table(
    "exports",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("cursor", TEXT, nullable=False),  # up to where the receiver has everything
    Column("pending", TEXT),  # up to where the batch goes that is on its way; null: none is
    Column("changed", Moment, nullable=False),
)

trackers = Table(
    "trackers",
    metadata,
    Column("sid", ID, primary_key=True),
    Column("state", Integer, nullable=False),  # position in TrackerState: only ever grows
    Column("swept", Boolean, nullable=False),  # auth took its daemon for dead; a heartbeat takes that back
    Column("daemon_id", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("body", TEXT, nullable=False),  # all that does not change while the session lives, and the participants
    Index("trackers_that_live", "created", "sid", **_some(TRACKER_LIVES)),
    Index("trackers_that_are_over", "expires", **_some(TRACKER_IS_OVER)),
)

twins = Table(
    "twins",
    metadata,
    Column("seq", NUMBER, primary_key=True),  # order of arrival
    Column("sid", ID, nullable=False, unique=True),  # a session that a forwarder records
    Column("node", ID, nullable=False),  # its target, which records too
    Column("seen_from", TEXT, nullable=False),  # host:port
    Column("named", ID),  # what the node called it; null: nothing so far
    Column("folded", ID, unique=True),  # the node's session that is the same; null: not found
    Index("twins_by_name", "named"),
    Index("twins_by_connection", "node", "seen_from"),
)

locks = Table(
    "locks",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", TEXT, nullable=False),  # a value of LockKind
    Column("name", TEXT, nullable=False),
    Column("message", TEXT, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment),  # null: until it is removed
    Column("created_by", TEXT, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("sid", ID, primary_key=True),
    Column("daemon", ID, nullable=False),  # whose the session is
    Column("claimed", Moment, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", ID, primary_key=True),
    Column("semaphore", TEXT, nullable=False),
    Column("daemon_id", TEXT, nullable=False),
    Column("expires", Moment, nullable=False),
    Index("leases_by_semaphore", "semaphore"),
    Index("leases_by_daemon", "daemon_id"),
)


def told_as(events: FromClause) -> ColumnElement[str]:
    """The column ``event`` for a query that knows the session.

    Otherwise SQLite might look for it among all events of that kind, which takes the longer the more there are.
    """
    return not_by_index(events.c.event)
