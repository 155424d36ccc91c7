"""Keys of people's own that count without a certificate: how they are enrolled, and who shows one.

A line is read as in ``authorized_keys``. A restriction is honoured or refused, never dropped (R6). What a key
withholds is withheld from what roles allow; options that would give something are not taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied, NotFound
from interlock.domain.audit import JsonValue, rfc3339
from interlock.domain.bounds import Bounds, Permission, check_command
from interlock.domain.factor import EnrolledKey
from interlock.domain.identity import CLOCK_SKEW, Claims, Identity
from interlock.domain.traits import filled
from interlock.ports import Clock, KeySource, KeyStore, RequestStore, RoleSource, UserSource
from interlock.ports.sso import VouchedStore
from interlock.services.access.requests import usable_by
from interlock.services.keys.contents import certifiable
from interlock.services.signin.factors import check_label

LIFE = timedelta(hours=30)
"""For as long a connection by an enrolled key counts as one by a certificate made when it began."""

MAX_KEYS = 50
"""Keys of one user."""

MAX_LINE = 16 * 1024

FROM, VERIFIED, COMMAND = "from", "verify-required", "command"
"""The options that are kept: networks; that a security key has to have verified its person (PIN, finger); and what
runs in place of what is asked for. The others are `WITHHELD`."""

WITHHELD: Mapping[str, Permission] = {f"no-{each.value}": each for each in Permission}
"""And those that withhold something, as they are kept."""

_PERMISSIONS = {name.lower(): each for name, each in WITHHELD.items()}
_GIVEN_BACK = {each.value.lower(): each for each in Permission}

_OPTION = re.compile(r'([A-Za-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?')
_EXPIRY = re.compile(r"([0-9]{8})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?Z?")
_ALGORITHM = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+")
_REFUSED: Mapping[str, str] = {
    "no-touch-required": "a security key always has to be touched here",
    "cert-authority": "only the gateway's own authority vouches for people",
    "principals": "only the gateway's own authority vouches for people",
    "permitopen": "say no-port-forwarding, or let the roles say who forwards",
    "permitlisten": "say no-port-forwarding, or let the roles say who forwards",
    "tunnel": "tunnel forwarding is not available through this gateway",
    "environment": "environments are the nodes' to allow",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of ``authorized_keys``, taken apart and checked."""

    key: PublicKey
    comment: str
    options: tuple[tuple[str, str], ...] = ()
    expires: datetime | None = None


def parse_line(text: str) -> Line:
    """Read one line; Denied, in words, for a key that will not do or an option that is not honoured."""
    text = text.strip()
    if "PRIVATE KEY" in text[:MAX_LINE]:
        raise Denied("this is a private key: give its public half, the file that ends in .pub")
    if len(text) > MAX_LINE or "\n" in text or "\0" in text:
        raise Denied("give one line, with one public key")
    options, rest = _split(text)
    parts = rest.split(maxsplit=2)
    if len(parts) < 2:
        raise Denied("this is no public key in OpenSSH's one-line form")
    key = certifiable(" ".join(parts[:2]))
    kept: dict[str, str] = {}
    withheld, others = _withheld(options)
    expires: datetime | None = None
    for name, value in others:
        if name in kept or (name == "expiry-time" and expires is not None):
            raise Denied(f"the option {name} is given twice")
        match name:
            case "from":
                kept[FROM] = _networks(value)
            case "expiry-time":
                expires = _expiry(value)
            case "verify-required":
                kept[VERIFIED] = _verified(key)
            case "command":
                kept[COMMAND] = _command(value)
            case _:
                why = _REFUSED.get(name, "leave it out: roles say what may be done")
                raise Denied(f"the option {name[:32]} cannot be honoured: {why}")
    comment = parts[2].strip() if len(parts) > 2 else ""
    kept |= {name: "" for name, each in WITHHELD.items() if each in withheld}
    return Line(key, comment if comment.isprintable() else "", tuple(kept.items()), expires)


