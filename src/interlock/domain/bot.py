"""Machine users: accounts that sign in once by a token, and from then on renew a short-lived certificate."""

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_LIFE = timedelta(hours=1)
"""Of a bot's certificate: it is renewed at half of that."""

LONGEST_LIFE = timedelta(hours=24)

TOKEN_LIFE = timedelta(hours=1)
"""Of the token with which a bot signs in, once."""

BY_TOKEN = "bot-token"  # noqa: S105 - the name of a way
"""What stands for the device of a sign-in when a bot's token was spent for it."""


@dataclass(frozen=True, slots=True)
class Bot:
    """What is known of a bot beside its account, which has its roles and no password."""

    user: str
    logins: tuple[str, ...]  # of those that its roles allow
    life: timedelta  # of its certificates
    sources: tuple[str, ...]  # CIDR; empty: from anywhere
    created: datetime
    generation: int = 0  # of the certificate that it got last; 0: none yet
    key: str = ""  # fingerprint of the key in that
    signed: datetime | None = None  # when it got that
