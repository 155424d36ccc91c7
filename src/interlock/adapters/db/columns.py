"""JSON columns: encoded canonically, decoded strictly; another shape is a ValueError, never a default."""

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import ColumnElement, Select, String, column, literal, select

from interlock.adapters.db.words import one_of, strings_in

_ENCODER = msgspec.json.Encoder()

_STRINGS = msgspec.json.Decoder(tuple[str, ...], strict=True)
_ROLE_MAP = msgspec.json.Decoder(dict[str, tuple[str, ...]], strict=True)
_LABELS = msgspec.json.Decoder(dict[str, str], strict=True)


def dump(value: object) -> str:
    """JSON text. Half characters, which a peer's bytes may turn into, are kept as visible escapes."""
    try:
        return _ENCODER.encode(value).decode()
    except UnicodeEncodeError:
        return _ENCODER.encode(_whole(value)).decode()


def whole_text(text: str) -> str:
    """The text with lone surrogates, which no UTF-8 can hold, as escapes."""
    return text.encode(errors="backslashreplace").decode()


def dump_strings(values: Iterable[str]) -> str:
    """An array of strings."""
    return dump(tuple(values))


def dump_labels(labels: Mapping[str, str]) -> str:
    """An object of strings."""
    return dump(dict(labels))


def each_of(values: Iterable[str]) -> Select[str]:
    """The values as a table: as one parameter, so the statement is the same for two of them and for thousands."""
    return select(column("value", String)).select_from(strings_in(literal(dump_strings(values), String)))


def is_one_of(stored: ColumnElement[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column is one of the values, which are one parameter."""
    return one_of(stored, literal(dump_strings(values), String))


def load_strings(column: str) -> tuple[str, ...]:
    """An array of strings; ValueError for anything else."""
    return _STRINGS.decode(column)


def load_labels(column: str) -> dict[str, str]:
    """An object of strings; ValueError for anything else."""
    return _LABELS.decode(column)


def dump_role_map(values: Mapping[str, tuple[str, ...]]) -> str:
    """An object of arrays of strings."""
    return dump(dict(values))


def load_role_map(column: str) -> dict[str, tuple[str, ...]]:
    """An object of arrays of strings; ValueError for anything else."""
    return _ROLE_MAP.decode(column)


def _whole(value: object) -> object:
    match value:
        case str():
            return whole_text(value)
        case Mapping():
            return {whole_text(str(key)): _whole(each) for key, each in value.items()}
        case list() | tuple():
            return [_whole(each) for each in value]
        case _:
            return value
