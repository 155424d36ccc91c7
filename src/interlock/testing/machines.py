"""A cluster of several machines, as far as one can show it: auth and proxies as daemons of their own, on loopback.

Everything that is true of a `Cluster` is true of this one: it is the same kit with the gateway in pieces.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from interlock.testing.gateway import Cluster, Mode, Person
from interlock.testing.netns import Network
from interlock.testing.openssh import Sshd
from interlock.testing.ports import free_ports
from interlock.testing.procs import Daemon, KitError, poll_until


class Machines(Cluster):
    """``proxies``: how many. People come to the first one, unless `through` says otherwise."""

    def __init__(
        self,
        directory: Path,
        *,
        mode: Mode = "proxy",
        proxies: int = 1,
        with_node: bool = True,
        database: str = "",
        auths: int = 1,
        settings: str = "",
    ) -> None:
        """``auths``: how many; several need a ``database`` that they share. ``settings``: of each auth."""
        super().__init__(directory, mode=mode, with_node=with_node, database=database, settings=settings)
        self.auth_hosts = [self.auth_host] * auths
        self.hosts = [self.host] * proxies
        self.auth_ports = [self.auth_port, *free_ports(auths - 1)]
        self.other_auths: list[Daemon] = []
        self.ports = [self.port, *free_ports(proxies - 1)]
        self.peer_ports = free_ports(proxies)
        self.proxies: list[Daemon] = []

    def start_gateway(self) -> Daemon:
        """Start auth, then the proxies; the daemon is auth."""
        auth = self.start_auth()
        try:
            for number in range(1, len(self.auth_ports)):
                self.other_auths.append(self.start_other_auth(number))
                self._stack.callback(self._stop_other_auth, number - 1)
            for number in range(len(self.ports)):
                self.proxies.append(self.start_proxy(number, join=True))
                self._stack.callback(self._stop_proxy, number)
        except BaseException:
            auth.stop()
            raise
        return auth

    def start_auth(self) -> Daemon:
        """Start auth; also again."""
        argv = [*self._start("auth0"), "--roles", "auth", "-c", self._config]
        daemon = Daemon(argv, log=self.directory / "gateway.log", env=self.env(), name="auth")
        try:
            daemon.wait_port(self.auth_host, self.auth_port)
            daemon.wait_port(self.auth_host, self.join_port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_other_auth(self, number: int) -> Daemon:
        """Start one more auth on the same database; also again."""
        config = self.directory / f"auth{number}.toml"
        data = f'data_dir = "{self.directory / f"auth{number}"}"'
        port, host, first = self.auth_ports[number], self.auth_hosts[number], self.auth_host
        text = self._gateway_config().replace(f'data_dir = "{self.data}"', data)
        text = text.replace(f'listen = "{first}:{self.auth_port}"', f'listen = "{host}:{port}"', 1)
        config.write_text(text.replace(f'join_listen = "{first}:{self.join_port}', f'join_listen = "{host}:0'))
        argv = [*self._start(f"auth{number}"), "--roles", "auth", "-c", config]
        daemon = Daemon(argv, log=self.directory / f"auth{number}.log", env=self.env(), name=f"auth {number}")
        try:
            daemon.wait_port(host, port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_proxy(self, number: int, *, join: bool = False) -> Daemon:
        """Start one of the proxies, also again; ``join`` for its first start."""
        config = self.directory / f"proxy{number}.toml"
        config.write_text(self._proxy_config(number))
        argv = [*self._start(f"proxy{number}"), "--roles", "proxy", "-c", config]
        if join:
            token = self.admin("tokens", "add", "--type", "proxy").split()[-1]
            argv += ["--join", token, "--auth", f"{self.auth_host}:{self.join_port}"]
        daemon = Daemon(argv, log=self.directory / f"proxy{number}.log", env=self.env(), name=f"proxy {number}")
        try:
            daemon.wait_port(self.hosts[number], self.ports[number])
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def add_proxy(self, *, beside: int) -> None:
        """Start one more, on the port of one that there is."""
        number = len(self.ports)
        self.ports.append(self.ports[beside])
        self.hosts.append(self.hosts[beside])
        self.peer_ports += free_ports(1)
        self.proxies.append(self.start_proxy(number, join=True))
        log = self.directory / f"proxy{number}.log"
        poll_until(lambda: "interlock.ready" in log.read_text(), "one more proxy")  # its port answers before

    def remove_last_proxy(self) -> None:
        """Stop the one that was added last, and forget it."""
        self.proxies.pop().stop()
        self.ports.pop()
        self.hosts.pop()
        self.peer_ports.pop()

    def start(self) -> Self:
        """The same, and wait until the proxies know each other."""
        super().start()
        poll_until(lambda: all(proxy["lives"] for proxy in self.json("proxies", "ls")), "proxies")
        return self

    def set_mode(self, mode: Mode | Literal["proxy-sync"]) -> None:
        """Also a sync mode, and for a person of whom no proxy keeps an answer of auth that is older."""
        self.admin("mode", "set", mode)
        self.mode = "node" if mode == "node" else "proxy"
        self.__dict__["person"] = poll_until(self._signed_in, "sign-in, maybe behind an absence of auth")

    def _signed_in(self) -> Person | None:
        with contextlib.suppress(KitError):
            return self.login()
        return None

    def through(self, number: int) -> None:
        """People come to this proxy from now on."""
        self.host, self.port = self.hosts[number], self.ports[number]

    def _gateway_config(self) -> str:
        listen = f'listen = "{self.auth_host}:{self.auth_port}"'
        every = ",".join(map("{}:{}".format, self.auth_hosts, self.auth_ports))
        said = f'{listen}\nadvertise = "{every}"' if len(self.auth_ports) > 1 else listen
        return super()._gateway_config().replace(listen, said, 1)

    def _stop_other_auth(self, number: int) -> None:
        self.other_auths[number].stop()

    def _stop_proxy(self, number: int) -> None:
        self.proxies[number].stop()  # the current one: a test may have started it again

    def _proxy_config(self, number: int) -> str:
        return f"""\
