"""The pages at which somebody signs in and out."""

from interlock.core.errors import Denied, InterlockError, Locked, SignInFailed
from interlock.services.signin.signin import PUBLIC, SignInResult
from interlock.web.html import Html, tag
from interlock.web.layout import button, field, form, new_password_fields, notice, page, passkey_form
from interlock.web.parts import ACCOUNT, SIGN_IN, Web, afterwards, code_of, entered, passkeys
from interlock.web.visit import Answer, Visit, data, to

CODE_ASKED = "Your account has a second factor: type its code, or a recovery code, and the password again."

CHANGE = "change-password"
"""Errand of somebody whose one-time password was right, and who has to choose another one."""


async def home(web: Web, visit: Visit) -> Answer:
    """``/``."""
    del web
    return to(ACCOUNT if visit.signed_in is not None else SIGN_IN)


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /sign-in``."""
    if visit.signed_in is not None and not visit.said("again"):
        return to(afterwards(visit))
    return await _page(web, visit)


async def sign_in(web: Web, visit: Visit) -> Answer:
    """``POST /sign-in``: by password, and the code of a second factor."""
    user, code = visit.said("user"), visit.said("factor")
    try:
        judged = await web.passwords.check(user, visit.said("password"), source=visit.source, code=code)
    except (SignInFailed, Locked) as error:
        return await _page(web, visit, error=error.public, status=403)
    match judged.result:
        case SignInResult.NEEDS_CODE:
            return await _page(web, visit, error=CODE_ASKED, status=403)
        case SignInResult.MUST_CHANGE:
            facts = {"user": user, "instead_of": await web.links.mark(user)}
            facts |= {"again": "yes"} if judged.careful else {}
            await web.errands.begin(CHANGE, visit.secret, facts, source=visit.source)
            return _change(web, visit)
        case SignInResult.OK:
            return await entered(web, visit, user, device=judged.device)


async def passkey_options(web: Web, visit: Visit) -> Answer:
    """``POST /sign-in/passkey/options``: for whichever passkey the browser has."""
    return data(await passkeys(web).begin(visit.secret, source=visit.source))


async def passkey(web: Web, visit: Visit) -> Answer:
    """``POST /sign-in/passkey``: by a passkey alone."""
    try:
        device = await passkeys(web).sign_in(visit.secret, visit.said("credential"), source=visit.source)
    except (SignInFailed, Locked) as error:
        return await _page(web, visit, error=error.public, status=403)
    return await entered(web, visit, device.user, device=device.id)


async def change(web: Web, visit: Visit) -> Answer:
    """``POST /sign-in/password``: a new one, in the place of a one-time password."""
    facts = await web.errands.finish(CHANGE, visit.secret)
    if facts is None:
        return await _page(web, visit, error=PUBLIC, status=403)
    user = facts["user"]
    try:
        if await web.links.mark(user) != facts["instead_of"]:
            return await _page(web, visit, error=PUBLIC, status=403)
        await web.links.change_password(user, visit.said("new"), visit.said("again"), source=visit.source)
    except Denied as error:
        await web.errands.begin(CHANGE, visit.secret, facts, source=visit.source)
        return _change(web, visit, error=error.public)
    if "again" in facts:  # the password alone is not enough for this one
        return await _page(web, visit, done="Your password was changed: sign in with it.")
    return await entered(web, visit, user)


async def sign_out(web: Web, visit: Visit) -> Answer:
    """``POST /sign-out``."""
    if visit.cookie:
        await web.sign_ins.end(visit.cookie)
    return to(SIGN_IN, web.site.set_cookie("signin", "", life=0))


def _hidden_code(visit: Visit) -> Html | None:
    code = code_of(visit)
    return tag("input", type="hidden", name="code", value=code) if code else None


async def _page(web: Web, visit: Visit, *, error: str = "", done: str = "", status: int = 200) -> Answer:
    body = page(
        "Sign in",
        notice(error, bad=True),
        notice(done),
        form(
            SIGN_IN,
            visit.form_token,
            _hidden_code(visit),
            field("User name", "user", autocomplete="username", autocapitalize="none", spellcheck="false"),
            field("Password", "password", type="password", autocomplete="current-password"),
            field("Code, if you have a second factor", "factor", autocomplete="one-time-code", required=False),
            button("Sign in"),
        ),
        passkey_form(
            "get",
            f"{SIGN_IN}/passkey",
            f"{SIGN_IN}/passkey/options",
            visit.form_token,
            _hidden_code(visit),
            text="Sign in with a passkey",
            quiet=True,
        )
        if web.passkeys is not None
        else None,
        await _providers(web, visit),
        cluster=web.site.cluster,
        script=True,
    )
    return Answer(body, status)


async def _providers(web: Web, visit: Visit) -> Html | None:
    """The ways to identity providers."""
    names, code = await web.sso.names(), code_of(visit)
    if not names:
        return None
    query = f"?code={code}" if code else ""
    links = [
        tag("a", f"Sign in by {each}", href=f"/sso/start/{each}{query}", class_="button quiet") for each in names
    ]
    return tag("div", *links, class_="stack")


def _change(web: Web, visit: Visit, *, error: str = "") -> Answer:
    body = page(
        "Choose a password",
        notice(error, bad=True),
        tag("p", "Your password was a one-time password. Choose your own."),
        form(
            f"{SIGN_IN}/password", visit.form_token, _hidden_code(visit), new_password_fields(), button("Continue")
        ),
        cluster=web.site.cluster,
    )
    return Answer(body, 403 if error else 200)


def failed(web: Web, error: InterlockError, status: int) -> Answer:
    """A page that says why not."""
    back = tag("p", tag("a", "To the start", href="/"))
    return Answer(
        page("That did not work", notice(error.public, bad=True), back, cluster=web.site.cluster), status
    )
