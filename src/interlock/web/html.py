"""HTML by construction: whatever is not markup already is escaped, so that no text of anybody's becomes any."""

from html import escape
from typing import NewType

Html = NewType("Html", str)
"""Markup."""

_VOID = frozenset({"input", "link", "meta", "br"})

Child = Html | str | None


class _Markup(str):
    """What `tag` has made: the one kind of text that is not escaped again."""

    __slots__ = ()


def tag(element: str, /, *children: Child, **attributes: str | bool | None) -> Html:
    """An element. An underscore within an attribute's name is a dash, and one at its end is left out."""
    said = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if element in _VOID:
        return Html(_Markup(f"<{element}{said}>"))
    return Html(_Markup(f"<{element}{said}>{join(*children)}</{element}>"))


def join(*children: Child) -> Html:
    """One after the other."""
    return Html(_Markup("".join(_safe(each) for each in children if each is not None)))


def drawn_svg(drawing: bytes) -> Html:
    """A picture that a library of ours has drawn, and in which there is no text of anybody's."""
    return Html(_Markup(drawing.decode()))


def _safe(child: str) -> str:
    return child if isinstance(child, _Markup) else escape(child)


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(value)}"'
