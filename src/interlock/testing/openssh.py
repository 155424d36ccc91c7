"""The real OpenSSH: keys and certificates by ``ssh-keygen``, an ``sshd`` of our own, and an isolated ``ssh``.

The server needs no privileges: it runs as whoever runs the tests and admits that login only (root may be it too).
Unprivileged, it can give terminals only where /dev/pts belongs to the group tty, as every distribution mounts it.
The client reads nothing of the person's own ``~/.ssh`` and talks to no key agent. Not for measuring security:
``StrictModes`` is off, because the directories of tests lie below world-writable ones.
"""

import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import Completed, Daemon, KitError, run

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)


def current_login() -> str:
    """The OS account that runs the tests, which is the only one that an unprivileged server admits."""
    return pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair in files, and its certificate if one was issued."""

    path: Path

    @property
    def public(self) -> str:
        """The public key in one line, without the line end."""
        return self.path.with_name(self.path.name + ".pub").read_text().strip()

    @property
    def certificate(self) -> Path:
        """Where ``ssh`` looks for this key's certificate."""
        return self.path.with_name(self.path.name + "-cert.pub")


def make_key(path: Path, *, kind: str = "ed25519", comment: str = "test") -> Key:
    """A new key pair without passphrase."""
    run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", path]).check()
    return Key(path)


def sign_user(
    ca: Key, key: Key, *, principals: Sequence[str], identity: str = "test", validity: str = "-1m:+1h"
) -> Path:
    """Certify ``key`` for ``principals``, beside the key itself; returns the certificate's path."""
    return _sign(ca, key, ["-I", identity, "-n", ",".join(principals), "-V", validity])


def sign_host(ca: Key, key: Key, *, principals: Sequence[str], validity: str = "-1m:+1h") -> Path:
    """Certify a host key."""
    return _sign(ca, key, ["-h", "-I", "host", "-n", ",".join(principals), "-V", validity])


def _sign(ca: Key, key: Key, options: Sequence[str]) -> Path:
    run(["ssh-keygen", "-q", "-s", ca.path, *options, key.path.with_name(key.path.name + ".pub")]).check()
    return key.certificate


