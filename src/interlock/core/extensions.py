"""The requests beyond RFC 4254 that we send, answer or consume: names and payloads, byte by byte (PROTOCOL.md §2).

The names are the field's, so that a peer of another make interoperates.
"""

from dataclasses import dataclass
from enum import Enum

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import SessionId, parse_session_id
from interlock.core.limits import MAX_INVITED, MAX_SESSION_PARAMS, MAX_WORDS
from interlock.core.wire import Reader, boolean, string

SESSION_ID_QUERY_V1 = b"session-id-query@goteleport.com"
SESSION_ID_QUERY_V2 = b"session-id-query-v2@goteleport.com"
CURRENT_SESSION_ID = b"current-session-id@goteleport.com"
CLUSTER_DETAILS = b"cluster-details@goteleport.com"
VERSION_QUERY = b"x-teleport-version"
ENVS = b"envs@goteleport.com"
JOIN_MODE = b"TELEPORT_SSH_JOIN_MODE"
SESSION_REASON = b"TELEPORT_SESSION_REASON"
SESSION_INVITED = b"TELEPORT_SESSION_INVITED_USERS"
FORCE_TERMINATE = b"x-teleport-force-terminate"
KEEPALIVE = b"keepalive@openssh.com"
HOSTKEYS_UPDATE = b"hostkeys-00@openssh.com"
HOSTKEYS_PROVE = b"hostkeys-prove-00@openssh.com"
NO_MORE_SESSIONS = b"no-more-sessions@openssh.com"

HAND_OVER = b"hand-over@interlock.dev"
"""Of a root's forwarder to a leaf's proxy: who records, and what is there? PROTOCOL.md §2.8."""

SOFTWARE = "Interlock_0.1"
"""What follows ``SSH-2.0-`` in our version string (RFC 4253 §4.2)."""

CLIENT_LEFT = "the client disconnected"
"""What a forwarder tells a target when the client has gone; any other last word is the reason of an end."""

_UNDERSTAND_PARAMS = (b"SSH-2.0-Teleport", b"SSH-2.0-Interlock")


@dataclass(frozen=True, slots=True)
class Words:
    """What a person says about a session of theirs: it is shown, and allows nobody anything."""

    reason: str = ""
    invited: tuple[str, ...] = ()

    def heard(self, name: bytes, value: bytes) -> "Words":
        """With what an environment variable says, if it is one of ours."""
        text = value[:MAX_WORDS].decode("utf-8", "replace")
        if name == SESSION_REASON:
            return Words(text, self.invited)
        if name == SESSION_INVITED:
            return Words(self.reason, invited_users(text))
        return self


def invited_users(text: str) -> tuple[str, ...]:
    """Names joined by commas, or a JSON list of them as the field's clients send it."""
    names = (name.strip().strip('"').strip() for name in text.strip().strip("[]").split(","))
    return tuple(name for name in names if name)[:MAX_INVITED]


class JoinMode(Enum):
    """How a party takes part in somebody else's session."""

    PEER = "peer"
    OBSERVER = "observer"
    MODERATOR = "moderator"


@dataclass(frozen=True, slots=True)
class SessionParams:
    """What a client may say of a session in the extra data of its CHANNEL_OPEN, in wire order."""

    web_proxy_addr: str = ""
    reason: str = ""
    invited: tuple[str, ...] = ()
    display_participant_requirements: bool = False
    join_session_id: SessionId | None = None
    join_mode: JoinMode | None = None
    moderated_session_id: SessionId | None = None

    @property
    def words(self) -> Words:
        """What is shown of the session, cut off where it is too much."""
        return Words(self.reason[:MAX_WORDS], self.invited[:MAX_INVITED])

    def encode(self) -> bytes:
        """The extra data."""
        return b"".join(
            (
                string(self.web_proxy_addr),
                string(self.reason),
                string(",".join(self.invited)),
                boolean(self.display_participant_requirements),
                string(self.join_session_id or ""),
                string(self.join_mode.value if self.join_mode else ""),
                string(self.moderated_session_id or ""),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "SessionParams":
        """Read extra data; none at all means no parameters. RemoteProtocolError if it is malformed."""
        if not data:
            return cls()
        if len(data) > MAX_SESSION_PARAMS:
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"{len(data)} bytes of session parameters")
        reader = Reader(data)
        web_proxy_addr, reason, invited = reader.text(), reader.text(), reader.text()
        display = reader.boolean()
        join_id, join_mode, moderated = reader.text(), reader.text(), reader.text()
        reader.end()
        try:
            return cls(
                web_proxy_addr,
                reason,
                tuple(invited.split(",")) if invited else (),
                display,
                parse_session_id(join_id) if join_id else None,
                JoinMode(join_mode) if join_id or join_mode else None,
                parse_session_id(moderated) if moderated else None,
            )
        except ValueError as error:
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, str(error)) from None


def understands_params(version: bytes) -> bool:
    """Whether a peer with this version string reads extra data; OpenSSH drops the whole connection on it."""
    return version.startswith(_UNDERSTAND_PARAMS)


def cluster_details(*, recording_proxy: bool) -> bytes:
    """The reply to ``cluster-details``: does the proxy record, does it run in FIPS mode (never)."""
    return boolean(recording_proxy) + boolean(False)
