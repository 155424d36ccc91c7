"""Who may do what: accounts, what proves them, roles for good and for a while, machine users."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table

from interlock.adapters.db.schema.columns import ID, KIND, NUMBER, TEXT, Moment, metadata

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

roles = Table(
    "roles",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("logins", TEXT, nullable=False),  # JSON array
    Column("node_labels", TEXT, nullable=False),  # JSON object of strings
    Column("options", TEXT, nullable=False),  # JSON object; a key that is not known here voids the role
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
