"""What providers' claims mean here: nothing that a rule does not say."""

import pytest

from interlock.domain.sso import (
    Connector,
    Rule,
    check_connector,
    check_endpoint,
    check_issuer,
    parse_trait,
)

RULES = (Rule("groups", "staff", ("dev",)), Rule("groups", "*", ("guest",)), Rule("vip", "true", ("admin",)))
GOOD = Connector("company", "https://id.example", "us", RULES, traits={"team": "groups"})


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({}, ()),
        ({"groups": []}, ()),
        ({"groups": ["staff"]}, ("dev", "guest")),
        ({"groups": "staff"}, ("dev", "guest")),
        ({"groups": ["staffs", "Staff"]}, ("guest",)),
        ({"groups": "staff,others"}, ("guest",)),
        ({"groups": {"staff": True}}, ()),
        ({"groups": [["staff"]]}, ()),
        ({"groups": None, "vip": True}, ("admin",)),
        ({"vip": "true"}, ("admin",)),
        ({"vip": 1}, ()),
        ({"Groups": ["staff"]}, ()),
    ],
)
def test_roles_are_what_the_rules_say(claims: dict[str, object], roles: tuple[str, ...]) -> None:
    """Values are compared as a whole, of one or of a list; anything else fits no rule."""
    assert GOOD.roles_of(claims) == roles


@pytest.mark.parametrize("text", ["groups=staff:dev", "groups=a:b=c:dev,ops", "urn:x=*:dev"])
def test_rules_are_read_as_they_are_written(text: str) -> None:
    """A value may have colons and equals signs."""
    assert str(Rule.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "groups", "groups=staff", "groups=staff:", "=x:dev", "a=:dev", "a=b:d v", "a=\n:dev"]
)
def test_rules_that_are_none(text: str) -> None:
    """Told to whoever writes them."""
    with pytest.raises(ValueError, match="not a"):
        Rule.parse(text)


def test_traits_are_filled_by_claims() -> None:
    """With what can be a trait's value."""
    assert GOOD.traits_of({"groups": ["b", "a", "\n", "x" * 200, ""]}) == {"team": ("a", "b")}
    assert GOOD.traits_of({}) == {}
    assert parse_trait("team=urn:groups") == ("team", "urn:groups")
    for text in ("team", "=x", "a b=x", "team="):
        with pytest.raises(ValueError, match="not a trait"):
            parse_trait(text)


@pytest.mark.parametrize(
    "issuer",
    ["http://id.example", "https://", "ftp://id.example", "https://u@id.example", "https://id.example?x", ""],
)
def test_issuers_that_are_not_safe(issuer: str) -> None:
    """TLS, or this machine."""
    with pytest.raises(ValueError, match="https://"):
        check_issuer(issuer)


def test_addresses_are_as_safe_as_the_issuer() -> None:
    """No provider on the network sends us to this machine's own ports in clear."""
    here = "http://127.0.0.1:3000"
    assert check_issuer(here) == here
    assert check_endpoint(f"{here}/token", here)
    for url in ("http://id.example/token", f"{here}/token", "https://u@id.example/", "https:///x", "file:///etc"):
        with pytest.raises(ValueError, match="not safe"):
            check_endpoint(url, "https://id.example")


@pytest.mark.parametrize(
    "wrong",
    [
        Connector("a b", "https://id.example", "us", ()),
        Connector("a", "https://id.example", "", ()),
        Connector("a", "https://id.example", "us", RULES * 30),
        Connector("a", "https://id.example", "us", (), scopes=("profile",)),
        Connector("a", "https://id.example", "us", (), scopes=("openid", "a b")),
    ],
)
def test_connectors_that_cannot_be_used(wrong: Connector) -> None:
    """Refused before they are stored."""
    assert check_connector(GOOD) is GOOD
    with pytest.raises(ValueError, match=r".+"):
        check_connector(wrong)
