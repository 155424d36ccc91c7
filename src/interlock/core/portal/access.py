"""The portal's messages about requests for access: asking for roles, and deciding who gets them."""

from typing import Annotated

import msgspec

from interlock.core.portal.words import Limit, Reply, Request

Seconds = Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]


class AboutAccess(Request, frozen=True, omit_defaults=True):
    """About roles for a while."""


class AskAccess(AboutAccess, frozen=True, tag="ask_access"):
    """May I have these roles for a while?"""

    roles: list[str]
    reason: str
    ttl: Seconds | None = None  # None: as long as is usual


class Accesses(AboutAccess, frozen=True, tag="accesses"):
    """Which requests are mine, or wait for me? The newest first."""

    limit: Limit = 200


class ShowAccess(AboutAccess, frozen=True, tag="show_access"):
    """Where does this request stand?"""

    id: str


class ReviewAccess(AboutAccess, frozen=True, tag="review_access"):
    """I say yes, or no."""

    id: str
    approve: bool
    reason: str = ""


class CancelAccess(AboutAccess, frozen=True, tag="cancel_access"):
    """I no longer want it, or have had it for long enough."""

    id: str


class UseAccess(AboutAccess, frozen=True, tag="use_access"):
    """Please certify my key with its roles, too, for no longer than I am signed in. The answer: `Signed`."""

    id: str
    public_key: str  # OpenSSH one-line form


class ReviewItem(msgspec.Struct, frozen=True):
    """One person's word."""

    by: str
    approves: bool
    reason: str
    at: str  # RFC 3339


class AccessItem(msgspec.Struct, frozen=True):
    """A request for access."""

    id: str
    user: str
    roles: list[str]
    reason: str
    state: str
    created: str  # RFC 3339
    expires: str  # RFC 3339: when it, or the access that it gave, ends
    ttl: int  # seconds of access
    approvals: int  # how many it takes
    reviews: list[ReviewItem]
    yours: bool = True  # else it is one on which the caller may decide


class AccessList(Reply, frozen=True, tag="accesses"):
    """The newest first."""

    requests: list[AccessItem]


class AccessOne(Reply, frozen=True, tag="access"):
    """As it stands now."""

    request: AccessItem
