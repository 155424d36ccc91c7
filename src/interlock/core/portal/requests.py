"""What a user may ask of the portal."""

from typing import Annotated

import msgspec

from interlock.core.portal.access import Accesses, AskAccess, CancelAccess, ReviewAccess, ShowAccess, UseAccess
from interlock.core.portal.words import MAX_LISTED, Cursor, Limit, Request


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


class Events(Request, frozen=True, tag="events", omit_defaults=True):
    """What does the audit log have, as far as I may see it? The newest ones, unless ``after`` is said."""

    sid: str = ""
    user: str = ""
    event: str = ""  # its name
    limit: Limit = MAX_LISTED
    before: Cursor | None = None  # older ones than the one with this cursor
    after: Cursor | None = None  # newer ones, the oldest of them first
    duplicates: bool = False  # with what an old node told again of a session, marked


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
    Sign | Nodes | Sessions | Recordings | Recording | Events | WhoAmI | Cluster
    | Devices | AddTotp | RemoveDevice | NewRecoveryCodes | Keys | AddKey | RemoveKey
    | EndSession | AskAccess | Accesses | ShowAccess | ReviewAccess | CancelAccess | UseAccess
)  # fmt: skip
