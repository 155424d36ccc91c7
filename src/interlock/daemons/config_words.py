"""What is wrong with a configuration file, in the words of the file rather than of the library that reads it."""

import re
from typing import Any

import msgspec

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<place>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]*)`(?:, got `(?P<got>[^`]*)`)?(?P<rest>.*)", re.DOTALL)
_TYPES = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list in [ ]",
    "object": "a table",
}


def in_words(error: msgspec.ValidationError, config: type[msgspec.Struct]) -> str:
    """One sentence with the setting's name as the file has it: ``proxy.listen: a text in quotes is expected``."""
    found = _PLACE.match(str(error))
    what, place = (str(error), "") if found is None else (found["what"], found["place"] or "")
    place = place.replace("[...]", ".NAME")  # of a table of tables, which the library does not name
    if unknown := _UNKNOWN.match(what):
        name, known = unknown[1][:64], ", ".join(_settings(config, place))
        where = f"[{place}] has" if place else "there is"
        return f"{where} no setting {name!r}" + (f": known are {known}" if known else "")
    if wrong := _TYPE.match(what):
        wanted = " or ".join(_TYPES.get(each.strip(), each.strip()) for each in wrong["wanted"].split("|"))
        what = f"{wanted} is expected{wrong['rest']}"
    return f"{place}: {what}" if place else what


def _settings(config: type[msgspec.Struct], place: str) -> list[str]:
    """The names that a table of the file may have; none if it is not one of fixed names."""
    kind: Any = msgspec.inspect.type_info(config)
    for step in filter(None, place.split(".")):
        if step == "NAME":
            kind = getattr(kind, "value_type", None)
            continue
        field = next((each for each in getattr(kind, "fields", ()) if each.encode_name == step), None)
        kind = None if field is None else field.type
    return [each.encode_name for each in getattr(kind, "fields", ())]
