"""What ``--option NAME=VALUE`` means for roles: one grammar for all of `domain.access.RoleOptions`."""

from enum import Enum
from typing import Annotated, Any, get_args, get_origin

import msgspec
import typer

from interlock.cli.options import duration, duration_text
from interlock.domain.access import Deny, RoleOptions, check_options

_DURATIONS = frozenset({"client_idle_timeout", "max_session_ttl", "max_request_ttl", "max_certificate_ttl"})
_FIELDS = {
    field.name: field.type for field in msgspec.structs.fields(RoleOptions) if Deny not in get_args(field.type)
}

OptionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help=f"What the role says of its sessions; repeat it. Names: {', '.join(_FIELDS)}.",
    ),
]


def options(before: RoleOptions, settings: list[str] | None) -> RoleOptions:
    """``before`` with the settings; an empty value takes an option back. BadParameter names what is wrong."""
    changed = before
    for each in settings or ():
        name, equals, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in _FIELDS:
            msg = f"{each!r}: write NAME=VALUE with one of {', '.join(_FIELDS)}"
            raise typer.BadParameter(msg)
        changed = msgspec.structs.replace(changed, **{name: _value(name, text.strip()) if text.strip() else None})
    try:
        return check_options(changed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def said(role_options: RoleOptions) -> dict[str, str]:
    """What the role says, as it would be typed."""
    plain = msgspec.to_builtins(role_options)
    return {
        name: duration_text(value) if name in _DURATIONS else _typed(value)
        for name, value in plain.items()
        if name in _FIELDS
    }


def _typed(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def _value(name: str, text: str) -> Any:
    if name in _DURATIONS:
        return int(duration(text).total_seconds())
    wanted = _FIELDS[name]
    raw: object = text
    if bool in get_args(wanted):
        raw = {"yes": True, "no": False, "true": True, "false": False}.get(text.lower(), text)
    elif any(getattr(each, "__origin__", None) is tuple for each in get_args(wanted)):
        raw = [part.strip() for part in text.split(",")]
    try:
        return msgspec.convert(raw, wanted, strict=False)
    except msgspec.ValidationError:
        msg = f"{name} must be {_wanted(wanted)}, not {text!r}"
        raise typer.BadParameter(msg) from None


def _wanted(kind: Any) -> str:
    """What can be written for a field of this type."""
    for each in get_args(kind):
        if each is bool:
            return "yes or no"
        if each is int:
            return "a number"
        if get_origin(each) is tuple:
            return _wanted(each).replace("one of", "some of")
        if isinstance(each, type) and issubclass(each, Enum):
            return f"one of {', '.join(one.value for one in each)}"
    return "a text"
