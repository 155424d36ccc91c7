"""Identifiers and their parsers. An identifier that was parsed here may be trusted everywhere below."""

import re
from typing import NewType

SessionId = NewType("SessionId", str)
"""A gateway session's ID: a canonical lower-case UUID of 36 characters."""

DaemonId = NewType("DaemonId", str)
"""The UUID of a daemon or target: proxy, node, or registered agentless node."""

DeviceId = NewType("DeviceId", str)
"""The UUID of a second-factor device."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?")


def parse_session_id(raw: str | bytes) -> SessionId:
    """The session ID that a peer reported, as 36 raw bytes or text; ValueError if it is not a UUID."""
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    if not _UUID.fullmatch(text.lower()):
        msg = f"not a session ID: {text[:64]!r}"
        raise ValueError(msg)
    return SessionId(text.lower())


def parse_name(text: str) -> str:
    """A user, role or node name: letters, digits and ``_ . @ -``, at most 128; ValueError otherwise.

    Commas, white space, control characters and a leading dash are refused here, because names
    become certificate principals and arguments of ``ssh`` (requirements R14 and R26).
    """
    if not _NAME.fullmatch(text):
        msg = f"not a valid name: {text[:64]!r}"
        raise ValueError(msg)
    return text


def parse_login(text: str) -> str:
    """An OS account name as POSIX and useradd allow it; ValueError otherwise."""
    if not _LOGIN.fullmatch(text):
        msg = f"not a valid login: {text[:64]!r}"
        raise ValueError(msg)
    return text
