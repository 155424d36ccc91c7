"""The page of whoever is signed in: who that is, and what proves it."""

import io
from base64 import b32decode, b32encode
from collections.abc import Sequence

from interlock.core.errors import Denied
from interlock.domain.factor import Device, DeviceKind
from interlock.services.signin.browsing import SignedIn
from interlock.services.signin.signin import SignInResult
from interlock.web.html import Html, drawn_svg, join, tag
from interlock.web.layout import button, facts, field, form, new_password_fields, notice, page, passkey_form
from interlock.web.parts import ACCOUNT, PROVE, SIGN_IN, Web, enter, passkeys
from interlock.web.visit import Answer, Visit, data, to

TOTP_SECRET = 20
"""Bytes of an authenticator's secret, as RFC 4226 §4 recommends."""

_DONE = {
    "password": "Your password was changed.",
    "added": "The device was added.",
    "removed": "The device was removed.",
}
_KINDS = {DeviceKind.TOTP: "authenticator", DeviceKind.PASSKEY: "passkey"}


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /account``."""
    return await _page(web, visit, done=_DONE.get(visit.said("done"), ""))


async def change_password(web: Web, visit: Visit) -> Answer:
    """``POST /account/password``: the old one is asked for, since somebody may have left the browser alone."""
    here = signed_in(visit)
    judged = await web.passwords.check(
        here.user, visit.said("old"), source=visit.source, code=visit.said("factor")
    )
    if (judged.result is SignInResult.NEEDS_CODE or judged.careful) and not here.fresh:
        return await _page(web, visit, error="Type the code of your second factor as well.")
    try:
        await web.links.change_password(here.user, visit.said("new"), visit.said("again"), source=visit.source)
    except Denied as error:
        return await _page(web, visit, error=error.public)
    cookie = await enter(web, visit, here.user, method=here.sign_in.method, device=here.sign_in.device)
    return to(f"{ACCOUNT}?done=password", cookie)


async def passkey_options(web: Web, visit: Visit) -> Answer:
    """``POST /account/passkey/options``."""
    return data(await passkeys(web).begin_new(signed_in(visit).user, visit.secret, source=visit.source))


async def add_passkey(web: Web, visit: Visit) -> Answer:
    """``POST /account/passkey``."""
    name, answer = visit.said("name"), visit.said("credential")
    device = await passkeys(web).add(signed_in(visit).user, visit.secret, answer, name, source=visit.source)
    return await _added(web, visit, device)


async def new_totp(web: Web, visit: Visit) -> Answer:
    """``GET /account/authenticator``: a secret for an app that shows codes. Not stored yet."""
    return _totp(web, visit, _new_secret(web))


def _new_secret(web: Web) -> str:
    return b32encode(web.entropy.token(TOTP_SECRET)).decode()


async def add_totp(web: Web, visit: Visit) -> Answer:
    """``POST /account/authenticator``."""
    text, user = visit.said("secret"), signed_in(visit).user
    try:
        secret = b32decode(text)
    except ValueError:
        secret = b""
    if len(secret) != TOTP_SECRET:  # not what we have shown, and not to be drawn, however long it is
        return _totp(web, visit, _new_secret(web), error="that is not an authenticator's secret")
    try:
        device = await web.factors.add_totp(
            user, visit.said("name"), secret, visit.said("shown"), source=visit.source
        )
    except Denied as error:
        return _totp(web, visit, text, error=error.public)
    return await _added(web, visit, device)


async def _added(web: Web, visit: Visit, device: Device) -> Answer:
    """Whoever has added their first device has just proved that they have it."""
    here = signed_in(visit)
    cookies: tuple[str, ...] = ()
    if not here.sign_in.device:
        cookies = (await enter(web, visit, here.user, method=here.sign_in.method, device=device.id),)
    return to(f"{ACCOUNT}?done=added", *cookies)


async def proven(web: Web, visit: Visit) -> bool:
    """Whether somebody has signed in with a second factor, or has none."""
    here = signed_in(visit)
    return bool(here.sign_in.device) or not await web.factors.of(here.user)


async def remove_device(web: Web, visit: Visit) -> Answer:
    """``POST /account/devices/{device}``."""
    await web.factors.remove(signed_in(visit).user, visit.parameters["device"], source=visit.source)
    return to(f"{ACCOUNT}?done=removed")


async def recovery_codes(web: Web, visit: Visit) -> Answer:
    """``POST /account/recovery-codes``: shown once, in the place of those before."""
    codes = await web.factors.new_recovery_codes(signed_in(visit).user, source=visit.source)
    body = page(
        "Recovery codes",
        tag("p", "Each is good once, in the place of a second factor. Keep them where nobody finds them."),
        tag("ul", *(tag("li", tag("code", each)) for each in codes), class_="codes"),
        tag("a", "Done", href=ACCOUNT, class_="button"),
        cluster=web.site.cluster,
    )
    return Answer(body)


def signed_in(visit: Visit) -> SignedIn:
    """Who is there; Denied if nobody is, whatever the table of routes says."""
    if visit.signed_in is None:
        raise Denied("sign in first")
    return visit.signed_in


async def _page(web: Web, visit: Visit, *, error: str = "", done: str = "") -> Answer:
    token, here = visit.form_token, signed_in(visit)
    devices = await web.factors.of(here.user)
    body = page(
        "Your account",
        notice(error, bad=True),
        notice(done),
        facts(
            ("User", here.user), ("Roles", ", ".join(here.account.roles) or "none"), ("Cluster", web.site.cluster)
        ),
        await _devices(web, visit, devices),
        _password(visit, with_code=bool(devices)) if here.account.password_hash is not None else None,
        tag("section", form("/sign-out", token, button("Sign out", quiet=True))),
        cluster=web.site.cluster,
        script=True,
    )
    return Answer(body, 403 if error else 200)


async def _devices(web: Web, visit: Visit, devices: Sequence[Device]) -> Html:
    rows = [_device(visit, each) for each in devices]
    listed = tag("ul", *rows, class_="devices") if rows else tag("p", "You have none yet.", class_="hint")
    return tag("section", tag("h2", "Passkeys and second factors"), listed, await _more(web, visit, bool(devices)))


def _device(visit: Visit, device: Device) -> Html:
    said = join(tag("strong", device.name), f" · {_KINDS[device.kind]}, since {device.added:%Y-%m-%d}")
    changes = signed_in(visit).fresh and signed_in(visit).sign_in.device
    remove = form(
        f"{ACCOUNT}/devices/{device.id}",
        visit.form_token,
        button("Remove", quiet=True, aria_label=f"Remove {device.name}"),
    )
    return tag("li", tag("span", said, class_="name"), remove if changes else None)


async def _more(web: Web, visit: Visit, has_some: bool) -> Html:
    """What may be changed by somebody who proved who they are a moment ago; for others the way to do so."""
    if not signed_in(visit).fresh:
        return tag("a", "Sign in again to change them", href=f"{SIGN_IN}?again=1", class_="button quiet")
    if has_some and not signed_in(visit).sign_in.device:
        return tag("a", "Prove your second factor to change them", href=PROVE, class_="button quiet")
    left = await web.factors.recovery_codes_left(signed_in(visit).user) if has_some else 0
    codes = f"New recovery codes ({left} left)" if left else "Recovery codes"
    return join(
        passkey_form(
            "create",
            f"{ACCOUNT}/passkey",
            f"{ACCOUNT}/passkey/options",
            visit.form_token,
            field("Name of the new passkey", "name", maxlength="64", placeholder="for example: phone"),
            text="Add a passkey",
        )
        if web.passkeys is not None
        else None,
        tag("p", tag("a", "Add an authenticator app", href=f"{ACCOUNT}/authenticator", class_="button quiet")),
        form(f"{ACCOUNT}/recovery-codes", visit.form_token, button(codes, quiet=True)) if has_some else None,
    )


def _password(visit: Visit, *, with_code: bool) -> Html:
    return tag(
        "section",
        tag("h2", "Password"),
        form(
            f"{ACCOUNT}/password",
            visit.form_token,
            field("Current password", "old", type="password", autocomplete="current-password"),
            field("Code of your second factor", "factor", autocomplete="one-time-code", required=False)
            if with_code
            else None,
            new_password_fields(),
            button("Change password"),
        ),
    )


def _totp(web: Web, visit: Visit, secret: str, *, error: str = "") -> Answer:
    """The QR code is drawn by us: the secret goes to no other page."""
    import segno

    user = signed_in(visit).user
    label = f"Interlock%20{web.site.cluster}:{user}"
    drawn = io.BytesIO()
    segno.make(f"otpauth://totp/{label}?secret={secret}&issuer=Interlock", error="m").save(
        drawn, kind="svg", xmldecl=False, svgns=False, scale=5, border=3, dark="#000", light="#fff", omitsize=True
    )
    body = page(
        "Add an authenticator app",
        notice(error, bad=True),
        tag("p", "Scan this with your app, or type the key into it. Then type the code that it shows."),
        tag("div", drawn_svg(drawn.getvalue()), class_="qr"),
        facts(("Key", " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)))),
        form(
            f"{ACCOUNT}/authenticator",
            visit.form_token,
            tag("input", type="hidden", name="secret", value=secret),
            field("Name", "name", value="Authenticator", maxlength="64"),
            field("Code", "shown", inputmode="numeric", autocomplete="one-time-code"),
            button("Add"),
        ),
        tag("p", tag("a", "Back", href=ACCOUNT)),
        cluster=web.site.cluster,
    )
    return Answer(body, 403 if error else 200)