class Sshd:
    """An ``sshd`` on a free loopback port. ``trusted_cas`` and ``authorized_keys`` are public key lines.

    ``options`` are more lines of ``sshd_config``, which win over the defaults below.
    """

    def __init__(
        self,
        directory: Path,
        *,
        trusted_cas: Sequence[str] = (),
        authorized_keys: Sequence[str] = (),
        options: Sequence[str] = (),
        port: int | None = None,
        host: str = LOOPBACK,
        on: Sequence[str] = (),
    ) -> None:
        """``on``: what to put before its command."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.host = host
        self._on = on
        self.port = port or free_port()
        self.login = current_login()
        key = directory / "host_key"
        self.host_key = Key(key) if key.exists() else make_key(key, comment="sshd")
        self._trust("trusted_cas", trusted_cas)
        self._trust("authorized_keys", authorized_keys)
        self._config = directory / "sshd_config"
        self._config.write_text("\n".join([*options, *self._defaults()]) + "\n")
        self._daemon: Daemon | None = None

    @property
    def addr(self) -> str:
        """Address and port."""
        return f"{self.host}:{self.port}"

    @property
    def daemon(self) -> Daemon:
        """The running server process; KitError before `start`."""
        if self._daemon is None:
            msg = "sshd is not running"
            raise KitError(msg)
        return self._daemon

    def start(self) -> Self:
        """Start and wait until it answers."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's privilege separation directory
        argv = [*self._on, sshd_path(), "-D", "-e", "-f", str(self._config)]
        self._daemon = Daemon(argv, log=self.directory / "sshd.log", name="sshd")
        self._daemon.wait_port(self.host, self.port)
        return self

    def stop(self) -> None:
        """Stop the server and the sessions it serves."""
        if self._daemon is not None:
            self._daemon.stop()
            self._daemon = None

    def known_hosts_line(self, *names: str) -> str:
        """The line of ``known_hosts`` for this server, under its address or under ``names``."""
        return f"{','.join(names) or f'[{self.host}]:{self.port}'} {self.host_key.public}"

    def trust_cas(self, *lines: str) -> None:
        """Replace the CAs whose user certificates are accepted; sshd reads the file at each login."""
        self._trust("trusted_cas", lines)

    def authorize(self, *lines: str) -> None:
        """Replace the public keys that are admitted without a certificate."""
        self._trust("authorized_keys", lines)

    def replace_host_key(self) -> None:
        """Restart with another host key, as a re-installed or an impostor's machine would have."""
        self.stop()
        for path in (self.host_key.path, self.host_key.path.with_name("host_key.pub")):
            path.unlink()
        make_key(self.host_key.path, comment="sshd")
        self.start()

    def _trust(self, name: str, lines: Sequence[str]) -> None:
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))

    def _defaults(self) -> list[str]:
        sftp = next((path for path in SFTP_SERVERS if Path(path).exists()), "internal-sftp")
        return [
            f"ListenAddress {self.host}:{self.port}",
            f"HostKey {self.host_key.path}",
            f"PidFile {self.directory}/sshd.pid",
            f"TrustedUserCAKeys {self.directory}/trusted_cas",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            "UsePAM no",
            "X11Forwarding yes",
            f"SetEnv XAUTHORITY={self.directory}/xauthority",  # not into the login's own file
            "StrictModes no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UseDNS no",
            "PrintMotd no",
            "PrintLastLog no",
            "MaxStartups 200:30:400",
            "MaxSessions 100",
            "AcceptEnv LANG LC_*",
            f"Subsystem sftp {sftp}",
        ]

    def __enter__(self) -> Self:
        return self.start() if self._daemon is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def sshd_path() -> str:
    """The server's absolute path, without which it refuses to re-execute itself; KitError if not installed."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        msg = "sshd is not installed: run `make setup`"
        raise KitError(msg)
    return found


@dataclass(slots=True)
class SshClient:
    """``ssh`` and its relatives with a configuration of their own, which ``-J`` hands on to the jump.

    ``options`` are written into the configuration for every host, ``blocks`` (complete ``Host`` blocks) before
    them, so that the blocks win.
    """

    directory: Path
    keys: Sequence[Key] = ()
    known_hosts: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    blocks: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Write the configuration."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.write()

    @property
    def config(self) -> Path:
        """The generated ``ssh_config``."""
        return self.directory / "ssh_config"

    def write(self) -> None:
        """Write the configuration again after a change of the fields; an ``ssh`` that just starts reads either."""
        known = self.directory / "known_hosts"
        _replace(known, "".join(f"{line}\n" for line in self.known_hosts))
        settings = {
            **self.options,
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": self.options.get("IdentityAgent", "none"),
            "BatchMode": self.options.get("BatchMode", "yes"),
            "ConnectTimeout": "20",
        }
        lines = [*self.blocks, "Host *"]
        lines += [f"  {name} {value}" for name, value in settings.items()]
        for key in self.keys:
            lines.append(f"  IdentityFile {key.path}")
            if key.certificate.exists():
                lines.append(f"  CertificateFile {key.certificate}")
        if not self.keys:
            lines.append("  IdentityFile none")
        _replace(self.config, "\n".join(lines) + "\n")

    def argv(self, *arguments: str, program: str = "ssh") -> list[str]:
        """The command line of ``ssh``, ``scp`` or ``sftp``."""
        return [program, "-F", str(self.config), *arguments]

    def run(self, *arguments: str, stdin: bytes = b"", timeout: float = 60.0, program: str = "ssh") -> Completed:
        """Run ``ssh`` (or ``program``) with these arguments to its end."""
        return run(self.argv(*arguments, program=program), stdin=stdin, env=clean_env(), timeout=timeout)

    def env(self) -> dict[str, str]:
        """The environment for programs that call ssh themselves: rsync and git."""
        return {**clean_env(), "RSYNC_RSH": f"ssh -F {self.config}", "GIT_SSH_COMMAND": f"ssh -F {self.config}"}


def clean_env() -> dict[str, str]:
    """The environment without a key agent, and with a fixed language, for readable messages."""
    hidden = {"SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_SESSION_ID", "DISPLAY", "PYTHONDONTWRITEBYTECODE"}
    env = {name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("LC_")}
    return {**env, "LANG": "C", "TERM": "xterm-256color"}


def _replace(path: Path, text: str) -> None:
    """Whoever reads the file finds all of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
