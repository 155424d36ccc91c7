"""The authorities, and what seals what is secret."""

from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table

from interlock.adapters.db.schema.columns import ID, KIND, TEXT, Moment, metadata

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

former_keys = Table(
    "former_keys",  # of the authorities that sign what is kept: audit, recordings
    metadata,
    Column("public", TEXT, primary_key=True),  # OpenSSH line
    Column("kind", KIND, nullable=False),
    Column("since", Moment, nullable=False),
    Column("until", Moment, nullable=False),
)

heard = Table(
    "heard",  # `ports.Heard`: what daemons apart were told of the authorities
    metadata,
    Column("daemon", ID, primary_key=True),
    Column("trust", KIND, nullable=False),
    Column("signer", KIND, nullable=False),
    Column("at", Moment, nullable=False),
    Column("roots", TEXT, nullable=False, server_default=""),
    Column("issuer", TEXT, nullable=False, server_default=""),
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
