"""Statements that are compiled once: the few that every session needs.

SQLAlchemy builds, compares and dresses a statement anew each time, which costs a hundred times what SQLite needs
to find one row. What is written here is SQLAlchemy Core all the same, with ``bindparam`` for what varies, so that
tables, types and their conversions are those of `schema`.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from sqlalchemy import Connection, Delete, Insert, Select, Update
from sqlalchemy.dialects.sqlite import dialect

_DIALECT = dialect(paramstyle="qmark")

Values = Mapping[str, Any]
_Convert = Callable[[Any], Any] | None


def driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection under one of SQLAlchemy's; in the same transaction."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


class Prepared:
    """One statement. Its errors are sqlite3's."""

    def __init__(self, statement: "Select[Any] | Insert | Update | Delete") -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._binds: list[tuple[str, _Convert]] = [
            (name, compiled.binds[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
            for name in compiled.positiontup or ()
        ]
        self._results: list[_Convert] = []
        self._row: Any = tuple
        if isinstance(statement, Select):
            columns = list(statement.selected_columns)
            self._results = [each.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) for each in columns]
            self._row = _row_type([each.name for each in columns])

    def rows(self, connection: sqlite3.Connection, **values: Any) -> list[Any]:
        """What a SELECT finds, as named tuples."""
        found = connection.execute(self._sql, self._positions(values)).fetchall()
        return [
            self._row._make(
                value if convert is None else convert(value)
                for value, convert in zip(row, self._results, strict=True)
            )
            for row in found
        ]

    def run(self, connection: sqlite3.Connection, **values: Any) -> int:
        """Run a statement that changes something; how many rows it changed."""
        return connection.execute(self._sql, self._positions(values)).rowcount

    def run_all(self, connection: sqlite3.Connection, rows: Iterable[Values]) -> None:
        """Run it once for each of these."""
        connection.executemany(self._sql, [self._positions(each) for each in rows])

    def _positions(self, values: Values) -> list[Any]:
        fixed = self._fixed
        return [
            (values[name] if name in values else fixed[name])
            if convert is None
            else convert(values[name] if name in values else fixed[name])
            for name, convert in self._binds
        ]


def _row_type(names: Iterable[str]) -> Any:
    return namedtuple("Row", list(names))  # noqa: PYI024
