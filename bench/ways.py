"""The ways that are compared: command lines of ``ssh`` that end at the same kind of ``sshd``, or at our node.

Everything of one run is a `Site`: target, jump host, one or more gateways, and other relays. Gateways of
several checkouts of Interlock may stand beside each other, each started from its own ``.venv``.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.figures import Road
from bench.stored import Stored
from interlock.testing.gateway import BIN, Cluster, Person
from interlock.testing.openssh import Key, SshClient, Sshd, make_key, sign_user
from interlock.testing.procs import cpu_clock, poll_until, run

GCM = "aes128-gcm@openssh.com"
CHACHA = "chacha20-poly1305@openssh.com"

OPTIONS: Mapping[str, str] = {
    # Like with like: OpenSSH's own default key exchange costs 70 ms more on both ends of both its connections.
    "KexAlgorithms": "curve25519-sha256",
    "Compression": "no",
}

SUBJECT = "interlock"
"""The gateway of this checkout."""

ROOMY = ("MaxStartups 4000:30:4000", "MaxSessions 4000", "LoginGraceTime 600")
"""For thousands of sessions at once."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the target. ``gateway`` is whose CPU time and events belong to it, if it is one of ours."""

    name: str
    connect: Callable[[str], tuple[SshClient, tuple[str, ...]]]  # by cipher: client and destination
    gateway: "Gateway | None" = None
    recorded: bool = True
    foreign: bool = False  # by another relay, which may not be able to do everything

    def argv(self, *command: str, tty: bool = False, cipher: str = GCM) -> list[str]:
        """The command line that runs ``command`` at the target."""
        client, destination = self.connect(cipher)
        return client.argv(*(["-tt"] if tty else []), *destination, *command)

    def sftp(self) -> list[str]:
        """The command line of ``sftp`` that reads its commands from standard input."""
        client, destination = self.connect(GCM)
        # ssh's -p is sftp's -P, and what ssh takes as the destination sftp does too.
        words = ["-P" if word == "-p" else word for word in destination]
        return client.argv("-q", "-b", "-", *words, program="sftp")

    def cpu_s(self) -> float | None:
        """CPU seconds that the gateway has used so far, all its processes."""
        return self.gateway.cpu_s() if self.gateway else None


class Gateway:
    """A cluster that is measured, of this checkout or of another one."""

    def __init__(self, name: str, directory: Path, programs: Path = BIN, *, with_node: bool = False) -> None:
        self.name = name
        self.programs = programs
        self.cluster = Cluster(
            directory, mode="proxy", with_node=with_node, ciphers=[GCM, CHACHA], programs=programs
        )
        self._clients: dict[tuple[str, str], SshClient] = {}
        self._chacha: Sshd | None = None
        self._unrecorded: Person | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        self.stored = Stored(self.cluster.data / "interlock.db")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pids(self) -> list[int]:
        """The gateway's processes: one, or a supervisor and its workers."""
        return self.cluster.gateway.pids

    def cpu_s(self) -> float:
        """What all its processes have used so far."""
        return sum(map(cpu_clock, self.pids))

    def way(self, road: Road) -> Way:
        """One of our roads by this gateway."""
        cluster = self.cluster
        roads: dict[Road, tuple[Callable[[], Person], Callable[[str], tuple[str, ...]]]] = {
            Road.ROUTE: (lambda: cluster.person, lambda cipher: cluster.route(self._plain(cipher))),
            Road.JUMPED: (lambda: cluster.person, lambda cipher: cluster.jump(self._plain(cipher))),
            Road.UNRECORDED: (self._bob, lambda cipher: cluster.route(self._plain(cipher))),
            Road.NODE: (lambda: cluster.person, lambda _cipher: cluster.route(cluster.node_name)),
        }
        person, to = roads[road]

        def connect(cipher: str) -> tuple[SshClient, tuple[str, ...]]:
            return self._client(person(), cipher), to(cipher)

        return Way(road.of(self.name), connect, self, recorded=road is not Road.UNRECORDED)

    def _client(self, person: Person, cipher: str) -> SshClient:
        if (person.name, cipher) not in self._clients:
            name = f"{person.name}-{cipher.partition('@')[0]}"
            options = {**OPTIONS, "Ciphers": cipher}
            self._clients[person.name, cipher] = self.cluster.client(name, person, options)
        return self._clients[person.name, cipher]

    def _plain(self, cipher: str) -> str:
        """The plain sshd, or one that speaks nothing but ChaCha, so that this is forced on both legs."""
        if cipher == GCM:
            return self.cluster.agentless_name
        if self._chacha is None:
            cas = self.cluster.ilctl("auth", "export", "--type", "openssh").stdout.splitlines()
            directory = self.cluster.directory / "chacha"
            sshd = Sshd(directory, trusted_cas=cas, options=[f"Ciphers {cipher}"])
            self._chacha = self._stack.enter_context(sshd)
            key = sshd.host_key.path.with_name("host_key.pub")
            where = ("--addr", sshd.addr, "--labels", "env=test", "--host-key", str(key))
            self.cluster.ilctl("nodes", "add", "chacha1", *where)
        return "chacha1"

    def _bob(self) -> Person:
        """A user whose sessions are not recorded."""
        if self._unrecorded is None:
            role = ["--logins", self.cluster.login_name, "--labels", "env=test", "--option", "recording=off"]
            self.cluster.ilctl("roles", "add", "unrecorded", *role)
            self.cluster.add_user("bob", "unrecorded")
            self._unrecorded = self.cluster.login("bob")
        return self._unrecorded

    @contextmanager
    def storing(self, sessions: int, *, recorded: bool = True) -> Iterator[None]:
        """Return only when everything of the sessions that end inside is stored: events, recordings."""
        before = self.stored.last()
        yield
        last = "session.upload" if recorded else "session.data"
        poll_until(
            lambda: self.stored.since(before, last) >= sessions,
            f"{sessions} sessions stored by {self.name}",
            timeout=60,
        )


