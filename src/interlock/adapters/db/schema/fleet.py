"""The cluster, its daemons and targets, and the clusters that it trusts."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, false

from interlock.adapters.db.schema.columns import ID, TEXT, Moment, metadata

cluster = Table(
    "cluster",
    metadata,
    Column("only", Integer, primary_key=True),  # always 1: there is one row
    Column("id", ID, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("recording_mode", TEXT, nullable=False),
    Column("offline_s", Integer, nullable=False),  # `LockList.offline_s`
    Column("policy", Integer, nullable=False, server_default="0"),  # `LockList.policy`
    Column("created", Moment, nullable=False),
)

mode_rules = Table(
    "mode_rules",
    metadata,
    Column("labels", TEXT, primary_key=True),  # JSON object of strings, keys sorted
    Column("mode", TEXT, nullable=False),  # `RecordingMode`; one that is not known here voids the whole policy
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

removed_nodes = Table(
    "removed_nodes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("removed", Moment, nullable=False),
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
