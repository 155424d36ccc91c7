"""A cluster of old and new daemons side by side, and a client that notes which session IDs it is told."""

import sys
from base64 import b64decode
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from interlock.core import extensions, wire
from interlock.core.messages import Confirmation, Open, Request, channel_message, channel_request
from interlock.core.wire import Reader, string, uint32
from interlock.testing.gateway import BIN, PASSWORD, Cluster, Mode, Person
from interlock.testing.hostile import Credential, Gone, RawSsh, connect_raw
from interlock.testing.machines import Machines
from interlock.testing.ports import free_port
from interlock.testing.procs import Daemon, KitError, poll_until

Age = Literal["new", "old"]
NodeAge = Literal["new", "v1", "none"]
Kind = Literal["shell", "exec", "sftp"]

NODES: tuple[NodeAge, ...] = ("new", "v1", "none")
SHOW = "echo sid=[$SSH_SESSION_ID]"

_VINTAGE: list[str | Path] = [sys.executable, "-m", "interlock.testing.vintage"]
_WINDOW, _PACKET, _NUMBER = 1 << 20, 1 << 15, 5
_ENVIRONMENT = "/proc/self/environ"
_INIT, _VERSION, _OPEN, _READ, _HANDLE, _DATA = 1, 2, 3, 5, 102, 103  # draft-ietf-secsh-filexfer-02 §3


class AllNodes(Cluster):
    """A cluster with a node of each age: ``new1``, ``v1-1``, ``none1``."""

    nodes: dict[NodeAge, Daemon]  # set by start

    def start(self) -> Self:
        """Start all of it and wait until every node is listed."""
        super().start()
        self.nodes = {}
        try:
            for age in NODES:
                self.nodes[age] = self._start_node(age)
                self._stack.callback(self.nodes[age].stop)
            names = {self.name_of(age) for age in NODES}
            poll_until(lambda: names <= {node["hostname"] for node in self.json("nodes", "ls")}, f"nodes {names}")
        except BaseException:
            self.stop()
            raise
        return self

    @staticmethod
    def name_of(age: NodeAge) -> str:
        """A node's hostname."""
        return f"{age}-1"

    def _start_node(self, age: NodeAge) -> Daemon:
        name, port = self.name_of(age), free_port()
        config = self.directory / f"{name}.toml"
        config.write_text(
            f'data_dir = "{self.directory / name}"\n\n[node]\nhostname = "{name}"\n'
            f'listen = "{self.host}:{port}"\n\n[node.labels]\nenv = "test"\n'
        )
        begin: list[str | Path] = [*_VINTAGE, age]
        if age == "new":
            begin = [BIN / "interlock", "start", "--roles", "node"]
        token = self.admin("tokens", "add").split()[-1]
        argv = [*begin, "--config", config, "--join", token, "--auth", f"{self.auth_host}:{self.join_port}"]
        daemon = Daemon(argv, log=self.directory / f"{name}.log", env=self.env(), name=name)
        return self._ready(daemon, port)

    def _ready(self, daemon: Daemon, port: int) -> Daemon:
        try:
            daemon.wait_port(self.host, port)
        except BaseException:
            daemon.stop()
            raise
        return daemon


class Generations(AllNodes):
    """A gateway of one age, with all nodes."""

    def __init__(self, directory: Path, *, proxy: Age, mode: Mode = "proxy") -> None:
        super().__init__(directory, mode=mode, with_node=False)
        self.proxy: Age = proxy

    def start_gateway(self) -> Daemon:
        """Start auth and proxy in one process."""
        if self.proxy == "new":
            return super().start_gateway()
        argv = [*_VINTAGE, "proxy", "--config", self._config]
        daemon = Daemon(argv, log=self.directory / "gateway.log", env=self.env(), name="gateway")
        return self._ready(daemon, self.port)


