"""Traits: what is said of one user, and how roles are filled with it before they are judged.

A role may have ``{{trait.NAME}}`` in its logins and in values of labels (``internal`` and ``external`` mean the
same, for people who know them from elsewhere). What a trait yields must be a valid login, or text without the
marks of patterns: anything else counts for nothing, and so does a template of which nothing is left. Filled roles
have no templates.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from interlock.core.ids import parse_login, parse_name
from interlock.domain.access import RoleOptions
from interlock.domain.pattern import OR, check_pattern, is_literal
from interlock.domain.rbac import TEMPLATE, Role

Traits = Mapping[str, tuple[str, ...]]
"""By name."""

MAX_TRAITS = 32
MAX_VALUES = 64
MAX_VALUE = 128
"""Traits of a user, values of a trait, characters of a value: a sign-in elsewhere may say them (claims)."""

MAX_LOGINS = 256
"""Logins of a filled role: each becomes a principal of a certificate."""

Judge = Callable[[str, str], bool]
"""Whether what a trait said, and the whole that it became, may stand in the template's place."""

NAME = r"[A-Za-z0-9_-]{1,64}"
_TEMPLATE = re.compile(r"([^{}]*)\{\{ ?(?:trait|internal|external)\.(" + NAME + r") ?\}\}([^{}]*)")


@dataclass(frozen=True, slots=True)
class Filled:
    """A role without templates, and what of its templates came to nothing, in words for administrators."""

    role: Role
    notes: tuple[str, ...] = ()


def check_traits(traits: Traits) -> Traits:
    """The traits; ValueError if there are too many, or one is not printable."""
    if len(traits) > MAX_TRAITS:
        msg = f"a user has at most {MAX_TRAITS} traits"
        raise ValueError(msg)
    for name, values in traits.items():
        if not re.fullmatch(NAME, name):
            msg = f"not a valid name of a trait: {name[:64]!r}"
            raise ValueError(msg)
        if len(values) > MAX_VALUES:
            msg = f"trait {name} has more than {MAX_VALUES} values"
            raise ValueError(msg)
        if any(not value.isprintable() or not 0 < len(value) <= MAX_VALUE for value in values):
            msg = f"trait {name} has a value that is empty, not printable or longer than {MAX_VALUE} characters"
            raise ValueError(msg)
    return traits


def check_login_template(text: str) -> str:
    """A login of a role: an OS account, or a template that yields some; ValueError otherwise."""
    if TEMPLATE in text:
        _parts(text)
        return text
    return parse_login(text)


def check_label_template(text: str) -> str:
    """The value of a label in a role: a pattern whose alternatives may be templates; ValueError otherwise."""
    for each in check_pattern(text).split(OR):
        if TEMPLATE in each:
            _parts(each)
    return text


def check_role(role: Role) -> Role:
    """The role; ValueError if it says what cannot be."""
    parse_name(role.name)
    for login in role.logins:
        check_login_template(login)
    for value in role.node_labels.values():
        check_label_template(value)
    deny = role.options.deny
    if deny is not None:
        for login in deny.logins or ():
            _check_denied_login(login)
        for value in (deny.node_labels or {}).values():
            check_label_template(value)
    return role


def _check_denied_login(text: str) -> None:
    if TEMPLATE in text:
        _parts(text)
    check_pattern(text)


def filled(roles: Iterable[Role], traits: Traits) -> list[Role]:
    """The roles as they count for somebody with these traits."""
    return [fill(role, traits).role if is_template(role) else role for role in roles]


def is_template(role: Role) -> bool:
    """Whether anything in the role is to be filled."""
    return any(TEMPLATE in text for text in _texts(role))


def fill(role: Role, traits: Traits) -> Filled:
    """One role, with a note of each template of which nothing, or not everything, was left."""
    notes: list[str] = []
    logins = _logins(role.logins, traits, _is_login, notes)
    if len(logins) > MAX_LOGINS:
        notes.append(f"only the first {MAX_LOGINS} logins count")
    made = replace(
        role,
        logins=logins[:MAX_LOGINS],
        node_labels=_labels(role.node_labels, traits, _is_plain, notes),
        options=_without_templates(role.options, traits, notes),
    )
    return Filled(made, tuple(notes))


def _without_templates(options: RoleOptions, traits: Traits, notes: list[str]) -> RoleOptions:
    """What is denied may be a pattern, wherever it comes from: it cannot be too much."""
    deny = options.deny
    if deny is None:
        return options
    logins, labels = deny.logins, deny.node_labels
    filled_deny = msgspec.structs.replace(
        deny,
        logins=None if logins is None else _logins(logins, traits, _is_anything, notes),
        node_labels=None if labels is None else _labels(labels, traits, _is_anything, notes),
    )
    return msgspec.structs.replace(options, deny=filled_deny)


def _texts(role: Role) -> Iterator[str]:
    yield from role.logins
    yield from role.node_labels.values()
    deny = role.options.deny
    if deny is not None:
        yield from deny.logins or ()
        yield from (deny.node_labels or {}).values()


def _logins(logins: Iterable[str], traits: Traits, good: Judge, notes: list[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in logins:
        found |= dict.fromkeys((text,) if TEMPLATE not in text else _yield(text, traits, good, notes))
    return tuple(found)


def _labels(labels: Mapping[str, str], traits: Traits, good: Judge, notes: list[str]) -> dict[str, str]:
    """No labels at all, which match nothing, if one of them can have no value."""
    made: dict[str, str] = {}
    for key, pattern in labels.items():
        values: list[str] = []
        for text in pattern.split(OR):
            values += (text,) if TEMPLATE not in text else _yield(text, traits, good, notes)
        if not values:
            return {}
        made[key] = OR.join(values)
    return made


def _yield(text: str, traits: Traits, good: Judge, notes: list[str]) -> list[str]:
    before, name, after = _parts(text)
    values = traits.get(name, ())
    if not values:
        notes.append(f"{text} is nothing: the user has no trait {name}")
    made = []
    for value in values:
        whole = f"{before}{value}{after}"
        if good(value, whole):
            made.append(whole)
        else:
            notes.append(f"{text}: {value!r} cannot stand there, and counts for nothing")
    return made


def _parts(text: str) -> tuple[str, str, str]:
    found = _TEMPLATE.fullmatch(text)
    if found is None:
        msg = f"not a template: {text[:64]!r}; write {{{{trait.NAME}}}}"
        raise ValueError(msg)
    return found[1], found[2], found[3]


def _is_login(_value: str, whole: str) -> bool:
    try:
        parse_login(whole)
    except ValueError:
        return False
    return True


def _is_plain(value: str, _whole: str) -> bool:
    return is_literal(value)


def _is_anything(_value: str, _whole: str) -> bool:
    return True
