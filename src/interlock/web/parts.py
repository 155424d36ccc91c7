"""What the pages stand on, and what a sign-in in a browser leads to."""

from dataclasses import dataclass
from typing import Protocol

from interlock.core.errors import Denied, SignInFailed
from interlock.domain.bot import BY_TOKEN
from interlock.domain.browser import parse_code
from interlock.ports import Clock, Entropy
from interlock.services.signin.browsing import BrowserSignIns, Errands
from interlock.services.signin.confirming import Confirmations
from interlock.services.signin.factors import Factors
from interlock.services.signin.links import Links
from interlock.services.signin.passkeys import Passkeys
from interlock.services.signin.signin import PUBLIC, Confirmation, Judgement
from interlock.services.signin.sso import Sso
from interlock.web.visit import Answer, Site, Visit, to

SIGN_IN = "/sign-in"
ACCOUNT = "/account"
PROVE = f"{ACCOUNT}/prove"


class PasswordCheck(Protocol):
    """Sign-in by password; services.signin.signin.SignIn."""

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Judge a password, with the code of a second factor if there is one; SignInFailed if it is wrong."""
        ...

    async def confirm(self, user: str, code: str, *, source: str) -> Confirmation:
        """Judge the code of somebody who is known already; SignInFailed, Locked."""
        ...


@dataclass(frozen=True, slots=True)
class Web:
    """The services."""

    site: Site
    passwords: PasswordCheck
    factors: Factors
    passkeys: Passkeys | None  # None: the site has no name to which they could be bound
    links: Links
    sign_ins: BrowserSignIns
    errands: Errands
    sso: Sso
    confirmations: Confirmations
    clock: Clock
    entropy: Entropy


def passkeys(web: Web) -> Passkeys:
    """Denied if there are none here."""
    if web.passkeys is None:
        raise Denied("there are no passkeys here: the gateway is called by an address and not by a name")
    return web.passkeys


def code_of(visit: Visit) -> str:
    """The code of a sign-in elsewhere for whose sake somebody is here; empty: none."""
    try:
        return parse_code(visit.said("code"))
    except ValueError:
        return ""


def afterwards(visit: Visit) -> str:
    """Where somebody goes who has signed in: one of two places of ours, whatever the request says."""
    code = code_of(visit)
    return f"/c/{code}" if code else ACCOUNT


async def enter(web: Web, visit: Visit, user: str, *, method: str = "local", device: str = "") -> str:
    """Somebody has proved who they are: the cookie for the browser. The sign-in before ends."""
    if device == BY_TOKEN:
        raise SignInFailed(PUBLIC, reason=f"the bot {user} has no business in a browser")
    if visit.cookie:
        await web.sign_ins.end(visit.cookie)
    secret = await web.sign_ins.begin(user, method=method, device=device, source=visit.source)
    if await web.sign_ins.find(secret) is None:
        raise SignInFailed("sign-in failed", reason=f"{user} is locked or was removed")
    return web.site.set_cookie("signin", secret)


async def entered(web: Web, visit: Visit, user: str, *, method: str = "local", device: str = "") -> Answer:
    """The same, and go on."""
    return to(afterwards(visit), await enter(web, visit, user, method=method, device=device))
