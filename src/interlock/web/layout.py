"""What every page looks like: one column, one stylesheet, labels at every field, a script only for passkeys."""

from interlock.web.html import Child, Html, join, tag

STYLE = "/static/style.css"
ICON = "/static/icon.svg"
SCRIPT = "/static/passkey.js"


def page(title: str, *children: Child, cluster: str = "", script: bool = False, refresh: str = "") -> bytes:
    """A whole document. ``script``: a passkey may be used on it. ``refresh``: where it leads by itself."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=f"0;url={refresh}") if refresh else None,
        tag("title", f"{title} · Interlock"),
        tag("link", rel="stylesheet", href=STYLE),
        tag("link", rel="icon", href=ICON),
        tag("script", src=SCRIPT, defer=True) if script else None,
    )
    body = tag(
        "body",
        tag(
            "main",
            tag("header", tag("span", "Interlock", class_="brand"), tag("span", cluster, class_="cluster")),
            tag("h1", title),
            *children,
        ),
    )
    return f"<!doctype html>{tag('html', head, body, lang='en')}".encode()


def form(action: str, token: str, *children: Child, **attributes: str | bool | None) -> Html:
    """A form that is posted here. ``token``: see `visit.Visit.form_token`."""
    hidden = tag("input", type="hidden", name="form", value=token)
    return tag("form", hidden, *children, method="post", action=action, **attributes)


def passkey_form(
    kind: str, action: str, options: str, token: str, *children: Child, text: str, quiet: bool = False
) -> Html:
    """A form that a passkey fills in. ``kind``: create or get. It is seen only where that can be done."""
    filled = form(
        action,
        token,
        *children,
        tag("input", type="hidden", name="credential"),
        button(text, quiet=quiet),
        tag("p", role="alert", class_="bad", hidden=True),
        data_passkey=kind,
        data_options=options,
    )
    return tag("div", filled, data_with_passkeys=True, hidden=True)


def field(label: str, name: str, **attributes: str | bool | None) -> Html:
    """An input with its label."""
    said = tag("span", label)
    return tag("label", said, tag("input", name=name, **({"required": True} | attributes)))


def new_password_fields() -> Html:
    """The two of a new password."""
    return join(
        field("New password", "new", type="password", autocomplete="new-password", minlength="12"),
        field("Repeat new password", "again", type="password", autocomplete="new-password", minlength="12"),
        tag("p", "At least 12 characters. Length counts; signs and digits are not asked for.", class_="hint"),
    )


def button(text: str, *, quiet: bool = False, **attributes: str | bool | None) -> Html:
    """What sends a form."""
    return tag("button", text, type="submit", class_="quiet" if quiet else None, **attributes)


def notice(text: str, *, bad: bool = False) -> Html | None:
    """Something to read first; nothing for an empty text."""
    if not text:
        return None
    return tag("p", text, role="alert" if bad else "status", class_="bad" if bad else "good")


def facts(*rows: tuple[str, str]) -> Html:
    """Names and values."""
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in rows), class_="facts")
