"""The portal protocol: what a user's tool asks the gateway over the SSH subsystem ``portal@interlock.dev``.

A request is one JSON object on one line, and so is its reply; requests are answered one after the other.
The reply `Stream` is followed by the recording itself: chunks of a four-byte big-endian length and so many
bytes, a chunk of length 0 as their end, and then one more reply line, `Streamed` or `Refused`, so that a
recording which broke off is never taken for a whole one.

Requests are strict: a field that the gateway does not know might be a restriction, so it refuses. Replies
may have fields that an older tool does not know. Nothing here decides anything: see services.portal.portal.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, TypeVar

import msgspec

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.portal_access import (
    AboutAccess,
    Accesses,
    AccessItem,
    AccessList,
    AccessOne,
    AskAccess,
    CancelAccess,
    ReviewAccess,
    ReviewItem,
    ShowAccess,
    UseAccess,
)
from interlock.core.portal_words import MAX_LISTED, Limit, Reply, Request

__all__ = [
    "MAX_LISTED",
    "AboutAccess",
    "AccessItem",
    "AccessList",
    "AccessOne",
    "Accesses",
    "AskAccess",
    "CancelAccess",
    "ReviewAccess",
    "ReviewItem",
    "ShowAccess",
    "UseAccess",
]

SUBSYSTEM = "portal@interlock.dev"
"""The name of the subsystem."""

MAX_REQUEST = 64 * 1024
"""Longest request line in bytes. The largest honest one carries an RSA public key: a few KiB."""

MAX_REPLY = 16 * 1024 * 1024
"""Longest reply line in bytes: an inventory of 50,000 nodes fits."""

CHUNK = 256 * 1024
"""Longest chunk of a recording in bytes; the sender cuts longer ones."""


class Sign(Request, frozen=True, tag="sign"):
    """Please certify my public key."""

    public_key: str  # OpenSSH one-line form
    ttl: Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)] | None = None  # seconds; None: the gateway's default


class Nodes(Request, frozen=True, tag="nodes", omit_defaults=True):
    """Which nodes do I reach, under which logins?"""

    cluster: str = ""  # a leaf cluster; empty: this one


class Sessions(Request, frozen=True, tag="sessions", omit_defaults=True):
    """Which sessions are live that are mine, or that I may join? Oldest first."""

    after: str = ""  # `SessionList.next` of the page before
    limit: Limit = MAX_LISTED


class EndSession(Request, frozen=True, tag="end_session", omit_defaults=True):
    """Please end this session, which is mine or which I may end."""

    sid: str
    message: str = ""  # for the people in it


class Recordings(Request, frozen=True, tag="recordings", omit_defaults=True):
    """Which of my sessions are recorded? The newest sessions first."""

    after: str = ""  # `RecordingList.next` of the page before
    limit: Limit = MAX_LISTED
    all: bool = False  # those of others, too, as far as I may see them


class Recording(Request, frozen=True, tag="recording", omit_defaults=True):
    """Please send the recording of my session."""

    sid: str
    at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)] = 0  # only what is needed from that microsecond on


class WhoAmI(Request, frozen=True, tag="whoami"):
    """Who am I to the gateway?"""


class Cluster(Request, frozen=True, tag="cluster"):
    """Which cluster is this, and which host CA vouches for its hosts?"""


class OfOneself(Request, frozen=True, omit_defaults=True):
    """About what proves the person. A change needs a fresh sign-in, with a second factor if there is one."""


class Devices(OfOneself, frozen=True, tag="mfa_devices"):
    """Which second factors do I have?"""


class AddTotp(OfOneself, frozen=True, tag="mfa_add_totp"):
    """This is an authenticator of mine, and the code that it shows."""

    name: str
    secret: str  # base32, as in the otpauth URI
    code: str


class RemoveDevice(OfOneself, frozen=True, tag="mfa_remove"):
    """This device of mine is to count no more."""

    device: str  # its ID or name


class Keys(OfOneself, frozen=True, tag="keys"):
    """Which keys of mine count without a certificate?"""


class AddKey(OfOneself, frozen=True, tag="key_add"):
    """This key of mine is to count without a certificate."""

    line: str  # as in authorized_keys, with options
    name: str = ""  # empty: by its comment


class RemoveKey(OfOneself, frozen=True, tag="key_remove"):
    """This one is to count no more."""

    key: str  # its name or fingerprint


class NewRecoveryCodes(OfOneself, frozen=True, tag="recovery_codes"):
    """Please make me new ones."""


AnyRequest = (
    Sign | Nodes | Sessions | Recordings | Recording | WhoAmI | Cluster
    | Devices | AddTotp | RemoveDevice | NewRecoveryCodes | Keys | AddKey | RemoveKey
    | EndSession | AskAccess | Accesses | ShowAccess | ReviewAccess | CancelAccess | UseAccess
)  # fmt: skip


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
    | DeviceList | DeviceAdded | RecoveryCodes | KeyList | Done
    | AccessList | AccessOne
)  # fmt: skip

_requests: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)
_replies: msgspec.json.Decoder[AnyReply] = msgspec.json.Decoder(AnyReply)
_Message = TypeVar("_Message")


def encode(message: AnyRequest | AnyReply) -> bytes:
    """One line; JSON escapes line feeds, so the one at the end is the only one."""
    return msgspec.json.encode(message) + b"\n"


def parse_request(line: bytes) -> AnyRequest:
    """A request line without its line feed; RemoteProtocolError if it is none of ours."""
    return _parse(_requests, line)


def parse_reply(line: bytes) -> AnyReply:
    """A reply line without its line feed; RemoteProtocolError if it is none of ours."""
    return _parse(_replies, line)


def _parse(decoder: msgspec.json.Decoder[_Message], line: bytes) -> _Message:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, str(error)) from None
    except RecursionError:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "nested too deeply") from None


END_OF_CHUNKS = bytes(4)
"""A chunk of length 0."""


def chunks(data: bytes) -> Iterator[bytes]:
    """Frame a piece of a recording. An empty piece gives nothing: a chunk of length 0 is the end."""
    for at in range(0, len(data), CHUNK):
        piece = data[at : at + CHUNK]
        yield len(piece).to_bytes(4, "big") + piece


class LineReader:
    """Cuts what arrives into lines, however it was cut into packets."""

    def __init__(self, limit: int = MAX_REQUEST) -> None:
        self._limit = limit
        self._held = bytearray()
        self._looked = 0  # bytes at the front of _held that have no line feed

    def add(self, data: bytes) -> None:
        """Hold what arrived. The caller stops reading while lines wait, so that this stays small."""
        self._held += data

    def next(self) -> bytes | None:
        """The next line without its line feed, or None; RemoteProtocolError when it is longer than the limit."""
        end = self._held.find(b"\n", self._looked)
        self._looked = len(self._held)
        if max(end, self._looked if end < 0 else 0) > self._limit:
            raise RemoteProtocolError(Rule.OVERSIZED_PACKET, f"a line of more than {self._limit} bytes")
        if end < 0:
            return None
        line = self.take(end)
        self.take(1)
        return line

    def take(self, size: int) -> bytes:
        """Up to ``size`` of the bytes that wait, whatever they are."""
        piece = bytes(self._held[:size])
        del self._held[:size]
        self._looked = 0
        return piece

    def __len__(self) -> int:
        """How many bytes wait."""
        return len(self._held)


class ReplyReader:
    """The tool's side: reply lines, and the bytes of chunks between `Stream` and its end."""

    def __init__(self) -> None:
        self._lines = LineReader(MAX_REPLY)
        self._streaming = False  # between `Stream` and the chunk of length 0
        self._left = 0  # bytes left of the current chunk

    def add(self, data: bytes) -> None:
        """Hold what arrived."""
        self._lines.add(data)

    def next(self) -> AnyReply | bytes | None:
        """A reply, a piece of a recording, or None when more must arrive; RemoteProtocolError if malformed."""
        return (self._next_piece() if self._streaming else None) or self._next_reply()

    def _next_reply(self) -> AnyReply | None:
        line = None if self._streaming else self._lines.next()
        if line is None:
            return None
        reply = parse_reply(line)
        self._streaming = isinstance(reply, Stream)
        return reply

    def _next_piece(self) -> bytes:
        """Bytes of the current or the next chunk; none if more must arrive or that was the end."""
        if self._left == 0:
            if len(self._lines) < len(END_OF_CHUNKS):
                return b""
            self._left = int.from_bytes(self._lines.take(4), "big")
            self._streaming = self._left > 0
        if self._left > CHUNK:
            raise RemoteProtocolError(Rule.OVERSIZED_PACKET, f"a chunk of {self._left} bytes")
        piece = self._lines.take(self._left)
        self._left -= len(piece)
        return piece
