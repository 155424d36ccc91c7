"""Which recording mode a session has: the cluster's default, rules by node label, and what roles say.

The default counts where nothing more specific is said. Of the rules that match the node and what the roles say,
the strictest wins: neither a rule nor a role takes away what another one asks for, and a rule for every node is a
floor that no role goes below. All three are an administrator's word; nothing that a client sends is asked (R2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from interlock.domain.access import RECORDING_ORDER
from interlock.domain.duties import RecordingMode
from interlock.domain.rbac import Role, labels_match
from interlock.domain.target import Target


@dataclass(frozen=True, slots=True)
class ModeRule:
    """The mode of sessions on nodes with all of these labels."""

    labels: Mapping[str, str]  # as roles have them: "*" matches any value, ``{"*": "*"}`` every node
    mode: RecordingMode


@dataclass(frozen=True, slots=True)
class ModePolicy:
    """What the cluster says."""

    default: RecordingMode = RecordingMode.NODE
    rules: tuple[ModeRule, ...] = ()

    def mode_for(self, target: Target, *said: str | None) -> RecordingMode:
        """The mode of a session on ``target``; ``said``: what roles say, None for nothing."""
        specific = [rule.mode for rule in self.rules if labels_match(rule.labels, target)]
        specific += [RecordingMode(each) for each in said if each is not None]
        return strictest(specific) if specific else self.default

    def mode_before_login(self, target: Target, roles: Iterable[Role]) -> RecordingMode:
        """The strictest mode that any login of these roles has there: for a jump, which names no login yet."""
        said = [role.options.recording for role in roles if role.matches(target)]
        return strictest(self.mode_for(target, each) for each in said or [None])


def mode_at_node(said: str | None, *, relieved: bool) -> RecordingMode:
    """A node's mode by auth's word, in a forwarder's certificate or in an answer; ValueError if it is no mode.

    ``relieved``: the certificate hands the duties to the forwarder; else the node keeps the same level itself.
    """
    if relieved:
        return RecordingMode.PROXY if said is None else RecordingMode(said)
    return RecordingMode.NODE if said is None else RecordingMode(said).at_node


def strictest(modes: Iterable[RecordingMode]) -> RecordingMode:
    """The last in `access.RECORDING_ORDER`; ValueError if there is none."""
    return max(modes, key=lambda mode: RECORDING_ORDER.index(mode.value))
