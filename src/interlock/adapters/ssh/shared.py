"""A relayed session as those see it who take part in it: `services.sessions.parties.Host` over the relay core."""

from typing import Protocol

from interlock.core.effects import Effect, Started
from interlock.core.relay import Relay


class Performer(Protocol):
    """The forwarder, as far as one session needs it."""

    def perform(self, effects: list[Effect]) -> None:
        """Do what the core decided."""
        ...

    def terminate(self, channel: int, text: str, *, reason: str = "") -> None:
        """End the session on this channel; the owner reads the text, the audit log the reason."""
        ...


class RelayedHost:
    """The session on one channel."""

    def __init__(self, relay: Relay, channel: int, performer: Performer) -> None:
        self._relay = relay
        self._channel = channel
        self._performer = performer
        self._asked: Started | None = None  # what the client asked to start

    def asked(self, effect: Started) -> None:
        """Called before the session starts: this is what `hold` and `begin` are about."""
        self._asked = effect

    def hold(self) -> None:
        """Answer the client, and pass nothing on."""
        if self._asked is not None:
            self._performer.perform(self._relay.hold(self._channel, want_reply=self._asked.want_reply))

    def begin(self) -> None:
        """Pass the start on."""
        if self._asked is not None:
            request, reply = self._asked.request, self._asked.want_reply
            self._performer.perform(
                self._relay.begin(self._channel, request.kind, request.command, want_reply=reply)
            )

    def type(self, data: bytes) -> int:
        """Insert input within the target's window."""
        effects, taken = self._relay.sharing.insert(self._channel, data)
        self._performer.perform(effects)
        return taken

    def tell(self, data: bytes) -> None:
        """Show the client a notice."""
        self._performer.perform(self._relay.sharing.notice(self._channel, data))

    def pause(self) -> None:
        """Let nothing pass."""
        self._relay.sharing.pause(self._channel)

    def resume(self) -> None:
        """Let everything pass."""
        self._performer.perform(self._relay.sharing.resume(self._channel))

    def terminate(self, text: str) -> None:
        """Close both ends."""
        self._performer.terminate(self._channel, text)
