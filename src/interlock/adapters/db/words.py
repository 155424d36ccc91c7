"""The few expressions that the databases say in different words."""

from typing import Any

from sqlalchemy import ColumnElement, String, Table
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType


def insert(table: Table) -> Insert:
    """INSERT with ON CONFLICT, which both say alike, and SQLAlchemy's classes for PostgreSQL compile for both.

    Inline: nobody asks for the number of a new row, and its count tells whether it is one.
    """
    return Insert(table).inline()


class strings_in(FunctionElement[str]):  # noqa: N801 - read as SQL
    """A table with one column, ``value``: the strings of an array that is passed as JSON text."""

    type = String()  # type: ignore[mutable-override]
    inherit_cache = True  # type: ignore[mutable-override]


class one_of(FunctionElement[bool]):  # noqa: N801 - read as SQL
    """Whether a column is one of the strings of an array, passed as JSON text; found by the column's index."""

    type = NullType()  # type: ignore[assignment]  # of a Boolean SQLite would be asked "= 1"
    inherit_cache = True  # type: ignore[mutable-override]

    def __init__(self, column: ColumnElement[str], array: ColumnElement[str]) -> None:
        super().__init__(column, array)


class code_of(FunctionElement[str]):  # noqa: N801 - read as SQL
    """An event's code, of its body."""

    type = String()  # type: ignore[mutable-override]
    inherit_cache = True  # type: ignore[mutable-override]

    def __init__(self, body: ColumnElement[str]) -> None:
        super().__init__(body)


class not_by_index(FunctionElement[str]):  # noqa: N801 - read as SQL
    """The column, for SQLite without its index; PostgreSQL knows by its statistics which index is better."""

    type = String()  # type: ignore[mutable-override]
    inherit_cache = True  # type: ignore[mutable-override]

    def __init__(self, column: ColumnElement[str]) -> None:
        super().__init__(column)


@compiles(not_by_index)
def _not_by_index(element: Any, compiler: Any, **how: Any) -> str:
    return f"({compiler.process(element.clauses, **how)} || '')"


@compiles(not_by_index, "postgresql")
def _not_by_index_postgres(element: Any, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(strings_in)
def _strings_in(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **how)})"


@compiles(strings_in, "postgresql")
def _strings_in_postgres(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **how)} AS JSON))"


@compiles(one_of)
def _one_of(element: Any, compiler: Any, **how: Any) -> str:
    column, array = (compiler.process(each, **how) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({array}))"  # noqa: S608 - compiled, not composed


@compiles(one_of, "postgresql")
def _one_of_postgres(element: Any, compiler: Any, **how: Any) -> str:
    # As an array: for IN (SELECT …) it would rather read all of a month's events than look for fifty of them.
    column, array = (compiler.process(each, **how) for each in element.clauses)
    return f"{column} = ANY (ARRAY(SELECT json_array_elements_text(CAST({array} AS JSON))))"


@compiles(code_of)
def _code_of(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **how)}, '$.code')"


@compiles(code_of, "postgresql")
def _code_of_postgres(element: Any, compiler: Any, **how: Any) -> str:
    # Not by its JSON functions, which refuse a whole document for a NUL or half a character anywhere in it. The
    # envelope is in front, and inside a string no quotation mark comes without its backslash.
    return f'substring({compiler.process(element.clauses, **how)} from \'"code":"([^"]*)"\')'
