"""Types as both databases have them, for migrations. Frozen like these."""

from typing import Any

import sqlalchemy as sa

_ANY_TEXT = sa.Text(collation="C")  # compared byte by byte, as SQLite does, whatever the database's language is

TEXT: sa.types.TypeEngine[str] = sa.Text().with_variant(_ANY_TEXT, "postgresql")
ID: sa.types.TypeEngine[str] = sa.String(36).with_variant(_ANY_TEXT, "postgresql")
KIND: sa.types.TypeEngine[str] = sa.String(16).with_variant(_ANY_TEXT, "postgresql")
MOMENT: sa.types.TypeEngine[str] = sa.String(27).with_variant(_ANY_TEXT, "postgresql")
NUMBER: sa.types.TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """An index of some rows only."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
