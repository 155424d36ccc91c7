"""Who is at the other end of a portal connection."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.domain.identity import Claims

SIGN_WINDOW = timedelta(minutes=5)
"""How long after a sign-in a certificate may be asked for, so that a connection left open is no standing key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a portal connection, as its authentication proved."""

    user: str
    claims: Claims | None  # of the certificate; None after a sign-in with a password
    methods: tuple[str, ...]  # SSH authentication methods that succeeded
    since: datetime  # when the connection was authenticated
    source: str = ""  # host:port of the person's client
    device: str = ""  # `Identity.device` after a sign-in