class Enrolment:
    """Enrols keys, and says whose one is."""

    def __init__(self, keys: KeyStore, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def add(self, user: str, line: str, *, name: str = "", expires: datetime | None = None) -> EnrolledKey:
        """Enrol a key; Denied if it will not do, if somebody has it, or if its name is taken."""
        parsed, now = parse_line(line), self._clock.now()
        ends = [each for each in (parsed.expires, expires) if each is not None]
        if ends and min(ends) <= now:
            raise Denied("this key has expired already")
        label = check_label(name or parsed.comment[:64].strip() or parsed.key.fingerprint[:23])
        if len(await self._keys.keys_of(user)) >= MAX_KEYS:
            raise Denied(f"nobody can enrol more than {MAX_KEYS} keys: remove one first")
        key = EnrolledKey(parsed.key.blob, user, label, now, min(ends) if ends else None, parsed.options)
        if not await self._keys.enrol_key(key):
            raise Denied("this key is enrolled already, or there is one of that name: choose another one")
        return key

    async def remove(self, user: str, wanted: str) -> EnrolledKey:
        """Remove a key, by name or fingerprint; NotFound."""
        for key in await self._keys.keys_of(user):
            if wanted in (key.name, fingerprint_of(key)):
                await self._keys.remove_key(user, key.blob)
                return key
        raise NotFound(f"{user} has enrolled no key {wanted[:64]}")

    async def of(self, user: str) -> list[EnrolledKey]:
        """The user's keys."""
        return await self._keys.keys_of(user)


class EnrolledKeys:
    """`ports.KeyReader`: whose a plain key is, as a certificate would say it."""

    def __init__(
        self,
        *,
        keys: KeySource,
        users: UserSource,
        roles: RoleSource,
        cluster: str,
        clock: Clock,
        vouched: VouchedStore | None = None,
        requests: RequestStore | None = None,
    ) -> None:
        """``vouched``: whose accounts are an identity provider's; None: nobody's. ``requests``: for access."""
        self._vouched = vouched
        self._requests = requests
        self._keys = keys
        self._users = users
        self._roles = roles
        self._cluster = cluster
        self._clock = clock

    async def claims(self, blob: bytes) -> Claims:
        """What a key in wire form stands for now; NotFound if nobody has enrolled it, Denied if it has expired.

        It proves nothing before something was signed with it (R12).
        """
        key = await self._keys.enrolled_key(blob)
        now = self._clock.now()
        if key.expires is not None and key.expires <= now:
            raise Denied("your key has expired here: run ilsh login", reason=f"key {key.name} of {key.user}")
        account = await self._users.user(key.user)
        if self._vouched is not None and await self._vouched.is_vouched(account):
            public = "it is your identity provider that lets you in, and no key alone: run ilsh login"
            raise Denied(public, reason=f"key {key.name} of {key.user}, who is an identity provider's")
        approved = [] if self._requests is None else await usable_by(self._requests, key.user, now)
        names = tuple(dict.fromkeys((*account.roles, *(name for each in approved for name in each.roles))))
        roles = filled(await self._roles.roles(names), account.traits)
        options = dict(key.options)
        if not set(options) <= {FROM, VERIFIED, COMMAND, *WITHHELD}:
            raise Denied("your key was not accepted", reason=f"key {key.name} of {key.user}: {options}")
        networks = tuple(filter(None, options.get(FROM, "").split(",")))
        if not networks and any(role.options.pin_source_ip for role in roles):
            public = (
                "your roles bind you to an address, and this key to none: run ilsh login, or enrol it with from="
            )
            raise Denied(public, reason=f"key {key.name} of {key.user} has no from, and its roles pin_source_ip")
        said = [role.options.max_certificate_ttl for role in roles]
        ends = [now + LIFE, *(now + timedelta(seconds=each) for each in said if each is not None)]
        logins = tuple(sorted({login for role in roles for login in role.logins}))
        return Claims(
            identity=Identity(
                key.user,
                names,
                self._cluster,
                keys=(fingerprint_of(key),),
                requests=tuple(each.id for each in approved),
            ),
            logins=logins,
            valid_after=now - CLOCK_SKEW,
            valid_before=min(*ends, key.expires or now + LIFE, *(each.deadline for each in approved)),
            serial=int.from_bytes(sha256(blob).digest()[:8], "big"),
            source_networks=networks,
            certificate=blob,
            enrolled=True,
            verified=VERIFIED in options,
            bounds=Bounds.of(options.get(COMMAND), (WITHHELD[name] for name in options if name in WITHHELD)),
        )


def is_plain_key(shown: bytes) -> bool:
    """Whether this is a key in wire form, and no certificate."""
    try:
        PublicKey.from_blob(shown)
    except ValueError:
        return False
    return True


def fingerprint_of(key: EnrolledKey) -> str:
    """As ssh-keygen -l shows it."""
    return PublicKey.from_blob(key.blob).fingerprint


def key_facts(key: EnrolledKey) -> dict[str, JsonValue]:
    """For events and lists."""
    facts: dict[str, JsonValue] = {
        "name": key.name,
        "fingerprint": fingerprint_of(key),
        "options": [f"{name}={value}" if value else name for name, value in key.options],
    }
    return facts | ({"expires": rfc3339(key.expires)} if key.expires is not None else {})


def _split(text: str) -> tuple[list[tuple[str, str]], str]:
    """Options and the rest, sshd(8): options stand in front, separated by commas, without spaces but in quotes."""
    if _ALGORITHM.match(text.split(maxsplit=1)[0] if text else ""):
        return [], text
    options: list[tuple[str, str]] = []
    at = 0
    while match := _OPTION.match(text, at):
        options.append((match[1].lower(), re.sub(r'\\"', '"', match[2] or "")))
        at = match.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at : at + 1] not in (" ", "\t"):
        raise Denied("the options before this key cannot be read")
    return options, text[at:].strip()


def _withheld(options: list[tuple[str, str]]) -> tuple[set[Permission], list[tuple[str, str]]]:
    """What they withhold and give back, one after another as sshd reads them, and those about something else."""
    withheld: set[Permission] = set()
    others = []
    for name, value in options:
        if name == "restrict":
            withheld |= set(Permission)
        elif name in _PERMISSIONS:
            withheld.add(_PERMISSIONS[name])
        elif name in _GIVEN_BACK:
            withheld.discard(_GIVEN_BACK[name])
        else:
            others.append((name, value))
    return withheld, others


def _networks(value: str) -> str:
    try:
        return ",".join(str(ip_network(each.strip(), strict=False)) for each in value.split(","))
    except ValueError:
        public = (
            "the option from takes addresses and networks here (192.0.2.7, 10.0.0.0/8), no names and no patterns"
        )
        raise Denied(public) from None


def _verified(key: PublicKey) -> str:
    if not key.on_hardware:
        raise Denied("the option verify-required is for keys on hardware: this is none")
    return ""


def _command(value: str) -> str:
    try:
        return check_command(value)
    except ValueError:
        raise Denied("the option command has nothing in it that could be run") from None


def _expiry(value: str) -> datetime:
    """sshd(8): YYYYMMDD[HHMM[SS]][Z]; ours is UTC either way, and says so."""
    match = _EXPIRY.fullmatch(value)
    digits = "".join(each or "00" for each in match.groups()[:4]) if match is not None else ""
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise Denied("the option expiry-time is YYYYMMDD[HHMM[SS]], in UTC") from None
