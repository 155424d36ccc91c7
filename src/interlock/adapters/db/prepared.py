"""Statements that are compiled once: the few that every session needs.

SQLAlchemy builds, compares and dresses a statement anew each time, which costs a hundred times what SQLite needs
to find one row. What is written here is SQLAlchemy Core all the same, with ``bindparam`` for what varies, so that
tables, types and their conversions are those of `schema`.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from interlock.adapters.db.backend import driver

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "sqlite": lambda: sqlite_dialect(paramstyle="qmark"),
    "postgresql": lambda: PGDialect_psycopg(paramstyle="format"),  # type: ignore[no-untyped-call]
}

Statement = Select[Any] | Insert | Update | Delete
Values = Mapping[str, Any]
_Convert = Callable[[Any], Any] | None


class Prepared:
    """One statement, compiled for a database when it is first asked there. Its errors are the driver's."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._forms: dict[str, _Form] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Any]:
        """What a SELECT finds, as named tuples."""
        form = self._form(connection)
        found = driver(connection).execute(form.sql, form.positions(values)).fetchall()
        return [
            form.row._make(
                value if convert is None else convert(value)
                for value, convert in zip(row, form.results, strict=True)
            )
            for row in found
        ]

    def run(self, connection: Connection, **values: Any) -> int:
        """Run a statement that changes something; how many rows it changed."""
        form = self._form(connection)
        changed: int = driver(connection).execute(form.sql, form.positions(values)).rowcount
        return changed

    def run_all(self, connection: Connection, rows: Iterable[Values]) -> None:
        """Run it once for each of these."""
        form = self._form(connection)
        driver(connection).cursor().executemany(form.sql, [form.positions(each) for each in rows])

    def _form(self, connection: Connection) -> "_Form":
        name = connection.dialect.name
        form = self._forms.get(name)
        if form is None:
            form = self._forms[name] = _Form(self._statement, _DIALECTS[name]())
        return form


class _Form:
    """The statement in one database's words, with the conversions of its values."""

    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._binds: list[tuple[str, _Convert]] = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup or ()
        ]
        self.results: list[_Convert] = []
        self.row: Any = tuple
        if isinstance(statement, Select):
            columns = list(statement.selected_columns)
            self.results = [each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns]
            self.row = _row_type([each.name for each in columns])

    def positions(self, values: Values) -> list[Any]:
        """The values in the statement's order, converted."""
        fixed = self._fixed
        return [
            (values[name] if name in values else fixed[name])
            if convert is None
            else convert(values[name] if name in values else fixed[name])
            for name, convert in self._binds
        ]


def _row_type(names: Iterable[str]) -> Any:
    return namedtuple("Row", list(names))  # noqa: PYI024