class Upgrading(AllNodes, Machines):
    """Auth and proxies as daemons of their own in the middle of an upgrade: the second proxy is an old one."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, mode="proxy", proxies=2, with_node=False)
        self.auth: Age = "new"

    def put_auth(self, age: Age) -> None:
        """Have an auth of this age in the place of the one that runs; return when both proxies have found it."""
        if age != self.auth:
            self.gateway.stop()
            self.auth = age
            self.gateway = self.start_auth()
        home = self.directory / f"home-{self.user}"
        for number in range(len(self.ports)):
            self.through(number)
            poll_until(lambda: self.try_login(home, self.user, PASSWORD).rc == 0, f"proxy {number} at auth")

    def _gateway_config(self) -> str:
        return super()._gateway_config().replace("[auth]\n", '[auth]\npresence = "when_offered"\n', 1)

    def _start(self, machine: str) -> list[str | Path]:
        if machine == "auth0" and self.auth == "old":
            return [*_VINTAGE, "auth"]
        return [*_VINTAGE, "apart"] if machine == "proxy1" else super()._start(machine)


class Visitor:
    """One connection with one session, spoken by hand so that every message is seen."""

    def __init__(self, peer: RawSsh) -> None:
        self._peer = peer
        self._target_no = -1
        self._told: list[str] = []
        self._output = bytearray()

    async def open(self) -> None:
        """Open the session's channel."""
        self._peer.send(Open("session", _NUMBER, _WINDOW, _PACKET, b"").encode(b""))
        answer = await self._peer.expect(wire.CHANNEL_OPEN_CONFIRMATION, wire.CHANNEL_OPEN_FAILURE)
        if answer[0] == wire.CHANNEL_OPEN_FAILURE:
            raise KitError(f"refused: {answer!r}")
        self._target_no = Confirmation.decode(answer).sender

    async def start(self, kind: Kind) -> str:
        """Start what shows its environment, and stays; the session ID that it shows."""
        name, data = {
            "shell": (b"shell", b""),
            "exec": (b"exec", string(f"{SHOW}; read go")),
            "sftp": (b"subsystem", string("sftp")),
        }[kind]
        self._peer.send(channel_request(self._target_no, name, data=data))
        if kind == "sftp":
            return await self._environment()
        if kind == "shell":
            self._say(f"{SHOW}\n".encode())
        await self._until(lambda output: b"sid=[" in output and b"]" in output.rpartition(b"sid=[")[2])
        return bytes(self._output).rpartition(b"sid=[")[2].partition(b"]")[0].decode()

    async def leave(self) -> tuple[str, ...]:
        """End the input and wait for the end; every ID that the client was told."""
        self._peer.send(channel_message(wire.CHANNEL_EOF, self._target_no))
        told = await self._closed()
        self._peer.send(channel_message(wire.CHANNEL_CLOSE, self._target_no))
        return told

    async def close(self) -> tuple[str, ...]:
        """Close the channel, whatever runs, and wait for the other side's close."""
        self._peer.send(channel_message(wire.CHANNEL_CLOSE, self._target_no))
        return await self._closed()

    async def _closed(self) -> tuple[str, ...]:
        while (message := await self._peer.receive())[0] != wire.CHANNEL_CLOSE:
            self._note(message)
        return tuple(self._told)

    async def _environment(self) -> str:
        """SFTP shows the environment of its server as a file."""
        self._ask(bytes([_INIT]) + uint32(3))
        await self._reply(_VERSION)
        self._ask(bytes([_OPEN]) + uint32(1) + string(_ENVIRONMENT) + uint32(1) + uint32(0))
        handle = (await self._reply(_HANDLE)).string()
        self._ask(bytes([_READ]) + uint32(2) + string(handle) + bytes(8) + uint32(_PACKET))
        variables = (await self._reply(_DATA)).string().split(b"\0")
        return next((each[15:].decode() for each in variables if each.startswith(b"SSH_SESSION_ID=")), "")

    def _ask(self, packet: bytes) -> None:
        self._say(string(packet))

    async def _reply(self, kind: int) -> Reader:
        """The next SFTP packet, behind its type and request ID; of a VERSION, behind the version."""

        def whole(output: bytes) -> bool:
            return len(output) >= 4 and len(output) >= 4 + int.from_bytes(output[:4], "big")

        await self._until(whole)
        packet = Reader(bytes(self._output)).string()
        del self._output[: 4 + len(packet)]
        if packet[0] != kind:
            raise KitError(f"SFTP packet {packet[:64]!r} in place of type {kind}")
        return Reader(packet[5:])

    def _say(self, data: bytes) -> None:
        self._peer.send(channel_message(wire.CHANNEL_DATA, self._target_no, string(data)))

    async def _until(self, ready: Callable[[bytes], bool]) -> None:
        while not ready(bytes(self._output)):
            self._note(await self._peer.receive())

    def _note(self, message: bytes) -> None:
        if message[0] == wire.CHANNEL_DATA:
            reader = Reader(message[1:])
            reader.uint32()
            self._output += reader.string()
        elif message[0] == wire.CHANNEL_REQUEST:
            request = Request.decode(message)
            if request.name == extensions.CURRENT_SESSION_ID:
                self._told.append(request.data.decode())


async def arrive(stack: AsyncExitStack, cluster: Cluster, person: Person, target: str) -> Visitor:
    """A client that has logged in and opened a session's channel; KitError if that is refused."""
    visitor = Visitor(await admitted(stack, cluster, person, target))
    try:
        await visitor.open()
    except Gone as gone:
        raise KitError(f"the gateway hung up: {gone}") from None
    return visitor


async def admitted(stack: AsyncExitStack, cluster: Cluster, person: Person, target: str) -> RawSsh:
    """A client that has logged in, and no more; KitError if that is refused."""
    peer = await connect_raw(cluster.host, cluster.port)
    await stack.enter_async_context(peer)
    try:
        await peer.log_in(f"{cluster.login_name}%{target}", credential_of(person))
    except Gone as gone:
        raise KitError(f"the gateway hung up: {gone}") from None
    return peer


def credential_of(person: Person) -> Credential:
    """What a person's ``ilsh login`` left, for `RawSsh`."""
    key = load_ssh_private_key(person.key.path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise KitError("the profile's key is not Ed25519")
    algorithm, blob = person.key.certificate.read_text().split()[:2]
    return Credential(algorithm, b64decode(blob), key)
