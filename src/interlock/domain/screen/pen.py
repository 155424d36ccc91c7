"""Character attributes (SGR, ECMA-48 §8.3.117): kept as the parameters that set them, in one canonical order.

A cell's attributes are such a text, for example ``1;31``; empty means the default. So comparing cells is comparing
strings, and painting a cell is writing its text behind ``0;``.
"""

import re
from functools import cache

_ATTRIBUTES = {
    1: "bold",
    2: "faint",
    3: "italic",
    4: "underline",
    5: "blink",
    6: "blink",
    7: "inverse",
    8: "hidden",
    9: "struck",
    21: "underline",
    51: "framed",
    52: "framed",
    53: "overlined",
}
_RESETS = {
    22: ("bold", "faint"),
    23: ("italic",),
    24: ("underline",),
    25: ("blink",),
    27: ("inverse",),
    28: ("hidden",),
    29: ("struck",),
    39: ("foreground",),
    49: ("background",),
    54: ("framed",),
    55: ("overlined",),
    59: ("line colour",),
}
_COLOURS = {38: "foreground", 48: "background", 58: "line colour"}
_ORDER = ("bold", "faint", "italic", "underline", "blink", "inverse", "hidden", "struck", "framed", "overlined")
_SLOTS = (*_ORDER, "foreground", "background", "line colour")
_EXTENDED = re.compile(r"([345]8);(?:5;\d{1,3}|2;\d{1,3};\d{1,3};\d{1,3})")
_GROUPED = re.compile(r"[345]8(?::\d{0,3}){2,6}|4:[0-5]")
_BACKGROUND = re.compile(r"(?:^|;)(48[;:].*?|4[0-7]|10[0-7])(?=;58|$)")


@cache
def background(pen: str) -> str:
    """What of a pen's attributes an erased cell gets: terminals erase with the background colour."""
    found = _BACKGROUND.search(pen) if pen else None
    return found[1] if found else ""


class Pens:
    """Applies SGR parameters. Remembers what it has seen, within bounds, because programs repeat themselves."""

    _REMEMBERED = 2000

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def change(self, pen: str, params: str) -> str:
        """The pen after ``CSI params m``."""
        known = self._known.get((pen, params))
        if known is None:
            if len(self._known) >= self._REMEMBERED:
                self._known.clear()
            known = self._known[pen, params] = _changed(pen, params)
        return known


def _changed(pen: str, params: str) -> str:
    slots: dict[str, str] = {}
    _apply(slots, pen)
    _apply(slots, params or "0")
    return ";".join(slots[name] for name in _SLOTS if name in slots)


def _apply(slots: dict[str, str], params: str) -> None:
    at = 0
    while at <= len(params):
        if found := _EXTENDED.match(params, at):
            slots[_COLOURS.get(int(found[1]), "foreground")] = found[0]
            at = found.end() + 1
            continue
        end = params.find(";", at)
        end = len(params) if end < 0 else end
        _apply_one(slots, params[at:end])
        at = end + 1


def _apply_one(slots: dict[str, str], param: str) -> None:
    if ":" in param:
        if _GROUPED.fullmatch(param):
            head = int(param.split(":", maxsplit=1)[0])
            slots[_COLOURS.get(head, "underline")] = param
            if param == "4:0":
                del slots["underline"]
        return
    number = int(param or 0)
    if number == 0:
        slots.clear()
    elif number in _ATTRIBUTES:
        slots[_ATTRIBUTES[number]] = str(number)
    elif 30 <= number <= 37 or 90 <= number <= 97:
        slots["foreground"] = str(number)
    elif 40 <= number <= 47 or 100 <= number <= 107:
        slots["background"] = str(number)
    else:
        for name in _RESETS.get(number, ()):
            slots.pop(name, None)
