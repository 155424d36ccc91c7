"""The page at which somebody confirms a sign-in that waits at a terminal."""

from interlock.domain.browser import Confirmation, Verdict
from interlock.web.html import Html, join, tag
from interlock.web.layout import button, facts, field, form, notice, page
from interlock.web.parts import SIGN_IN, Web, code_of
from interlock.web.visit import Answer, Visit, to

WARNING = (
    "Confirm only what you have just begun yourself. If somebody sent you this address or code, refuse: "
    "they would be signed in as you."
)


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
    if visit.signed_in is None:
        return to(f"{SIGN_IN}?code={code}")
    waiting = await web.confirmations.look(code, source=visit.source)
    return _page(web, visit, code, waiting)


async def decide(web: Web, visit: Visit) -> Answer:
    """``POST /c/{code}``."""
    code, here = code_of(visit), visit.signed_in
    if here is None or not code:
        return to(SIGN_IN)
    waiting = await web.confirmations.look(code, source=visit.source)
    verdict = Verdict.CONFIRMED if visit.said("verdict") == "confirm" else Verdict.REFUSED
    signed = here.sign_in
    await web.confirmations.decide(waiting, verdict, by=here.user, method=signed.method, device=signed.device)
    text = (
        "Confirmed. Go back to the terminal: it goes on by itself."
        if verdict is Verdict.CONFIRMED
        else "Refused. Nobody was signed in."
    )
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
        facts(
            ("As", waiting.user or name),
            ("From", waiting.source),
            ("Begun", waiting.created.strftime("%H:%M:%S UTC")),
        ),
        tag("p", "Compare the code with the one at your terminal. ", WARNING),
        _choices(visit, code) if mine else form("/sign-out", visit.form_token, button("Sign out", quiet=True)),
        cluster=web.site.cluster,
    )
    return Answer(body)


def _choices(visit: Visit, code: str) -> Html:
    def choice(text: str, verdict: str, *, quiet: bool) -> Html:
        hidden = tag("input", type="hidden", name="verdict", value=verdict)
        return form(f"/c/{code}", visit.form_token, hidden, button(text, quiet=quiet))

    return join(choice("Confirm", "confirm", quiet=False), choice("Refuse", "refuse", quiet=True))
