"""A whole cluster in a directory: gateway, node, agentless sshd, user. Started, used and stopped by the real CLIs.

What for: acceptance tests, the bench and the demo. Nothing here reaches into the program: everything goes through
``interlock``, ``ilctl``, ``ilsh`` and ``ssh``, as a person would do it. Loopback and free ports only.
"""

import contextlib
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from interlock.cli import admin
from interlock.core.errors import RecordingError
from interlock.domain.container import decode
from interlock.domain.recording import Output
from interlock.testing.openssh import Key, SshClient, Sshd, clean_env, current_login, make_key
from interlock.testing.ports import LOOPBACK, free_ports
from interlock.testing.procs import Completed, Daemon, poll_until, run
from interlock.testing.terminal import Terminal

Mode = Literal["node", "proxy"]
Road = Literal["route", "jump"]
PASSWORD = "correct horse battery staple"
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user: where ``ilsh`` keeps the certificate."""

    name: str
    home: Path
    profile: Path  # directory with id, id-cert.pub and known_hosts

    @property
    def key(self) -> Key:
        """The key pair whose certificate was issued."""
        return Key(self.profile / "id")

    @property
    def known_hosts(self) -> list[str]:
        """The lines that trust the host CA."""
        return (self.profile / "known_hosts").read_text().splitlines()


class Cluster:
    """Everything of one cluster; ``start`` returns when sessions can open, ``stop`` leaves nothing running."""

    user = "alice"
    node_name = "node1"
    agentless_name = "plain1"
    tunnel_name = "nat1"
    """A node that listens nowhere, dials out to the gateway, and reaches auth only through it."""
    our_names = (node_name, tunnel_name)
    targets: tuple[str, ...] = (*our_names, agentless_name)
    """Every kind of target: the same is true of each of them."""

    def __init__(
        self,
        directory: Path,
        *,
        mode: Mode = "proxy",
        with_node: bool = True,
        ciphers: Sequence[str] = (),
        name: str = "demo",
        programs: Path = BIN,
        workers: int | None = 1,
        monitored: bool = False,
        settings: str = "",
        node_settings: str = "",
        database: str = "",
    ) -> None:
        """``workers``: processes that serve the gateway's port; None: as many as it has by itself.

        ``settings``, ``node_settings``: further tables of the gateway's and the node's file.
        ``database``: its setting; by itself it is a file.
        ``monitored``: whether gateway and node tell of themselves at `monitor_port` and `node_monitor_port`.
        """
        self.name = name
        self.programs = programs
        """Where ``interlock``, ``ilctl`` and ``ilsh`` are, maybe those of another checkout."""
        self.directory = directory
        self.mode: Mode = mode
        self.login_name = current_login()
        self.data = directory / "gateway"
        self.host = LOOPBACK  # where people find the gateway
        self.auth_host = LOOPBACK
        self.port, self.auth_port, self.join_port, self.node_port = free_ports(4)
        self.with_node = with_node
        self.workers = workers
        self._database = f"database = {json.dumps(database)}\n" if database else ""
        self.monitor_port, self.node_monitor_port = free_ports(2) if monitored else (0, 0)
        self._settings, self._node_settings = settings, node_settings
        self._ciphers = list(ciphers)  # none: the gateway's own choice
        self.gateway_env: dict[str, str] = {}
        """What the gateway's environment has beside the others', from its next start on."""
        self.gateway_wrapper: list[str] = []
        """The program that starts it, and its arguments: one that becomes the gateway's process."""
        self._stack = ExitStack()
        self._config = directory / "gateway.toml"
        self.host_ca = directory / "host_ca.pub"

    # --- life ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start all of it and wait until every target is listed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config.write_text(self._gateway_config())
        try:
            self.gateway = self.start_gateway()
            self._stack.callback(self._stop_gateway)
            self.host_ca.write_text(self.admin("auth", "export", "--type", "host"))
            self._add_agentless()
            if self.with_node:
                self.node = self.start_node(join=True)
                self._stack.callback(self._stop_node)
                self.tunnel_node = self.start_tunnel_node(join=True)
                self._stack.callback(self._stop_tunnel_node)
            self._add_people()
            self.wait_listed()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, the node first."""
        self._stack.close()

    def _stop_gateway(self) -> None:
        self.gateway.stop()  # the current one: a test may have started it again

    def _stop_node(self) -> None:
        self.node.stop()

    def _stop_tunnel_node(self) -> None:
        self.tunnel_node.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_gateway(self) -> Daemon:
        """Start auth and proxy in one process; also again, after the first one was stopped."""
        argv = [*self.gateway_wrapper, *self._start("gateway"), "--roles", "auth,proxy", "-c", self._config]
        env = {**self.env(), **self.gateway_env}
        daemon = Daemon(argv, log=self.directory / "gateway.log", env=env, name="gateway")
        try:
            daemon.wait_port(self.host, self.port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_node(self, *, join: bool = False) -> Daemon:
        """Start our own node as a daemon of its own; ``join`` for its first start."""
        config = self.directory / "node.toml"
        config.write_text(self._node_config())
        argv = [*self._start("node"), "--roles", "node", "-c", config]
        if join:
            token = self.admin("tokens", "add").split()[-1]
            argv += ["--join", token, "--auth", f"{self.auth_host}:{self.join_port}"]
        daemon = Daemon(argv, log=self.directory / "node.log", env=self.env(), name="node")
        try:
            daemon.wait_port(self.host, self.node_port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_tunnel_node(self, *, join: bool = False) -> Daemon:
        """Start the node that dials out, and wait until it has; ``join`` for its first start."""
        config = self.directory / "tunnel.toml"
        config.write_text(self._tunnel_config())
        argv = [*self._start(self.tunnel_name), "--roles", "node", "-c", config]
        if join:
            token = self.admin("tokens", "add").split()[-1]
            argv += ["--join", token, "--proxy", f"{self.host}:{self.port}"]
        return self.start_outbound(argv, self.directory / "tunnel.log")

    def start_outbound(self, argv: Sequence[str | Path], log: Path) -> Daemon:
        """Start a node that dials out, and wait until its tunnel is up."""

        def ups() -> int:
            return log.read_text().count("tunnel.up") if log.exists() else 0

        before = ups()
        daemon = Daemon(argv, log=log, env=self.env(), name="tunnel node")
        try:
            daemon.wait_until(lambda: ups() > before, "tunnel")
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def _start(self, machine: str) -> list[str | Path]:
        """How a daemon is started there: all of these machines are this one."""
        del machine
        return [self.programs / "interlock", "start"]

    def is_ours(self, target: str) -> bool:
        """Whether our own server answers at this target."""
        return target in self.our_names

    def daemon_of(self, target: str) -> Daemon:
        """The process that answers there."""
        if target == self.agentless_name:
            return self.agentless.daemon
        return self.tunnel_node if target == self.tunnel_name else self.node

    def start_again(self, target: str) -> None:
        """Start one of our nodes that was stopped or killed; return when it can be reached."""
        if target == self.tunnel_name:
            self.tunnel_node = self.start_tunnel_node()
        else:
            self.node = self.start_node()
        self.wait_listed()

    def set_mode(self, mode: Mode) -> None:
        """Change where sessions that begin from now on are recorded."""
        if mode != self.mode:
            self.admin("mode", "set", mode)
            self.mode = mode

    def become_leaf_of(self, root: "Cluster", mapping: str, *options: str) -> None:
        """Trust another cluster: its people come here by its gateway, with the roles that ``mapping`` gives."""
        token = root.admin("tokens", "add", "--type", "cluster").split()[-1]
        where = ["--auth", f"{root.auth_host}:{root.join_port}", "--own-proxy", f"{self.host}:{self.port}"]
        self.admin("clusters", "trust", token, *where, "--map", mapping, *options)

    def wait_listed(self, within: float = 20.0) -> None:
        """Wait until the inventory has every target."""
        wanted = {self.agentless_name, *([self.node_name, self.tunnel_name] if self.with_node else [])}

        def listed() -> bool:
            return wanted <= {node["hostname"] for node in self.json("nodes", "ls")}

        poll_until(listed, f"nodes {wanted}", within)

    def _add_agentless(self) -> None:
        openssh_ca = self.admin("auth", "export", "--type", "openssh").splitlines()
        self.agentless = self._stack.enter_context(self._sshd(openssh_ca))
        key = self.agentless.host_key.path.with_name("host_key.pub")
        self.admin(
            "nodes",
            "add",
            self.agentless_name,
            "--addr",
            self.agentless.addr,
            "--labels",
            "env=test",
            "--host-key",
            key,
        )

    def _sshd(self, trusted_cas: Sequence[str]) -> Sshd:
        return Sshd(self.directory / "agentless", trusted_cas=trusted_cas)

    def _add_people(self) -> None:
        self.admin("roles", "add", "access", "--logins", self.login_name, "--labels", "env=test")
        self.add_user(self.user, "access")

    # --- the real CLIs ------------------------------------------------------------------------------------

    def env(self) -> dict[str, str]:
        """The environment of our programs."""
        return {**clean_env(), "INTERLOCK_DATA_DIR": str(self.data)}

    def ilctl(self, *arguments: str | Path) -> Completed:
        """Run an administrator's command; KitError if it fails."""
        return run([self.programs / "ilctl", *arguments], env=self.env()).check()

    def json(self, *arguments: str | Path) -> Any:
        """The JSON result of an administrator's listing."""
        return json.loads(self.admin(*arguments, "--format", "json"))

    def admin(self, *arguments: str | Path) -> str:
        """What an administrator's command prints; an error of ours if it fails.

        It runs in this process, as every cluster begins with half a dozen of them, and tests ask again and again
        until something has happened: starting Python would be most of the work, and most of what the machine does.
        """
        if self.programs != BIN:
            return self.ilctl(*arguments).stdout
        shown = io.StringIO()
        words = ["--data-dir", self.data, *arguments]
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):  # hints for people
            admin.app([str(word) for word in words], prog_name="ilctl", standalone_mode=False)
        return shown.getvalue()

    def events(self, sid: str) -> list[dict[str, Any]]:
        """All stored events of a session, oldest first."""
        found: list[dict[str, Any]] = self.json("events", "ls", "--sid", sid)
        return found

    def recording_text(self, sid: str) -> str:
        """A recording as plain text."""
        return self._exported(sid, "text")

    def wait_kept(self, sids: Iterable[str], text: str) -> None:
        """Return when a live session's output is on some disk: a kill -9 costs the last tenth of a second."""
        names = [f"{sid}.part" for sid in sids]
        parts = [path for name in names for path in self.directory.rglob(name)]
        poll_until(lambda: any(kept(part, text) for part in parts) or None, f"{text!r} in a part")

    def recording_header(self, sid: str) -> dict[str, Any]:
        """What a recording says of itself."""
        header: dict[str, Any] = json.loads(self._exported(sid, "json").splitlines()[0])
        return header

    def _exported(self, sid: str, form: str) -> str:
        out = self.directory / f"export-{sid}.{form}"
        self.admin("recordings", "export", sid, "--format", form, "--out", out)
        return out.read_text()

    def add_user(self, name: str, *roles: str) -> None:
        """Create a user with the kit's password."""
        secret = self.directory / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        self.admin("users", "add", name, "--roles", ",".join(roles), "--password-file", secret)

    def add_user_once(self, name: str, *roles: str) -> None:
        """The same, unless there is such a user already."""
        if name not in {user["name"] for user in self.json("users", "ls")}:
            self.add_user(name, *roles)

    def ilsh(
        self, home: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a user's command with ``home`` as the place of profiles."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        variables = {**clean_env(), "ILSH_HOME": str(home), "HOME": str(home), **(env or {})}
        return run([self.programs / "ilsh", *arguments], stdin=stdin, env=variables)

    def login(self, name: str = user, *, password: str = PASSWORD, options: Sequence[str] = ()) -> Person:
        """Sign a user in; KitError if that fails."""
        home = self.directory / f"home-{name}"
        self.try_login(home, name, password, options).check()
        profile = next(home.rglob("id-cert.pub")).parent
        return Person(name, home, profile)

    @cached_property
    def person(self) -> Person:
        """The cluster's user, signed in once."""
        return self.login()

    @cached_property
    def forwarder(self) -> Person:
        """Another user, whose role allows every kind of forward."""
        kinds = ("local", "remote", "x11", "agent")
        options = [word for kind in kinds for word in ("--option", f"{kind}_forwarding=yes")]
        self.admin("roles", "add", "forwards", "--logins", self.login_name, "--labels", "env=test", *options)
        self.add_user("frida", "forwards")
        return self.login("frida")

    def try_login(self, home: Path, name: str, password: str, options: Sequence[str] = ()) -> Completed:
        """Sign in without demanding success."""
        arguments = ["--proxy", f"{self.host}:{self.port}", "--user", name, "--host-ca", str(self.host_ca)]
        return self.ilsh(
            home, "login", *arguments, "--password-stdin", "--no-agent", *options, stdin=f"{password}\n".encode()
        )

    # --- the stock client ---------------------------------------------------------------------------------

    def client(self, name: str, person: Person, options: Mapping[str, str] | None = None) -> SshClient:
        """A stock ``ssh`` with the person's certificate, and nothing else of ours; a bare target is a jump."""
        gateway = f"Host gateway\n  HostName {self.host}\n  Port {self.port}\n  User {person.name}"
        jumps = f"Host {' '.join(self.targets)}\n  ProxyJump gateway"
        return SshClient(
            self.directory / f"client-{name}",
            keys=[person.key],
            known_hosts=person.known_hosts,
            options=options or {},
            blocks=[gateway, jumps],
        )

    def terminal(self, person: Person, *arguments: str) -> Terminal:
        """A stock ``ssh`` with these arguments in a terminal."""
        return Terminal(self.client("terminal", person).argv(*arguments), env=clean_env())

    def route(self, target: str, login: str = "") -> tuple[str, ...]:
        """Arguments for the fast road: ``login%target@gateway``."""
        return (f"{login or self.login_name}%{target}@gateway",)

    def jump(self, target: str, login: str = "") -> tuple[str, ...]:
        """Arguments for the jump: ``-J gateway login@target``."""
        return ("-J", "gateway", f"{login or self.login_name}@{target}")

    def place(self, target: str, road: Road) -> str:
        """The target as one word, for tools that take a host; needs the configuration of `client`."""
        return self.route(target)[0] if road == "route" else f"{self.login_name}@{target}"

    def direct(self) -> tuple[str, ...]:
        """Arguments that lead to the agentless server without any gateway, for comparison."""
        return ("-p", str(self.agentless.port), f"{self.login_name}@{self.agentless.host}")

    def direct_client(self) -> SshClient:
        """A client that the agentless server admits by itself."""
        path = self.directory / "direct_id"
        if not path.exists():
            self.agentless.authorize(make_key(path).public)
        known = [self.agentless.known_hosts_line()]
        return SshClient(self.directory / "client-direct", keys=[Key(path)], known_hosts=known)

    # --- configuration ------------------------------------------------------------------------------------

    def _gateway_config(self) -> str:
        workers = "" if self.workers is None else f"workers = {self.workers}"
        return f"""\
data_dir = "{self.data}"
cluster = "{self.name}"
recording_mode = "{self.mode}"
{self._database}{workers}

[auth]
listen = "{self.auth_host}:{self.auth_port}"
join_listen = "{self.auth_host}:{self.join_port}"

[proxy]
listen = "{self.host}:{self.port}"
ciphers = {json.dumps(self._ciphers)}
{self._monitor_config(self.monitor_port)}
{self._settings}
"""

    def _monitor_config(self, port: int) -> str:
        return f'\n[monitor]\nlisten = "{self.host}:{port}"\n' if port else ""

    def _tunnel_config(self) -> str:
        return self.outbound_config(self.tunnel_name, self.directory / "tunnel")

    def outbound_config(self, hostname: str, data: Path) -> str:
        """Of a node that dials out."""
        return f"""\
data_dir = "{data}"

[node]
hostname = "{hostname}"

[node.labels]
env = "test"
"""

    def _node_config(self) -> str:
        return f"""\
data_dir = "{self.directory / "node"}"

[node]
hostname = "{self.node_name}"
listen = "{self.host}:{self.node_port}"

[node.labels]
env = "test"
{self._monitor_config(self.node_monitor_port)}
{self._node_settings}
"""


def kept(part: Path, text: str) -> bool:
    """Whether a part has this output in its whole blocks."""
    output = b""
    with contextlib.suppress(RecordingError):  # the last block may be half written
        for frame in decode([part.read_bytes()]):
            if isinstance(frame.body, Output):
                output += frame.body.data
    return text.encode() in output