@dataclass(frozen=True, slots=True)
class Peer:
    """Another relay: who is reached by ``ssh -p port user@host`` there is at the target."""

    name: str
    host: str
    port: int
    user: str
    key: Path | None = None

    def way(self, directory: Path, key: Key) -> Way:
        """How its target is reached. Whatever host key it shows now is trusted."""
        known = run(["ssh-keyscan", "-p", str(self.port), self.host]).check().stdout.splitlines()

        def connect(cipher: str) -> tuple[SshClient, tuple[str, ...]]:
            client = SshClient(
                directory / f"peer-{self.name}-{cipher.partition('@')[0]}",
                keys=[Key(self.key) if self.key else key],
                known_hosts=known,
                options={**OPTIONS, "Ciphers": cipher},
            )
            return client, ("-p", str(self.port), f"{self.user}@{self.host}")

        return Way(self.name, connect, foreign=True)


@dataclass(slots=True)
class Site:
    """Where one run happens."""

    directory: Path
    direct: Way
    jump: Way
    target: Sshd
    gateways: list[Gateway] = field(default_factory=list)
    peers: list[Way] = field(default_factory=list)
    only: Sequence[str] = ()  # names of ways; none: all

    @property
    def subject(self) -> Gateway:
        """The gateway of this checkout."""
        return self.gateways[0]

    def ways(self, roads: Iterable[Road]) -> list[Way]:
        """All ways of these roads; other relays where the route through a gateway is one of them."""
        found: list[Way] = []
        for road in roads:
            if not road.ours:
                found.append(self.direct if road is Road.DIRECT else self.jump)
                continue
            found += [gateway.way(road) for gateway in self.gateways]
            found += self.peers if road is Road.ROUTE else []
        return [way for way in found if not self.only or way.name in self.only]

    def wanted_gateways(self) -> list[Gateway]:
        """The gateways whose route is measured."""
        return [each for each in self.gateways if not self.only or each.name in self.only]

    @contextmanager
    def fresh(self, gateway: Gateway, *, with_node: bool = False) -> Iterator[Gateway]:
        """Another gateway of the same name and checkout, which has served nobody yet."""
        with tempfile.TemporaryDirectory(prefix="fresh-", dir=self.directory) as name:
            directory = Path(name) / "cluster"
            with Gateway(gateway.name, directory, gateway.programs, with_node=with_node) as another:
                yield another

    @property
    def names(self) -> set[str]:
        """The names of all ways that there are."""
        gateways = {road.of(gateway.name) for gateway in self.gateways for road in Road}
        return gateways | {way.name for way in self.peers}


@contextmanager
def site(
    directory: Path,
    *,
    others: Mapping[str, Path],
    peers: Sequence[Peer] = (),
    only: Sequence[str] = (),
    with_node: bool = False,
) -> Iterator[Site]:
    """Start the target, the jump host and the gateways, and stop them at the end.

    ``others``: further gateways by name, each with the checkout it is started from.
    """
    with ExitStack() as stack:
        ca = make_key(directory / "ca")
        key = make_key(directory / "id")
        target = stack.enter_context(Sshd(directory / "target", trusted_cas=[ca.public], options=ROOMY))
        host = stack.enter_context(Sshd(directory / "jump", trusted_cas=[ca.public], options=ROOMY))
        sign_user(ca, key, principals=[target.login], validity="-1m:+1d")
        hosts = [target.known_hosts_line(), host.known_hosts_line()]
        at_target = ("-p", str(target.port), f"{target.login}@{target.host}")
        clients = {
            cipher: SshClient(
                directory / f"client-{cipher.partition('@')[0]}",
                keys=[key],
                known_hosts=hosts,
                options={**OPTIONS, "Ciphers": cipher},
            )
            for cipher in (GCM, CHACHA)
        }
        by_jump = ("-J", f"{host.login}@{host.addr}", *at_target)
        found = Site(
            directory,
            Way("direct", lambda cipher: (clients[cipher], at_target)),
            Way("jump", lambda cipher: (clients[cipher], by_jump)),
            target,
            only=only,
        )
        programs = {SUBJECT: BIN, **{name: path / ".venv" / "bin" for name, path in others.items()}}
        for name, each in programs.items():
            gateway = Gateway(name, directory / f"cluster-{name}", each, with_node=with_node)
            found.gateways.append(stack.enter_context(gateway))
        found.peers = [peer.way(directory, key) for peer in peers]
        yield found
