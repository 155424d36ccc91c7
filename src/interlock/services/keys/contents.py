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
from interlock.domain.bounds import Bounds, Permission
from interlock.domain.identity import parse_client

_PERMISSIONS: dict[Permission, Callable[[Access], bool]] = {
    Permission.X11: lambda access: access.x11_forwarding,
    Permission.AGENT: lambda access: access.agent_forwarding,
    Permission.PORTS: lambda access: access.local_forwarding or access.remote_forwarding,
    Permission.PTY: lambda access: access.pty,
    Permission.USER_RC: lambda access: access.user_rc,
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


def permissions(access: Access) -> tuple[tuple[str, str | None], ...]:
    """The extensions of OpenSSH that stand for permissions, for a plain sshd."""
    return tuple((each.extension, None) for each, allowed in _PERMISSIONS.items() if allowed(access))


def left_by(bounds: Bounds) -> tuple[tuple[str, str | None], ...]:
    """The same for our own servers, which ask policy: all but those withheld."""
    return tuple((each.extension, None) for each in Permission if each not in bounds.withheld)


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
