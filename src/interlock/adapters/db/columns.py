"""JSON columns: encoded canonically, decoded strictly; another shape is a ValueError, never a default."""

from collections.abc import Iterable, Mapping

import msgspec

_ENCODER = msgspec.json.Encoder(order="sorted")


class _NoOptions(msgspec.Struct, forbid_unknown_fields=True):
    """This version knows no options."""


_NO_OPTIONS = msgspec.json.Decoder(_NoOptions, strict=True)
_STRINGS = msgspec.json.Decoder(tuple[str, ...], strict=True)
_LABELS = msgspec.json.Decoder(dict[str, str], strict=True)


def dump(value: object) -> str:
    """JSON text."""
    return _ENCODER.encode(value).decode()


def dump_strings(values: Iterable[str]) -> str:
    """An array of strings."""
    return dump(tuple(values))


def dump_labels(labels: Mapping[str, str]) -> str:
    """An object of strings."""
    return dump(dict(labels))


def load_strings(column: str) -> tuple[str, ...]:
    """An array of strings; ValueError for anything else."""
    return _STRINGS.decode(column)


def load_labels(column: str) -> dict[str, str]:
    """An object of strings; ValueError for anything else."""
    return _LABELS.decode(column)


def load_no_options(column: str) -> None:
    """An object without members: restrictions that a newer version wrote are a ValueError here (R6)."""
    _NO_OPTIONS.decode(column)
