"""Why a channel gets nowhere: the code and text of its CHANNEL_OPEN_FAILURE (RFC 4254 §5.1)."""

from dataclasses import dataclass

from interlock.core import wire


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a channel, or each channel of a connection, gets nowhere."""

    code: int
    public: str
    reason: str
    maximum: int | None = None  # the limit, if it is one that was reached

    @classmethod
    def by_policy(cls, text: str) -> "Refusal":
        """Administratively prohibited, and the person may know all of it."""
        return cls(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, text, text)

    @classmethod
    def shortage(cls, text: str) -> "Refusal":
        """There is no room; the person may know all of it."""
        return cls(wire.OPEN_RESOURCE_SHORTAGE, text, text)
