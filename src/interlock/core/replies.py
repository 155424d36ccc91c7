"""The reply ledger: replies to SSH requests carry no number, so they leave in the order of the requests.

One ledger stands for the requests that one side answers, on a connection (RFC 4254 §4) or on a
channel (§5.4). It holds requests that were passed on, requests of our own, and answers that we gave
in the answering side's stead and that must wait for those before them.
"""

from dataclasses import dataclass

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PENDING_REPLIES


@dataclass(frozen=True, slots=True)
class _PassedOn:
    """The other side asked; the reply goes there. ``note``: what the relay wants to be reminded of by then."""

    note: object = None


@dataclass(frozen=True, slots=True)
class _Own:
    """We asked; the reply is ours."""

    token: str


_PASSED_ON = _PassedOn()


@dataclass(frozen=True, slots=True)
class Settled:
    """What a reply settles: the token of our own request, if it was one, and the messages that may leave now.

    ``note`` is what `ReplyLedger.pass_on` was given for a request of the other side.
    """

    token: str | None
    release: list[bytes]
    note: object = None


class ReplyLedger:
    """Requests outstanding at one side, oldest first."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[_PassedOn | _Own | bytes] = []  # few at any time, and mostly none

    @property
    def full(self) -> bool:
        """Whether another request would be too much."""
        return len(self._entries) >= MAX_PENDING_REPLIES

    def pass_on(self, note: object = None) -> None:
        """A request with want_reply was passed on to the answering side."""
        self._add(_PassedOn(note) if note is not None else _PASSED_ON)

    def ask(self, token: str) -> None:
        """We sent a request of our own."""
        self._add(_Own(token))

    def answer(self, reply: bytes) -> list[bytes]:
        """We answer the asking side ourselves: what may leave now."""
        if not any(isinstance(entry, _PassedOn) for entry in self._entries):
            return [reply]
        self._add(reply)
        return []

    def outstanding(self, reply: bytes) -> list[bytes]:
        """What the asking side would still get if each of its requests were answered so; changes nothing."""
        mine = (reply if isinstance(entry, _PassedOn) else entry for entry in self._entries)
        return [entry for entry in mine if isinstance(entry, bytes)]

    def settle(self, reply: bytes) -> Settled:
        """The answering side replied to its oldest request; RemoteProtocolError if nothing was asked."""
        at = next((i for i, entry in enumerate(self._entries) if not isinstance(entry, bytes)), None)
        if at is None:
            raise RemoteProtocolError(Rule.UNSOLICITED_REPLY)
        entry = self._entries[at]
        del self._entries[at]
        if isinstance(entry, _PassedOn):
            return Settled(None, [reply, *self._released()], entry.note)
        return Settled(entry.token if isinstance(entry, _Own) else None, self._released())

    def _released(self) -> list[bytes]:
        """Our answers that no passed-on request is in front of any more."""
        ready: list[bytes] = []
        kept: list[_PassedOn | _Own | bytes] = []
        blocked = False
        for entry in self._entries:
            if isinstance(entry, bytes) and not blocked:
                ready.append(entry)
                continue
            blocked = blocked or isinstance(entry, _PassedOn)
            kept.append(entry)
        self._entries = kept
        return ready

    def _add(self, entry: _PassedOn | _Own | bytes) -> None:
        if self.full:
            raise RemoteProtocolError(Rule.TOO_MUCH_PENDING, f"{len(self._entries)} requests")
        self._entries.append(entry)
