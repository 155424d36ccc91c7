"""Changing an authority's key in phases, with both keys trusted meanwhile. One table says who signs when.

Whoever verifies must know a key before anything is signed with it, and nothing signed with the old one may be of
use any more when it goes. People's certificates are verified by servers, servers' certificates by clients; so the
first are signed with the new key one phase earlier. The phases have the field's names. Of the daemons' authority
the same is true with auth as the server and daemons as its clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from interlock.core.errors import Denied


class RotatedKind(Enum):
    """An authority whose key can be changed."""

    USER = "user"
    HOST = "host"
    OPENSSH = "openssh"
    DAEMON = "daemon"  # X.509: who may speak to auth, and who is auth

    @property
    def stored(self) -> str:
        """The kind under which its keys are stored."""
        return "x509" if self is RotatedKind.DAEMON else self.value


class Phase(Enum):
    """How far a rotation is. `STANDBY`: there is none."""

    STANDBY = "standby"
    INIT = "init"  # the new key is trusted, and signs nothing
    UPDATE_CLIENTS = "update_clients"  # it signs for people, and for daemons as auth's clients
    UPDATE_SERVERS = "update_servers"  # and for servers, and for auth
    ROLLBACK = "rollback"  # the old one signs again; what the new one has signed still counts


NEXT: Mapping[Phase, tuple[Phase, ...]] = {
    Phase.STANDBY: (Phase.INIT,),
    Phase.INIT: (Phase.UPDATE_CLIENTS, Phase.ROLLBACK),
    Phase.UPDATE_CLIENTS: (Phase.UPDATE_SERVERS, Phase.ROLLBACK),
    Phase.UPDATE_SERVERS: (Phase.STANDBY, Phase.ROLLBACK),
    Phase.ROLLBACK: (Phase.STANDBY,),
}
"""Where each phase may go; the first is the way on. At the end of `UPDATE_SERVERS` the new key takes the place of
the old one, at the end of `ROLLBACK` it is dropped."""

SIGNS_WITH_NEW: Mapping[RotatedKind, frozenset[Phase]] = {
    RotatedKind.USER: frozenset({Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS}),
    RotatedKind.OPENSSH: frozenset({Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS}),
    RotatedKind.HOST: frozenset({Phase.UPDATE_SERVERS}),
    RotatedKind.DAEMON: frozenset({Phase.UPDATE_CLIENTS, Phase.UPDATE_SERVERS}),
}
"""When the new key signs."""

AUTH_SHOWS_NEW = frozenset({Phase.UPDATE_SERVERS})
"""When auth's own certificate for daemons is by the new key, and so the pins of new join tokens are."""

LONGEST_LIFE: Mapping[RotatedKind, timedelta] = {
    RotatedKind.USER: timedelta(hours=30),
    RotatedKind.HOST: timedelta(hours=30),  # until everybody has signed in again, and so learnt the new key
    RotatedKind.OPENSSH: timedelta(hours=24),  # nobody tells us what a plain sshd trusts: a day to change its file
    RotatedKind.DAEMON: timedelta(minutes=10),  # tickets and beacons, of who has just signed at a proxy apart
}
"""How long somebody may go by what was before: `keys.authority` gives people's certificates no longer life."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """One authority's rotation. Times are in UTC."""

    kind: RotatedKind
    phase: Phase
    began: datetime
    since: datetime  # when this phase began
    signing: datetime | None = None  # when the new key first signed
    grace: timedelta = timedelta(0)  # of all phases together; zero: an administrator says when to go on
    compromised: bool = False  # the old key is in the wrong hands

    @property
    def signs_with_new(self) -> bool:
        """Whether the new key is the one that signs now."""
        return self.phase in SIGNS_WITH_NEW[self.kind]

    @property
    def due(self) -> datetime | None:
        """When it goes on by itself; None: when an administrator says so."""
        return self.since + self.grace / 3 if self.grace and self.phase is not Phase.ROLLBACK else None

    def to(self, phase: Phase, now: datetime) -> "Rotation":
        """The same in another phase; Denied if there is no way there."""
        if phase not in NEXT[self.phase]:
            ways = " or ".join(each.value for each in NEXT[self.phase])
            raise Denied(f"from {self.phase.value} the {self.kind.value} authority can go to {ways} only")
        moved = replace(self, phase=phase, since=now)
        return replace(moved, signing=now) if moved.signs_with_new and self.signing is None else moved

    def early(self, phase: Phase, now: datetime) -> str:
        """What breaks, and until when, if it goes there now: certificates or readers are older. Or nothing."""
        match (self.kind, phase):
            case (RotatedKind.HOST, Phase.UPDATE_SERVERS):
                since = self.began
                breaks = f"who has not signed in since {_minute(self.began)} would refuse the gateway"
            case (RotatedKind.USER, Phase.STANDBY) if self.phase is Phase.UPDATE_SERVERS:
                since = self.signing or now
                breaks = "certificates by the old key are refused from then on: people have to sign in again"
            case (RotatedKind.DAEMON, Phase.STANDBY):
                since = self._changed_signer
                breaks = "whoever connected to a proxy apart in the last ten minutes would have to connect again"
            case (RotatedKind.OPENSSH, Phase.UPDATE_CLIENTS):
                since = self.began
                breaks = "plain sshd refuses everybody whose TrustedUserCAKeys does not have the new key as well"
            case _:
                return ""
        until = since + LONGEST_LIFE[self.kind]
        return f"{breaks} (until {_minute(until)})" if now < until else ""

    @property
    def _changed_signer(self) -> datetime:
        """When the key that stays began to sign."""
        return self.since if self.phase is Phase.ROLLBACK else (self.signing or self.since)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def begin(kind: RotatedKind, now: datetime, *, grace: timedelta, compromised: bool) -> Rotation:
    """A rotation in its first phase."""
    return Rotation(kind, Phase.INIT, now, now, None, grace, compromised)
