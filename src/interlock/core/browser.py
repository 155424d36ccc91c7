"""What ``ilsh`` and the proxy say to each other when a browser confirms a sign-in (PROTOCOL.md §2.10)."""

SUBMETHOD = "browser@interlock.dev"
"""Submethod of keyboard-interactive (RFC 4256 §3.1) by which a client asks for it at once."""

CHALLENGE = "Sign in with your browser"
"""Name of the challenge that asks nothing: its text has the address to open, and its answer is awaited."""

ANYBODY = "-browser"
"""SSH user name of somebody who is whoever the browser says. No person and no route can have it, for its dash."""


def address_in(text: str) -> str:
    """The address in a challenge's text; empty if there is none."""
    return next((word for word in text.split() if word.startswith(("https://", "http://"))), "")
