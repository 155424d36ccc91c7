"""The page at which somebody who is signed in proves their second factor, before they change what proves them.

Whoever came by an identity provider, or before there was a second factor, has shown none. Without this a stolen
account at the provider would be enough to put another device in the place of its owner's.
"""

from interlock.core.errors import Locked, SignInFailed
from interlock.web.account import signed_in
from interlock.web.html import tag
from interlock.web.layout import button, field, form, notice, page, passkey_form
from interlock.web.parts import ACCOUNT, PROVE, Web, enter, passkeys
from interlock.web.visit import Answer, Visit, data, to


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /account/prove``."""
    return _page(web, visit)


async def code(web: Web, visit: Visit) -> Answer:
    """``POST /account/prove``: by a code."""
    typed = visit.said("factor").strip()
    if not typed:
        return _page(web, visit)
    try:
        found = await web.passwords.confirm(signed_in(visit).user, typed, source=visit.source)
    except (SignInFailed, Locked) as error:
        return _page(web, visit, error=error.public)
    return await _proved(web, visit, found.device) if found.device else _page(web, visit)


async def passkey_options(web: Web, visit: Visit) -> Answer:
    """``POST /account/prove/passkey/options``."""
    return data(await passkeys(web).begin(visit.secret, source=visit.source, user=signed_in(visit).user))


async def passkey(web: Web, visit: Visit) -> Answer:
    """``POST /account/prove/passkey``."""
    user, answer = signed_in(visit).user, visit.said("credential")
    try:
        device = await passkeys(web).confirm(user, visit.secret, answer, source=visit.source)
    except (SignInFailed, Locked) as error:
        return _page(web, visit, error=error.public)
    return await _proved(web, visit, device.id)


async def _proved(web: Web, visit: Visit, device: str) -> Answer:
    here = signed_in(visit)
    return to(ACCOUNT, await enter(web, visit, here.user, method=here.sign_in.method, device=device))


def _page(web: Web, visit: Visit, *, error: str = "") -> Answer:
    body = page(
        "Your second factor",
        notice(error[:1].upper() + error[1:], bad=True),
        tag("p", "To change what proves you, prove what you have."),
        form(
            PROVE,
            visit.form_token,
            field("Code of your authenticator, or a recovery code", "factor", autocomplete="one-time-code"),
            button("Continue"),
        ),
        passkey_form("get", f"{PROVE}/passkey", f"{PROVE}/passkey/options", visit.form_token, text="Use a passkey")
        if web.passkeys is not None
        else None,
        cluster=web.site.cluster,
        script=True,
    )
    return Answer(body, 403 if error else 200)
