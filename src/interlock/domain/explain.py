"""Why somebody may or may not log in somewhere: the decision's own judgement, in words for administrators.

What decides is `rbac.judge`, here as in `Permit.decide`; this only says what each role had to do with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec

from interlock.domain.access import Deny
from interlock.domain.pattern import matches
from interlock.domain.rbac import TEMPLATE, WILDCARD, Judgement, Role, judge, labels_match
from interlock.domain.target import Target
from interlock.domain.traits import Filled


class Effect(Enum):
    """What one role does to one login on one target."""

    ALLOWS = "allows"
    DENIES = "denies"
    NOTHING = "does nothing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One role's part in the decision."""

    role: str
    effect: Effect
    why: str
    notes: tuple[str, ...] = ()  # what of its templates came to nothing
    options: Mapping[str, Any] = field(default_factory=dict)  # what it says, if it allows


def explain(roles: Sequence[Filled], login: str, target: Target) -> tuple[Judgement, list[Finding]]:
    """The judgement, and the part of each role in it."""
    judged = judge([each.role for each in roles], login, target)
    return judged, [_finding(each, judged) for each in roles]


def _finding(filled: Filled, judged: Judgement) -> Finding:
    role, login, target = filled.role, judged.login, judged.target
    if role in judged.denying:
        return Finding(role.name, Effect.DENIES, _why_denied(role.options.deny or Deny(), login), filled.notes)
    if role in judged.allowing:
        options = msgspec.to_builtins(role.options)
        options.pop("deny", None)
        why = f"{login} is one of its logins, and its labels match"
        return Finding(role.name, Effect.ALLOWS, why, filled.notes, options)
    return Finding(role.name, Effect.NOTHING, "; ".join(_lacks(role, login, target)), filled.notes)


def _why_denied(deny: Deny, login: str) -> str:
    why = []
    if deny.logins is not None:
        why.append(f"it denies the login {next((each for each in deny.logins if matches(each, login)), login)}")
    if deny.node_labels is not None:
        everywhere = deny.node_labels.get(WILDCARD) == WILDCARD
        where = "every node" if everywhere else f"nodes with {_labels(deny.node_labels)}"
        why.append(f"it denies {where}" if deny.logins is None else f"on {where}")
    return " ".join(why)


def _lacks(role: Role, login: str, target: Target) -> list[str]:
    """What would have to be otherwise."""
    if role.options.deny is not None and not role.logins and not role.node_labels:
        return ["what it denies is something else"]
    lacks = []
    if login not in role.logins:
        lacks.append(f"its logins are {', '.join(role.logins)}" if role.logins else "it has no logins")
    if not role.node_labels:
        lacks.append("it has no labels, or one that can have no value")
    elif not role.matches(target):
        for key, pattern in role.node_labels.items():
            if not labels_match({key: pattern}, target):
                lacks.append(_mismatch(key, pattern, target))
    return lacks


def _mismatch(key: str, pattern: str, target: Target) -> str:
    if TEMPLATE in pattern:
        return f"the label {key} is a template that was not filled"
    if key not in target.labels:
        return f"{target.hostname} has no label {key}"
    return f"the label {key} of {target.hostname} is {target.labels[key]}, not {pattern}"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
