"""What the portal answers."""

from typing import Annotated, Literal

import msgspec

from interlock.core.portal.access import AccessList, AccessOne
from interlock.core.portal.words import Reply


class Signed(Reply, frozen=True, tag="signed"):
    """A certificate and all that a client needs to use it."""

    certificate: str  # OpenSSH one-line form
    host_ca: list[str]  # public keys, OpenSSH one-line form
    cluster: str
    user: str
    logins: list[str]
    roles: list[str]
    valid_until: str  # RFC 3339
    notice: str = ""  # for the person: what to do about the sign-in


class NodeItem(msgspec.Struct, frozen=True):
    """A node that the user reaches."""

    id: str
    hostname: str
    sub_kind: str
    labels: dict[str, str]
    logins: list[str]


class NodeList(Reply, frozen=True, tag="nodes"):
    """By hostname."""

    nodes: list[NodeItem]


class SessionItem(msgspec.Struct, frozen=True):
    """A live session."""

    sid: str
    state: str
    created: str  # RFC 3339
    user: str
    login: str
    hostname: str
    command: list[str]
    participants: list[str]
    joinable: list[str] = []  # modes in which the caller may take part
    reason: str = ""
    invited: list[str] = []


class SessionList(Reply, frozen=True, tag="sessions"):
    """Oldest first."""

    sessions: list[SessionItem]
    next: str = ""  # there may be more behind this; empty: there are no more


class RecordingItem(msgspec.Struct, frozen=True):
    """A stored recording."""

    sid: str
    size: int  # bytes
    stored: str  # RFC 3339
    meta: dict[str, object]  # the recording's own header


class EventList(Reply, frozen=True, tag="events"):
    """Oldest first, each as the audit log has it, and its ``cursor``."""

    events: list[dict[str, object]]
    next: str = ""  # the cursor behind which it goes on, in the direction that was asked; empty: there are no more


class RecordingList(Reply, frozen=True, tag="recordings"):
    """The newest sessions first."""

    recordings: list[RecordingItem]
    next: str = ""  # as above


Place = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Stream(Reply, frozen=True, tag="stream"):
    """Chunks follow: of the whole file, or of these places in it, offset and size, in order."""

    sid: str
    places: list[tuple[Place, Place]] = []  # noqa: RUF012 - msgspec copies it


class Streamed(Reply, frozen=True, tag="streamed"):
    """The chunks were all that was announced."""

    size: int  # bytes in all chunks


class Myself(Reply, frozen=True, tag="whoami"):
    """The caller as the gateway sees it."""

    user: str
    cluster: str
    roles: list[str]
    logins: list[str]
    methods: list[str]  # how this connection was authenticated
    valid_until: str | None  # of the certificate, RFC 3339; None after sign-in with a password


class ClusterInfo(Reply, frozen=True, tag="cluster"):
    """What everyone who signed in may know."""

    cluster: str
    host_ca: list[str]


class DeviceItem(msgspec.Struct, frozen=True):
    """A second factor."""

    id: str
    name: str
    kind: str
    added: str  # RFC 3339
    used: str | None  # the same; None: never


class DeviceList(Reply, frozen=True, tag="mfa_devices"):
    """In the order in which they were added."""

    devices: list[DeviceItem]
    recovery_codes: int  # how many are not spent


class DeviceAdded(Reply, frozen=True, tag="mfa_added"):
    """It counts from now on."""

    id: str
    recovery_codes: list[str] = []  # noqa: RUF012 - msgspec copies it; made because there were none


class KeyItem(msgspec.Struct, frozen=True):
    """A key that counts without a certificate."""

    name: str
    fingerprint: str
    options: list[str]
    added: str  # RFC 3339
    expires: str | None  # the same; None: until it is removed


class KeyList(Reply, frozen=True, tag="keys"):
    """In the order in which they were added."""

    keys: list[KeyItem]


class RecoveryCodes(Reply, frozen=True, tag="recovery_codes"):
    """A set, which replaces the one before. Nobody can show it again."""

    codes: list[str]


class Done(Reply, frozen=True, tag="done"):
    """As asked."""

    what: str  # for the person


Why = Literal["denied", "not-found", "malformed", "failed"]
"""The kinds of refusal; a tool's exit code depends on it."""


class Refused(Reply, frozen=True, tag="refused"):
    """No, and what the person should read about it."""

    why: Why
    message: str


AnyReply = (
    Signed | NodeList | SessionList | RecordingList | Stream | Streamed | Myself | ClusterInfo | Refused
    | EventList | DeviceList | DeviceAdded | RecoveryCodes | KeyList | Done
    | AccessList | AccessOne
)  # fmt: skip
