"""The proxy's host key: made on the first start, kept in a file that only we can read."""

import os
from collections.abc import Iterable
from pathlib import Path

import asyncssh

from interlock.core.errors import ConfigError


def load_host_key(path: Path) -> asyncssh.SSHKey:
    """Read the key, making it if there is none. ConfigError if the file cannot be used."""
    try:
        if not path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key.export_private_key("openssh"))
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise ConfigError(f"cannot use the host key {path}: {error}") from error


def parse_host_key(text: str) -> asyncssh.SSHKey:
    """Read a private key in OpenSSH's form. ConfigError if it is none."""
    try:
        return asyncssh.import_private_key(text)
    except asyncssh.KeyImportError as error:
        raise ConfigError("the stored host key is damaged: join again", reason=str(error)) from error


def public_data(line: str) -> bytes:
    """The wire form of a public key in one-line form."""
    return asyncssh.import_public_key(line).public_data


class HostAuthorities:
    """The host authorities that are trusted now, by the wire form of their keys."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._keys: frozenset[bytes] = frozenset()
        self.trust(lines)

    def trust(self, lines: Iterable[str]) -> None:
        """Trust these instead: public keys in one-line form."""
        self._keys = frozenset(map(public_data, lines))

    def __contains__(self, key: object) -> bool:
        return key in self._keys
