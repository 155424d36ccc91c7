"""The pages between which somebody signs in at an identity provider."""

from interlock.core.errors import SignInFailed
from interlock.services.signin.sso import KIND
from interlock.web.html import tag
from interlock.web.layout import notice, page
from interlock.web.parts import SIGN_IN, Web, code_of, enter
from interlock.web.visit import Answer, Visit

CALLBACK = "/sso/callback"


async def leave(web: Web, visit: Visit) -> Answer:
    """``GET /sso/start/{connector}``: on to the provider. The one place of others that we ever lead to."""
    where = await web.sso.leave(
        visit.parameters["connector"], visit.secret, source=visit.source, code=code_of(visit)
    )
    return Answer(status=303, location=where)


async def come_back(web: Web, visit: Visit) -> Answer:
    """``GET /sso/callback``.

    The cookie that it sets is sent by none of other sites' links, as which this one still counts: so the page goes
    on by itself, which makes the next request one of ours.
    """
    try:
        back = await web.sso.come_back(visit.secret, visit.parameters, source=visit.source)
    except SignInFailed as error:
        again = tag("p", tag("a", "Try again", href=SIGN_IN))
        return Answer(page("Sign in", notice(error.public, bad=True), again, cluster=web.site.cluster), 403)
    cookie = await enter(web, visit, back.user, method=KIND)
    path = f"/c/{back.code}" if back.code else "/account"
    body = page("Signed in", tag("p", tag("a", "Continue", href=path)), cluster=web.site.cluster, refresh=path)
    return Answer(body, cookies=(cookie,))
