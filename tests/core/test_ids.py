"""Identifiers: what parses may be trusted everywhere below, so little parses."""

import pytest

from interlock.core.ids import parse_login, parse_name, parse_session_id

UUID = "0a1b2c3d-4e5f-4a6b-8c7d-0123456789ab"


@pytest.mark.parametrize("raw", [UUID, UUID.upper(), UUID.encode(), UUID.upper().encode()])
def test_a_session_id_becomes_canonical(raw: str | bytes) -> None:
    """Text or the 36 raw bytes, in either case, give one lower-case ID."""
    assert parse_session_id(raw) == UUID


@pytest.mark.parametrize(
    "raw",
    [
        "",
        b"",
        UUID[:-1],
        UUID + "0",
        UUID + "\n",
        " " + UUID,
        UUID.replace("-", ""),
        "{" + UUID + "}",
        "urn:uuid:" + UUID,
        UUID.replace("a", "g"),
        UUID.replace("0", "\u0660"),  # a digit, but no ASCII one
        UUID.encode() + b"\x00",
        b"\x00\x00\x00\x24" + UUID.encode(),  # with a length, as a string would have
        b"\xff" * 36,
        "../../../../../../../../etc/passwd..",
    ],
)
def test_what_is_no_uuid_is_no_session_id(raw: str | bytes) -> None:
    """Other spellings of a UUID are refused as well: one session has one ID, byte for byte."""
    with pytest.raises(ValueError, match="not a session ID"):
        parse_session_id(raw)


def test_the_error_quotes_little_of_what_came() -> None:
    """A long forgery does not fill the log."""
    with pytest.raises(ValueError, match="not a session ID") as caught:
        parse_session_id("\x1b]0;owned\x07" + "x" * 100_000)
    assert len(str(caught.value)) < 150
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "alice", "alice@example.com", "node-1.lan", "_x", "0", "a" * 128])
def test_names(name: str) -> None:
    """Users, roles and nodes."""
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-oProxyCommand=x", ".", "@", "a,b", "a b", "a\n", "a\x00", "ä", "a" * 129, "a;b", "$(x)", "a/b"]
)
def test_what_is_no_name(name: str) -> None:
    """Names become principals and arguments of ssh (R14, R26)."""
    with pytest.raises(ValueError, match="not a valid name"):
        parse_name(name)


@pytest.mark.parametrize("login", ["root", "svc$", "a.b-c_d", "0day", "_apt", "x" * 64])
def test_logins(login: str) -> None:
    """OS accounts, Samba's machine accounts among them."""
    assert parse_login(login) == login


@pytest.mark.parametrize("login", ["", "-l", "a b", "a,b", "a$b", "$", "a@b", "root\n", "x" * 65, "a%b", "a+b"])
def test_what_is_no_login(login: str) -> None:
    """Nothing that a shell, a certificate or a route reads as something else."""
    with pytest.raises(ValueError, match="not a valid login"):
        parse_login(login)
