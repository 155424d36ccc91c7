"""Where ``ilsh`` keeps what a login brought: one directory per gateway below ``~/.interlock`` (or ``ILSH_HOME``).

::

    current                    name of the directory that commands without --proxy use
    <host>_<port>/id           private key, 0600; id.pub, id-cert.pub beside it as ssh expects
    <host>_<port>/known_hosts  @cert-authority lines of the host CA; kept at logout, so that trust outlives it
    <host>_<port>/profile.json

Everything is 0600 in directories of 0700, and written by rename, so that no reader sees half a file.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from interlock.core.address import format_address, parse_address
from interlock.core.errors import ConfigError, SignInFailed
from interlock.core.ids import parse_login, parse_name

DEFAULT_PORT = 3023
"""The gateway's SSH port when the address names none."""

_NOT_LOGGED_IN = "you are not logged in: run ilsh login"


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """A gateway's address, parsed: its host can be an argument of ssh and a file name (R26)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``HOST``, ``HOST:PORT``, ``IPV6`` or ``[IPV6]:PORT``; ValueError otherwise."""
        return cls(*parse_address(text, default_port=DEFAULT_PORT))

    @property
    def directory(self) -> str:
        """The name of its directory; no host name has an underscore followed by digits at its end."""
        return f"{self.host}_{self.port}"

    def __str__(self) -> str:
        """As `parse` reads it."""
        return format_address(self.host, self.port)


class Profile(msgspec.Struct, frozen=True):
    """What is known of a login; written by ``ilsh login``."""

    host: str
    port: int
    user: str
    cluster: str
    roles: list[str]
    logins: list[str]
    valid_until: datetime
    way: str = ""  # how: browser, or sso; empty: by password

    @property
    def address(self) -> ProxyAddress:
        """The gateway's address."""
        return ProxyAddress(self.host, self.port)

    def checked(self) -> Self:
        """Itself; ConfigError if a name in it could not have come from our gateway (R26)."""
        try:
            ProxyAddress.parse(str(self.address))
            for name in (self.user, self.cluster, *self.roles):
                parse_name(name)
            for login in self.logins:
                parse_login(login)
        except ValueError as error:
            raise ConfigError(
                f"the profile of {self.host} is damaged: run ilsh login", reason=str(error)
            ) from None
        return self


@dataclass(frozen=True, slots=True)
class Login:
    """A profile and the paths of its files."""

    profile: Profile
    directory: Path

    @property
    def key(self) -> Path:
        """The private key."""
        return self.directory / "id"

    @property
    def certificate(self) -> Path:
        """The certificate of the key."""
        return self.directory / "id-cert.pub"

    @property
    def known_hosts(self) -> Path:
        """The host CA."""
        return self.directory / "known_hosts"

    def identity(self) -> tuple[str, str]:
        """Private key and certificate as text; SignInFailed if they are gone."""
        try:
            return self.key.read_text(), self.certificate.read_text()
        except (OSError, ValueError) as error:
            raise SignInFailed(_NOT_LOGGED_IN, reason=str(error)) from None


class Home:
    """All profiles of a person on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def default(cls) -> Self:
        """``ILSH_HOME`` or ``~/.interlock``."""
        return cls(Path(os.environ.get("ILSH_HOME") or Path.home() / ".interlock"))

    def load(self, proxy: ProxyAddress | None) -> Login:
        """The login at ``proxy``, or at the gateway of the last login; SignInFailed if there is none."""
        directory = self._path / (proxy.directory if proxy else self._current())
        try:
            profile = msgspec.json.decode((directory / "profile.json").read_bytes(), type=Profile)
        except FileNotFoundError:
            raise SignInFailed(_NOT_LOGGED_IN) from None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"the profile in {directory} cannot be read", reason=str(error)) from None
        return Login(profile.checked(), directory)

    def load_valid(self, proxy: ProxyAddress | None, *, now: datetime) -> Login:
        """The same; SignInFailed also when the certificate has expired."""
        login = self.load(proxy)
        if now >= login.profile.valid_until:
            raise SignInFailed("your certificate has expired: run ilsh login")
        return login

    def host_ca(self, proxy: ProxyAddress) -> list[str]:
        """The host CA that an earlier login stored: public key lines."""
        try:
            return trusted_lines((self._path / proxy.directory / "known_hosts").read_text())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise ConfigError(f"the stored host CA of {proxy} cannot be read", reason=str(error)) from None

    def save(
        self, profile: Profile, *, private: str, public: str, certificate: str, host_ca: Sequence[str]
    ) -> Login:
        """Store a login and make it the current one; ConfigError if that fails."""
        login = Login(profile.checked(), self._path / profile.address.directory)
        try:
            for directory in (self._path, login.directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_key(login.key, private=private, public=public, certificate=certificate)
            write_private(login.known_hosts, known_hosts(host_ca))
            write_private(login.directory / "profile.json", msgspec.json.encode(profile).decode() + "\n")
            write_private(self._path / "current", profile.address.directory + "\n")
        except OSError as error:
            raise ConfigError(f"cannot write to {login.directory}: {error.strerror}", reason=str(error)) from None
        return login

    def remove(self, login: Login) -> None:
        """Delete a login's secrets; what says whom to trust stays."""
        for name in ("id", "id.pub", "id-cert.pub", "profile.json"):
            (login.directory / name).unlink(missing_ok=True)
        if self._current() == login.directory.name:
            (self._path / "current").unlink(missing_ok=True)

    def _current(self) -> str:
        try:
            name = (self._path / "current").read_text().strip()
        except OSError:
            return "-"
        return name if name and "/" not in name and not name.startswith(".") else "-"


def write_key(path: Path, *, private: str, public: str, certificate: str) -> None:
    """Write a key pair and its certificate under the names that ssh looks for."""
    write_private(path, private)
    write_private(path.with_name(f"{path.name}.pub"), public + "\n")
    write_private(path.with_name(f"{path.name}-cert.pub"), certificate + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file by one of mode 0600 at once."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def known_hosts(host_ca: Sequence[str]) -> str:
    """A known_hosts file that trusts these authorities for every host behind the gateway, and the gateway."""
    return "".join(f"@cert-authority * {line}\n" for line in host_ca)


def trusted_lines(text: str) -> list[str]:
    """Public key lines of a host CA file: bare, or as known_hosts has them."""
    lines = (line.strip() for line in text.splitlines())
    return [
        line.split(maxsplit=2)[2] if line.startswith("@cert-authority ") else line
        for line in lines
        if line and not line.startswith("#")
    ]