data_dir = "{self.directory / f"proxy{number}"}"

[proxy]
listen = "{self.hosts[number]}:{self.ports[number]}"
peer_listen = "{self.hosts[number]}:{self.peer_ports[number]}"
share_port = true
"""


class Separated(Machines):
    """Two auths, two proxies, a node that dials out and a plain sshd, each in a network of its own (`netns`).

    PostgreSQL and the storage are on this machine. The node dials the first proxy.
    """

    names = ("auth0", "auth1", "proxy0", "proxy1", Cluster.tunnel_name, Cluster.agentless_name)
    targets: tuple[str, ...] = (Cluster.tunnel_name, Cluster.agentless_name)

    def __init__(self, directory: Path, network: Network, *, database: str, settings: str) -> None:
        super().__init__(directory, proxies=2, auths=2, with_node=False, database=database, settings=settings)
        self._network = network
        self.auth_hosts = [network.address("auth0"), network.address("auth1")]
        self.hosts = [network.address("proxy0"), network.address("proxy1")]
        self.auth_host, self.host = self.auth_hosts[0], self.hosts[0]

    def start(self) -> Self:
        """The same, with the node."""
        super().start()
        try:
            self.tunnel_node = self.start_tunnel_node(join=True)
            self._stack.callback(self._stop_tunnel_node)
            poll_until(lambda: len(self.json("nodes", "ls")) == len(self.targets), "targets")
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, machine: str) -> list[str | Path]:
        return [*self._network.on(machine), *super()._start(machine)]

    def _sshd(self, trusted_cas: Sequence[str]) -> Sshd:
        name = self.agentless_name
        return Sshd(
            self.directory / "agentless",
            trusted_cas=trusted_cas,
            host=self._network.address(name),
            on=self._network.on(name),
        )
