"""The page at which somebody confirms a sign-in that waits at a terminal."""

from interlock.core.errors import Denied
from interlock.domain.browser import Confirmation, Purpose, Verdict
from interlock.services.signin.confirming import BY_PASSKEY
from interlock.web.html import Html, join, tag
from interlock.web.layout import button, facts, field, form, notice, page, passkey_form
from interlock.web.parts import SIGN_IN, Web, code_of, passkeys
from interlock.web.visit import Answer, Visit, data, to

WARNING = (
    "Confirm only what you have just begun yourself. If somebody sent you this address or code, refuse: "
    "they would be signed in as you."
)


CONFIRMED = "Confirmed. Go back to the terminal: it goes on by itself."


async def ask(web: Web, visit: Visit) -> Answer:
    """``GET /code``: for who has only the code."""
    code = code_of(visit)
    if code:
        return to(f"/c/{code}")
    wrong = "That is not a code." if visit.said("code") else ""
    return _ask(web, wrong)


async def show(web: Web, visit: Visit) -> Answer:
    """``GET /c/{code}``."""
    code = code_of(visit)
    if not code:
        return to("/code")
    waiting = await web.confirmations.look(code, source=visit.source)
    if waiting.purpose is Purpose.FACTOR:
        return _with_passkey(web, visit, code, waiting)
    if visit.signed_in is None:
        return to(f"{SIGN_IN}?code={code}")
    return _page(web, visit, code, waiting)


async def passkey_options(web: Web, visit: Visit) -> Answer:
    """``POST /c/{code}/passkey/options``."""
    waiting = await _factor(web, visit)
    return data(await passkeys(web).begin(visit.secret, source=visit.source, user=waiting.user))


async def passkey(web: Web, visit: Visit) -> Answer:
    """``POST /c/{code}/passkey``: the second factor of somebody whom the terminal knows; here nobody need be."""
    waiting = await _factor(web, visit)
    answer = visit.said("credential")
    device = await passkeys(web).confirm(waiting.user, visit.secret, answer, source=visit.source)
    await web.confirmations.decide(waiting, Verdict.CONFIRMED, by=device.user, method=BY_PASSKEY, device=device.id)
    return Answer(page("Confirmed", notice(CONFIRMED), cluster=web.site.cluster))


async def _factor(web: Web, visit: Visit) -> Confirmation:
    waiting = await web.confirmations.look(code_of(visit), source=visit.source)
    if waiting.purpose is not Purpose.FACTOR:
        raise Denied("this waits for somebody who is signed in", reason="a passkey where a sign-in is asked for")
    return waiting


async def decide(web: Web, visit: Visit) -> Answer:
    """``POST /c/{code}``."""
    code, here = code_of(visit), visit.signed_in
    if here is None or not code:
        return to(SIGN_IN)
    waiting = await web.confirmations.look(code, source=visit.source)
    verdict = Verdict.CONFIRMED if visit.said("verdict") == "confirm" else Verdict.REFUSED
    signed = here.sign_in
    await web.confirmations.decide(waiting, verdict, by=here.user, method=signed.method, device=signed.device)
    text = CONFIRMED if verdict is Verdict.CONFIRMED else "Refused. Nobody was signed in."
    return Answer(page("Sign-in at a terminal", notice(text), cluster=web.site.cluster))


def _ask(web: Web, error: str) -> Answer:
    code = field("Code", "code", autocomplete="off", autocapitalize="characters", spellcheck="false")
    sent = tag("form", code, button("Continue"), method="get", action="/code")
    said = "Your terminal shows a code of twelve letters and digits."
    return Answer(
        page("Sign-in at a terminal", notice(error, bad=True), tag("p", said), sent, cluster=web.site.cluster)
    )


def _page(web: Web, visit: Visit, code: str, waiting: Confirmation) -> Answer:
    name = visit.signed_in.user if visit.signed_in is not None else ""
    mine = not waiting.user or waiting.user == name
    other = f"This sign-in is for {waiting.user}, and you are signed in here as {name}: sign out first."
    body = page(
        "Sign in at a terminal?",
        None if mine else notice(other, bad=True),
        tag("p", code, class_="code"),
        _about(waiting, name),
        tag("p", "Compare the code with the one at your terminal. ", WARNING),
        _choices(visit, code) if mine else form("/sign-out", visit.form_token, button("Sign out", quiet=True)),
        cluster=web.site.cluster,
    )
    return Answer(body)


def _with_passkey(web: Web, visit: Visit, code: str, waiting: Confirmation) -> Answer:
    path = f"/c/{code}/passkey"
    body = page(
        "Confirm a connection?",
        tag("p", code, class_="code"),
        _about(waiting, waiting.user),
        tag("p", "Compare the code with the one at your terminal. ", WARNING),
        passkey_form("get", path, f"{path}/options", visit.form_token, text="Confirm with your passkey"),
        cluster=web.site.cluster,
        script=True,
    )
    return Answer(body)


def _about(waiting: Confirmation, name: str) -> Html:
    begun = waiting.created.strftime("%H:%M:%S UTC")
    return facts(("As", waiting.user or name), ("From", waiting.source), ("Begun", begun))


def _choices(visit: Visit, code: str) -> Html:
    def choice(text: str, verdict: str, *, quiet: bool) -> Html:
        hidden = tag("input", type="hidden", name="verdict", value=verdict)
        return form(f"/c/{code}", visit.form_token, hidden, button(text, quiet=quiet))

    return join(choice("Confirm", "confirm", quiet=False), choice("Refuse", "refuse", quiet=True))
