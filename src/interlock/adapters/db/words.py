"""The few expressions that the databases say in different words."""

from typing import Any

from sqlalchemy import ColumnElement, String, Table
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


def insert(table: Table) -> Insert:
    """INSERT with ON CONFLICT, which both say alike, and SQLAlchemy's classes for PostgreSQL compile for both.

    Inline: nobody asks for the number of a new row, and its count tells whether it is one.
    """
    return Insert(table).inline()


class strings_in(FunctionElement[str]):  # noqa: N801 - read as SQL
    """A table with one column, ``value``: the strings of an array that is passed as JSON text."""

    type = String()  # type: ignore[mutable-override]
    inherit_cache = True  # type: ignore[mutable-override]


class code_of(FunctionElement[str]):  # noqa: N801 - read as SQL
    """An event's code, of its body."""

    type = String()  # type: ignore[mutable-override]
    inherit_cache = True  # type: ignore[mutable-override]

    def __init__(self, body: ColumnElement[str]) -> None:
        super().__init__(body)


@compiles(strings_in)
def _strings_in(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **how)})"


@compiles(strings_in, "postgresql")
def _strings_in_postgres(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **how)} AS JSON))"


@compiles(code_of)
def _code_of(element: Any, compiler: Any, **how: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **how)}, '$.code')"


@compiles(code_of, "postgresql")
def _code_of_postgres(element: Any, compiler: Any, **how: Any) -> str:
    # Not by its JSON functions, which refuse a whole document for a NUL or half a character anywhere in it. The
    # envelope is in front, and inside a string no quotation mark comes without its backslash.
    return f'substring({compiler.process(element.clauses, **how)} from \'"code":"([^"]*)"\')'
