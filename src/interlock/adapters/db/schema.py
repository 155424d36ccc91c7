"""The tables, as the stores use them. Migrations make them; a test holds the two together.

Policy columns (logins, labels, keys) are JSON text which the stores decode strictly themselves: a layer that
turned a malformed policy into "no restriction" would grant what nobody decided (R6).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
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
    TypeDecorator,
    text,
)
from sqlalchemy.types import TypeEngine


class Moment(TypeDecorator[datetime]):
    """A point in time as sortable UTC text with microseconds."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = String(27)
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

cluster = Table(
    "cluster",
    metadata,
    Column("only", Integer, primary_key=True),  # always 1: there is one row
    Column("id", String(36), nullable=False),
    Column("name", Text, nullable=False),
    Column("recording_mode", Text, nullable=False),
    Column("created", Moment, nullable=False),
)

mode_rules = Table(
    "mode_rules",
    metadata,
    Column("labels", Text, primary_key=True),  # JSON object of strings, keys sorted
    Column("mode", Text, nullable=False),  # `RecordingMode`; one that is not known here voids the whole policy
)

authorities = Table(
    "authorities",
    metadata,
    Column("kind", String(16), primary_key=True),  # user, host, openssh, recordings, x509
    Column("private_key", Text, nullable=False),  # PKCS #8 PEM
    Column("public", Text, nullable=False),  # OpenSSH line; for x509 the PEM certificate
    Column("created", Moment, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password_hash", Text),  # argon2id, PHC form; null: no password sign-in
    Column("must_change", Boolean, nullable=False),
    Column("roles", Text, nullable=False),  # JSON array
    Column("created", Moment, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    Column("name", Text, primary_key=True),
    Column("logins", Text, nullable=False),  # JSON array
    Column("node_labels", Text, nullable=False),  # JSON object of strings
    Column("options", Text, nullable=False),  # JSON object; a key that is not known here voids the role
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("hostname", Text, nullable=False),  # nodes may share one; an agentless host has its own
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("sub_kind", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON object of strings
    Column("host_keys", Text, nullable=False),  # JSON array of OpenSSH lines
    Column("version", Text, nullable=False),
    Column("expires", Moment),  # null: registered by hand
    Column("tunnel", Boolean, nullable=False, server_default=text("0")),  # reached by a tunnel that it brings
    Index("nodes_by_hostname", "hostname"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("uses", Integer, nullable=False),  # how many are left
    Column("kind", Text, nullable=False),  # what may join with it: node or cluster
)

trusted_clusters = Table(
    "trusted_clusters",
    metadata,
    Column("relation", Text, primary_key=True),  # what it is to us: root or leaf
    Column("name", Text, primary_key=True),  # in lower case
    Column("id", String(36), nullable=False),
    Column("user_cas", Text, nullable=False),  # JSON array of OpenSSH lines
    Column("host_cas", Text, nullable=False),  # JSON array of OpenSSH lines
    Column("proxy", Text, nullable=False),  # of a leaf
    Column("roles", Text, nullable=False),  # of a root: JSON object of arrays
    Column("insists", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", Moment, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),  # order of arrival
    Column("uid", Text, nullable=False, unique=True),
    Column("sid", String(36)),
    Column("event", Text, nullable=False),
    Column("time", Moment, nullable=False),
    Column("user", Text),
    Column("ei", Integer, nullable=False),
    Column("synthesized", Text),  # null: told by the session's daemon as it happened
    Column("body", Text, nullable=False),  # the whole event as JSON
    Index("events_by_sid", "sid", "seq"),
    Index("events_by_user", "user", "seq"),
    Index("events_by_event", "event", "seq"),
    Index(
        "events_once_per_session",
        "sid",
        "event",
        unique=True,
        sqlite_where=text("event IN ('session.start', 'session.end', 'session.data', 'session.upload')"),
    ),
    Index("events_made_up_by_auth", "sid", sqlite_where=text("synthesized = 'auth'")),
    Index("events_that_begin_sessions", "user", "seq", sqlite_where=SESSION_BEGAN),
    Index("events_that_begin_sessions_by_time", "user", "time", sqlite_where=SESSION_BEGAN),
)

trackers = Table(
    "trackers",
    metadata,
    Column("sid", String(36), primary_key=True),
    Column("state", Integer, nullable=False),  # position in TrackerState: only ever grows
    Column("swept", Boolean, nullable=False),  # auth took its daemon for dead; a heartbeat takes that back
    Column("daemon_id", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment, nullable=False),
    Column("body", Text, nullable=False),  # all that does not change while the session lives, and the participants
    Index("trackers_that_live", "created", "sid", sqlite_where=TRACKER_LIVES),
    Index("trackers_that_are_over", "expires", sqlite_where=TRACKER_IS_OVER),
)

twins = Table(
    "twins",
    metadata,
    Column("seq", Integer, primary_key=True),  # order of arrival
    Column("sid", String(36), nullable=False, unique=True),  # a session that a forwarder records
    Column("node", String(36), nullable=False),  # its target, which records too
    Column("seen_from", Text, nullable=False),  # host:port
    Column("named", String(36)),  # what the node called it; null: nothing so far
    Column("folded", String(36), unique=True),  # the node's session that is the same; null: not found
    Index("twins_by_name", "named"),
    Index("twins_by_connection", "node", "seen_from"),
)

locks = Table(
    "locks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", Text, nullable=False),  # a value of LockKind
    Column("name", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("expires", Moment),  # null: until it is removed
    Column("created_by", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("semaphore", Text, nullable=False),
    Column("daemon_id", Text, nullable=False),
    Column("expires", Moment, nullable=False),
    Index("leases_by_semaphore", "semaphore"),
    Index("leases_by_daemon", "daemon_id"),
)


def told_as(events: FromClause) -> ColumnElement[str]:
    """The column ``event`` for a query that knows the session.

    Otherwise SQLite might look for it among all events of that kind, which takes the longer the more there are.
    """
    return events.c.event.concat("")
