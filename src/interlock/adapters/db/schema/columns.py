"""The kinds of columns, and what all tables are in."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData, String, Text, TextClause, TypeDecorator
from sqlalchemy.types import TypeEngine

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


def some_rows(condition: TextClause) -> dict[str, Any]:
    """What makes an index one of those rows only."""
    return {"sqlite_where": condition, "postgresql_where": condition}
