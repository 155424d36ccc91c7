"""The page of a link: somebody comes in for the first time, or again, and chooses a password."""

from interlock.core.errors import Denied, Locked, SignInFailed
from interlock.domain.browser import Link, LinkPurpose
from interlock.web.html import tag
from interlock.web.layout import button, facts, form, new_password_fields, notice, page, passkey_form
from interlock.web.parts import SIGN_IN, Web, entered, passkeys
from interlock.web.visit import Answer, Visit, data, to

FIRST = "Passkey"
"""The name of one that is made by a link."""

_TITLES = {LinkPurpose.INVITE: "Welcome", LinkPurpose.RESET: "Set a new password"}


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /link/{secret}``: looking does not use it up, so that whatever previews links does no harm."""
    link, _ = await web.links.open(visit.parameters["secret"], source=visit.source)
    return await _page(web, visit, link)


async def set_password(web: Web, visit: Visit) -> Answer:
    """``POST /link/{secret}``."""
    secret = visit.parameters["secret"]
    link, _ = await web.links.open(secret, source=visit.source)
    try:
        user = await web.links.set_password(secret, visit.said("new"), visit.said("again"), source=visit.source)
    except Locked:
        raise
    except Denied as error:
        return await _page(web, visit, link, error=error.public)
    if await web.factors.of(user):  # a link proves no second factor
        return to(SIGN_IN)
    return await entered(web, visit, user)


async def passkey_options(web: Web, visit: Visit) -> Answer:
    """``POST /link/{secret}/passkey/options``."""
    link = await _for_passkey(web, visit)
    return data(await passkeys(web).begin_new(link.user, visit.secret, source=visit.source))


async def passkey(web: Web, visit: Visit) -> Answer:
    """``POST /link/{secret}/passkey``: instead of a password, which then there is none of."""
    link = await _for_passkey(web, visit)
    secret, answer = visit.parameters["secret"], visit.said("credential")
    device = await passkeys(web).add(link.user, visit.secret, answer, FIRST, source=visit.source)
    try:
        await web.links.spend(secret, source=visit.source)
    except SignInFailed:  # somebody else was faster, and it is theirs
        await web.factors.remove(link.user, device.id, source=visit.source)
        raise
    return await entered(web, visit, link.user, device=device.id)


async def _for_passkey(web: Web, visit: Visit) -> Link:
    """The link; Denied if its user has second factors already, of which it proves none."""
    link, _ = await web.links.open(visit.parameters["secret"], source=visit.source)
    if await web.factors.of(link.user):
        raise Denied("sign in to add a passkey", reason=f"the link of {link.user}, who has second factors")
    return link


async def _page(web: Web, visit: Visit, link: Link, *, error: str = "") -> Answer:
    offers = web.passkeys is not None and not await web.factors.of(link.user)
    body = page(
        _TITLES[link.purpose],
        notice(error, bad=True),
        facts(("Your user name", link.user), ("Cluster", web.site.cluster)),
        form(
            f"/link/{visit.said('secret')}",
            visit.form_token,
            tag("input", type="hidden", name="username", value=link.user, autocomplete="username"),
            new_password_fields(),
            button("Set password"),
        ),
        passkey_form(
            "create",
            f"/link/{visit.parameters['secret']}/passkey",
            f"/link/{visit.parameters['secret']}/passkey/options",
            visit.form_token,
            text="Use a passkey instead",
            quiet=True,
        )
        if offers
        else None,
        cluster=web.site.cluster,
        script=offers,
    )
    return Answer(body, 403 if error else 200)
