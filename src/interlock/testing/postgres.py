"""A PostgreSQL server of one's own, of the machine's packages: in a directory of its own, gone when it is stopped.

It listens on a UNIX socket and on a loopback port, as an unprivileged user (PostgreSQL refuses to be root). What
it stores is not for keeps: it does not wait for the disk.
"""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import Daemon, KitError, run

if TYPE_CHECKING:  # the driver takes half a second to import, and most tests do without
    from interlock.adapters.db.postgres import PostgresUrl

USER = "interlock"
PASSWORD = "correct-horse"  # over TCP; the socket's directory lets nobody else in

TEMPLATE = "migrated"
"""The database of a session of tests that is up to date, for copies."""

Place: TypeAlias = "Path | PostgresUrl"
"""What `open_database` opens."""

NewPlace = Callable[[str], Place]
"""Makes one, by the name of its kind: ``sqlite`` or ``postgres``."""

_ACCOUNTS = ("postgres", "nobody")
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "1h",  # nothing of these tests lives long
    "log_min_messages": "fatal",
    "listen_addresses": LOOPBACK,
}


def programs() -> Path | None:
    """The directory with ``initdb`` and ``postgres``, of the newest version there is; None if there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = [each.parent for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda path: int(path.parent.name), default=None)


class PostgresServer:
    """Started by the ``with`` block, or by `start`; it can be away for a while and come back."""

    def __init__(self, *, kept: Path | None = None, **settings: str) -> None:
        """``kept``: a directory to use and to leave, files and all. ``settings``: the server's, beside its own."""
        self._kept = kept
        self.port = free_port()
        self._settings = _SETTINGS | settings
        self._count = 0
        self._daemon: Daemon | None = None

    @cached_property
    def directory(self) -> Path:
        """Where all of it is; a short path, as its socket is there."""
        made = self._kept or Path(tempfile.mkdtemp(prefix="interlock-pg-"))
        made.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(made, *self._account)
        return made

    def allow(self, network: str) -> None:
        """Let others than this machine in, from addresses like 10.0.0.0/24, with the password; before `start`."""
        rules = self.directory / "hba.conf"
        others = "".join(f"host all all {each} scram-sha-256\n" for each in (f"{LOOPBACK}/32", network))
        rules.write_text(f"local all all trust\n{others}")
        rules.chmod(0o644)  # within a directory that is closed
        self._settings["hba_file"] = str(rules)

    def start(self) -> Self:
        """Make its files the first time; return when it answers."""
        if not (self.directory / "data").exists():
            self._make()
        words = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        argv = ["postgres", "-D", "data", "-p", str(self.port), "-k", str(self.directory), *words]
        daemon = Daemon(self._as_account(argv), log=self.directory / "server.log", name="postgres")
        self._daemon = daemon
        daemon.wait_until(self._answers, "answer of PostgreSQL")
        return self

    def stop(self, *, now: bool = False) -> None:
        """End it and all connections to it; ``now``: as a crash would. Its files stay."""
        if self._daemon is not None:
            self._daemon.signal(signal.SIGQUIT if now else signal.SIGINT)
            self._daemon.wait()
            self._daemon.stop()
            self._daemon = None

    @property
    def pid(self) -> int:
        """Of the process that is the server."""
        if self._daemon is None:
            msg = "PostgreSQL does not run"
            raise KitError(msg)
        return self._daemon.pid

    def url(self, name: str, *, tcp: bool = False) -> str:
        """Of a database; by TCP with the password in it."""
        if tcp:
            return f"postgresql://{USER}:{PASSWORD}@{LOOPBACK}:{self.port}/{name}"
        return f"postgresql://{USER}@/{name}?host={self.directory}&port={self.port}"

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The name of a new database, a copy of another one; dropped afterwards, whoever uses it."""
        self._count += 1
        name = f"db{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def place(self, name: str) -> "PostgresUrl":
        """A database as `open_database` takes it."""
        from interlock.adapters.db.postgres import PostgresUrl

        return PostgresUrl.parse(self.url(name))

    def execute(self, statement: str, *values: object, name: str = "postgres") -> list[Any]:
        """What one statement gives, on a connection of its own."""
        import psycopg

        with psycopg.connect(self.url(name), autocommit=True) as connection:
            found = connection.execute(statement, values or None)
            return found.fetchall() if found.description is not None else []

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        try:
            self.stop()
        finally:
            if self._kept is None:
                shutil.rmtree(self.directory, ignore_errors=True)

    def _make(self) -> None:
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # within a directory that is closed
        made = ["initdb", "-D", "data", "-U", USER, "--no-sync", "--no-instructions", "-E", "UTF8"]
        made += ["--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
        run(self._as_account(made), cwd=self.directory).check()

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.Error:
            return False
        return True

    @cached_property
    def _account(self) -> tuple[int, int]:
        for name in _ACCOUNTS:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return found.pw_uid, found.pw_gid
        msg = "PostgreSQL refuses to run as root, and there is no other account for it"
        raise KitError(msg)

    def _as_account(self, argv: list[str]) -> list[str]:
        found = programs()
        if found is None:
            msg = "PostgreSQL is not installed: run scripts/setup.sh --tools"
            raise KitError(msg)
        prefix = []
        if os.geteuid() == 0:
            user, group = self._account
            prefix = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        return ["env", "-C", str(self.directory), *prefix, str(found / argv[0]), *argv[1:]]
