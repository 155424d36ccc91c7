"""Identity providers (OIDC): who they are to us, and what their claims about somebody mean here.

Somebody is known by issuer and subject, and by nothing else that a provider says: names and addresses of e-mail
change hands there. What is mapped to no role gives none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from interlock.core.ids import parse_name
from interlock.domain.traits import MAX_TRAITS, MAX_VALUE, MAX_VALUES, NAME, Traits

MAX_RULES = 64
"""Rules of one connector."""

MAX_CLAIM = 256
"""Characters of a claim's name or value in a rule; what a provider says may be longer, and then fits no rule."""

ANY = "*"
"""In a rule: whatever the value."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

Claims = Mapping[str, object]
"""What a provider says of somebody, verified."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Whoever has this claim with this value has these roles."""

    claim: str
    value: str
    roles: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """``claim=value:role,role``; ValueError otherwise. The value may have colons, as roles have none."""
        left, colon, right = text.rpartition(":")
        claim, equals, value = left.partition("=")
        roles = tuple(parse_name(each.strip()) for each in right.split(",")) if right.strip() else ()
        if (
            not (colon and equals and claim and value and roles)
            or len(left) > 2 * MAX_CLAIM
            or not left.isprintable()
        ):
            msg = f"not a rule: {text[:64]!r}; write claim=value:role,role"
            raise ValueError(msg)
        return cls(claim, value, roles)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.claim}={self.value}:{','.join(self.roles)}"


@dataclass(frozen=True, slots=True)
class Connector:
    """One provider, as an administrator has said."""

    name: str
    issuer: str
    client_id: str
    rules: tuple[Rule, ...]
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    user_claim: str = "preferred_username"  # what somebody new is called here
    traits: Mapping[str, str] = field(default_factory=dict)  # by name: the claim that fills it

    def roles_of(self, claims: Claims) -> tuple[str, ...]:
        """The roles that the rules give, sorted; none if none fits."""
        found: set[str] = set()
        for rule in self.rules:
            said = _values(claims.get(rule.claim))
            if rule.value in said or (rule.value == ANY and said):
                found.update(rule.roles)
        return tuple(sorted(found))

    def traits_of(self, claims: Claims) -> Traits:
        """What roles' templates are filled with; values that cannot be a trait's are left out."""
        filled = {}
        for trait, claim in self.traits.items():
            values = [
                each for each in _values(claims.get(claim)) if each.isprintable() and 0 < len(each) <= MAX_VALUE
            ]
            if values:
                filled[trait] = tuple(sorted(values)[:MAX_VALUES])
        return filled

    def name_of(self, claims: Claims) -> str:
        """What somebody new is called; ValueError if the claim is no name, or an address that nobody verified."""
        value = claims.get(self.user_claim)
        if self.user_claim == "email" and claims.get("email_verified") is not True:
            msg = "the provider has not verified the address"
            raise ValueError(msg)
        if not isinstance(value, str):
            msg = f"there is no claim {self.user_claim}"
            raise ValueError(msg)  # noqa: TRY004 - whoever calls reads what was said, not how it was typed
        return parse_name(value)


def check_issuer(issuer: str) -> str:
    """The issuer; ValueError unless it is reached by TLS, or on this machine."""
    url = urlsplit(issuer)
    plain = url.scheme == "http" and url.hostname in LOOPBACK
    if not (url.scheme == "https" or plain) or not url.hostname or url.query or url.fragment or "@" in url.netloc:
        msg = f"the issuer must be an address that begins with https://, not {issuer[:100]!r}"
        raise ValueError(msg)
    return issuer


def check_endpoint(url: str, issuer: str) -> str:
    """An address that a provider names; ValueError unless it is as safe to ask as the issuer itself."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK and urlsplit(issuer).scheme == "http"
    if not (parts.scheme == "https" or plain) or not parts.hostname or parts.fragment or "@" in parts.netloc:
        msg = f"the provider names an address that is not safe: {url[:100]!r}"
        raise ValueError(msg)
    return url


def parse_trait(text: str) -> tuple[str, str]:
    """``trait=claim``; ValueError."""
    trait, equals, claim = text.partition("=")
    if not equals or not re.fullmatch(NAME, trait) or not 0 < len(claim) <= MAX_CLAIM or not claim.isprintable():
        msg = f"not a trait: {text[:64]!r}; write trait=claim"
        raise ValueError(msg)
    return trait, claim


def check_connector(connector: Connector) -> Connector:
    """The connector; ValueError if it cannot be used."""
    parse_name(connector.name)
    check_issuer(connector.issuer)
    if not connector.client_id or not connector.client_id.isprintable():
        msg = "there is no client ID"
        raise ValueError(msg)
    if len(connector.rules) > MAX_RULES or len(connector.traits) > MAX_TRAITS:
        msg = f"a connector has at most {MAX_RULES} rules and {MAX_TRAITS} traits"
        raise ValueError(msg)
    if "openid" not in connector.scopes or not all(
        re.fullmatch(r"[!#-\[\]-~]{1,64}", each) for each in connector.scopes
    ):
        msg = "the scopes must have openid, and none with spaces"
        raise ValueError(msg)
    return connector


def _values(said: object) -> set[str]:
    """A claim's values as text: of one, or of a list."""
    each = said if isinstance(said, list) else [said]
    return {
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in each
        if isinstance(value, (str, bool, int))
    }
