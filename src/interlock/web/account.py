"""The page of whoever is signed in: who that is, and what proves it."""

from interlock.core.errors import Denied
from interlock.web.html import tag
from interlock.web.layout import button, facts, field, form, new_password_fields, notice, page
from interlock.web.parts import ACCOUNT, Web, enter
from interlock.web.visit import Answer, Visit, to


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /account``."""
    return _page(web, visit, done="Your password was changed." if visit.said("done") == "password" else "")


async def change_password(web: Web, visit: Visit) -> Answer:
    """``POST /account/password``: the old one is asked for, since somebody may have left the browser alone."""
    user = _user(visit)
    await web.passwords.check(user, visit.said("old"), source=visit.source)
    try:
        await web.links.change_password(user, visit.said("new"), visit.said("again"), source=visit.source)
    except Denied as error:
        return _page(web, visit, error=error.public)
    return to(f"{ACCOUNT}?done=password", await enter(web, visit, user))


def _user(visit: Visit) -> str:
    if visit.signed_in is None:  # the route table says who may come here; this is for whoever changes it
        raise Denied("sign in first")
    return visit.signed_in.user


def _page(web: Web, visit: Visit, *, error: str = "", done: str = "") -> Answer:
    token, here = visit.form_token, visit.signed_in
    roles = ", ".join(here.account.roles) if here is not None else ""
    has_password = here is not None and here.account.password_hash is not None
    body = page(
        "Your account",
        notice(error, bad=True),
        notice(done),
        facts(("User", _user(visit)), ("Roles", roles or "none"), ("Cluster", web.site.cluster)),
        tag(
            "section",
            tag("h2", "Password"),
            form(
                f"{ACCOUNT}/password",
                token,
                field("Current password", "old", type="password", autocomplete="current-password"),
                new_password_fields(),
                button("Change password"),
            ),
        )
        if has_password
        else None,
        form("/sign-out", token, button("Sign out", quiet=True)),
        cluster=web.site.cluster,
    )
    return Answer(body, 403 if error else 200)
