"""What may stand in a certificate: keys, names, logins, addresses, permissions."""

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.core.ids import parse_login
from interlock.domain.access import Access
from interlock.domain.identity import parse_client

_PERMISSIONS: dict[str, Callable[[Access], bool]] = {
    "permit-X11-forwarding": lambda access: access.x11_forwarding,
    "permit-agent-forwarding": lambda access: access.agent_forwarding,
    "permit-port-forwarding": lambda access: access.local_forwarding or access.remote_forwarding,
    "permit-pty": lambda _: True,
    "permit-user-rc": lambda _: True,
}
_RSA_BITS = range(2048, 8193)  # shorter ones are breakable, longer ones are a way to burn our CPU (R17)
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


def certifiable(line: str) -> PublicKey:
    """A public key, one line, that may count for somebody; Denied if weak, malformed, or a certificate (R15)."""
    try:
        key = PublicKey.parse(line)
        parsed = load_ssh_public_key(key.line().encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Denied("this public key cannot be certified", reason=str(error)) from None
    if isinstance(parsed, RSAPublicKey) and parsed.key_size not in _RSA_BITS:
        public = f"RSA keys need {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits: use an Ed25519 key"
        raise Denied(public, reason=f"an RSA key of {parsed.key_size} bits")
    return key


def permissions(access: Access | None) -> tuple[tuple[str, str | None], ...]:
    """The extensions of OpenSSH that stand for permissions; without ``access`` all: our own servers ask policy."""
    return tuple((name, None) for name, allowed in _PERMISSIONS.items() if access is None or allowed(access))


def checked(parse: Callable[[str], str], text: str) -> str:
    """A name for a certificate, parsed; Denied instead of ValueError, because a peer may have chosen it."""
    try:
        return parse(text)
    except ValueError as error:
        raise Denied("that name cannot stand in a certificate", reason=str(error)) from None


def checked_client(address: str) -> str:
    """The claim about the person's address, checked; empty if there is nothing to say."""
    try:
        if address:
            parse_client(address)
    except ValueError as error:
        raise Denied("the address of your client is not known", reason=str(error)) from None
    return address


def checked_logins(logins: Iterable[str]) -> tuple[str, ...]:
    """Logins for a certificate, each once; Denied for what is none."""
    return unique(checked(parse_login, each) for each in logins)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """In their order, each once."""
    return tuple(dict.fromkeys(names))


def parse_host(text: str) -> str:
    """A host's name or IP address; no wildcards, which OpenSSH would honour; ValueError otherwise."""
    if _HOST_NAME.fullmatch(text):
        return text
    return str(ip_address(text))
