"""What is live: trackers, claims and twins of sessions, locks, places."""

from sqlalchemy import Boolean, Column, Index, Integer, Table, text

from interlock.adapters.db.schema.columns import ID, NUMBER, TEXT, Moment, metadata, some_rows

# Of the states only `TrackerState.TERMINATED` is 2. In words: SQLite uses an index of some rows only for queries
# with the same words.
TRACKER_LIVES = text("state != 2 AND NOT swept")
TRACKER_IS_OVER = text("(state = 2 OR swept)")

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
    Index("trackers_that_live", "created", "sid", **some_rows(TRACKER_LIVES)),
    Index("trackers_that_are_over", "expires", **some_rows(TRACKER_IS_OVER)),
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
