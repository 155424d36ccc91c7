"""Browsers: links, who is signed in, what waits for them, identity providers."""

from sqlalchemy import Column, Index, LargeBinary, Table

from interlock.adapters.db.schema.columns import ID, KIND, TEXT, Moment, metadata

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
