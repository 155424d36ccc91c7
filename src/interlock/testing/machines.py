"""A cluster of several machines, as far as one can show it: auth and proxies as daemons of their own, on loopback.

Everything that is true of a `Cluster` is true of this one: it is the same kit with the gateway in pieces.
"""

from pathlib import Path
from typing import Self

from interlock.testing.gateway import Cluster, Mode
from interlock.testing.ports import free_ports
from interlock.testing.procs import Daemon, poll_until


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
    ) -> None:
        """``auths``: how many; several need a ``database`` that they share."""
        super().__init__(directory, mode=mode, with_node=with_node, database=database)
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
        argv: list[str | Path] = [self.programs / "interlock", "start", "--roles", "auth", "-c", self._config]
        daemon = Daemon(argv, log=self.directory / "gateway.log", env=self.env(), name="auth")
        try:
            daemon.wait_port(self.host, self.auth_port)
            daemon.wait_port(self.host, self.join_port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_other_auth(self, number: int) -> Daemon:
        """Start one more auth on the same database; also again."""
        config = self.directory / f"auth{number}.toml"
        data = f'data_dir = "{self.directory / f"auth{number}"}"'
        port = self.auth_ports[number]
        text = self._gateway_config().replace(f'data_dir = "{self.data}"', data)
        text = text.replace(f'listen = "{self.host}:{self.auth_port}"', f'listen = "{self.host}:{port}"', 1)
        config.write_text(
            text.replace(f'join_listen = "{self.host}:{self.join_port}', f'join_listen = "{self.host}:0')
        )
        argv: list[str | Path] = [self.programs / "interlock", "start", "--roles", "auth", "-c", config]
        daemon = Daemon(argv, log=self.directory / f"auth{number}.log", env=self.env(), name=f"auth {number}")
        try:
            daemon.wait_port(self.host, port)
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def start_proxy(self, number: int, *, join: bool = False) -> Daemon:
        """Start one of the proxies, also again; ``join`` for its first start."""
        config = self.directory / f"proxy{number}.toml"
        config.write_text(self._proxy_config(number))
        argv: list[str | Path] = [self.programs / "interlock", "start", "--roles", "proxy", "-c", config]
        if join:
            token = self.admin("tokens", "add", "--type", "proxy").split()[-1]
            argv += ["--join", token, "--auth", f"{self.host}:{self.join_port}"]
        daemon = Daemon(argv, log=self.directory / f"proxy{number}.log", env=self.env(), name=f"proxy {number}")
        try:
            daemon.wait_port(self.host, self.ports[number])
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def add_proxy(self, *, beside: int) -> None:
        """Start one more, on the port of one that there is."""
        number = len(self.ports)
        self.ports.append(self.ports[beside])
        self.peer_ports += free_ports(1)
        self.proxies.append(self.start_proxy(number, join=True))
        log = self.directory / f"proxy{number}.log"
        poll_until(lambda: "interlock.ready" in log.read_text(), "one more proxy")  # its port answers before

    def remove_last_proxy(self) -> None:
        """Stop the one that was added last, and forget it."""
        self.proxies.pop().stop()
        self.ports.pop()
        self.peer_ports.pop()

    def start(self) -> Self:
        """The same, and wait until the proxies know each other."""
        super().start()
        poll_until(lambda: all(proxy["lives"] for proxy in self.json("proxies", "ls")), "proxies")
        return self

    def set_mode(self, mode: Mode) -> None:
        """The same, and for a person of whom no proxy keeps an answer of auth that is older."""
        super().set_mode(mode)
        self.__dict__["person"] = self.login()

    def through(self, number: int) -> None:
        """People come to this proxy from now on."""
        self.port = self.ports[number]

    def _gateway_config(self) -> str:
        listen = f'listen = "{self.host}:{self.auth_port}"'
        every = ",".join(f"{self.host}:{port}" for port in self.auth_ports)
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
listen = "{self.host}:{self.ports[number]}"
peer_listen = "{self.host}:{self.peer_ports[number]}"
share_port = true
"""
