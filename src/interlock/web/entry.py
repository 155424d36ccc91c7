"""The page of a link: somebody comes in for the first time, or again, and chooses a password."""

from interlock.core.errors import Denied, Locked
from interlock.domain.browser import Link, LinkPurpose
from interlock.web.html import tag
from interlock.web.layout import button, facts, form, new_password_fields, notice, page
from interlock.web.parts import SIGN_IN, Web, entered
from interlock.web.visit import Answer, Visit, to

_TITLES = {LinkPurpose.INVITE: "Welcome", LinkPurpose.RESET: "Set a new password"}


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /link/{secret}``: looking does not use it up, so that whatever previews links does no harm."""
    link, _ = await web.links.open(visit.parameters["secret"], source=visit.source)
    return _page(web, visit, link)


async def set_password(web: Web, visit: Visit) -> Answer:
    """``POST /link/{secret}``."""
    secret = visit.parameters["secret"]
    link, _ = await web.links.open(secret, source=visit.source)
    try:
        user = await web.links.set_password(secret, visit.said("new"), visit.said("again"), source=visit.source)
    except Locked:
        raise
    except Denied as error:
        return _page(web, visit, link, error=error.public)
    if await web.factors.of(user):  # a link proves no second factor
        return to(SIGN_IN)
    return await entered(web, visit, user)


def _page(web: Web, visit: Visit, link: Link, *, error: str = "") -> Answer:
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
        cluster=web.site.cluster,
    )
    return Answer(body, 403 if error else 200)
