"""A real `NodeServer` on loopback with authorities of its own, fakes behind it, and the real ssh to visit it."""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from interlock.adapters.ssh.node.server import NodeOptions, NodeServer
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.errors import Denied, InterlockError, RecordingError
from interlock.core.ids import DaemonId, SessionId
from interlock.core.sides import Side
from interlock.domain.access import Access
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.coverage import Level
from interlock.domain.identity import Claims
from interlock.domain.recording import Stream
from interlock.domain.session import Exit, SessionContext, Start, Window
from interlock.domain.target import SubKind, Target
from interlock.ports import AuthorityKey
from interlock.services.audit.emitter import NoJournal
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.services.sessions.parties import Parties
from interlock.services.sessions.screens import Remembered, Screens
from interlock.testing.limits import MemoryLeases, MemoryLocks, make_tenures
from interlock.testing.openssh import Key, SshClient, current_login, make_key
from interlock.testing.procs import Completed

NODE_ID = DaemonId("11111111-2222-4333-8444-555555555555")
HOSTNAME = "web1"


class FakeAuthorityStore:
    """Keeps the authorities' keys."""

    def __init__(self) -> None:
        self._keys: dict[str, AuthorityKey] = {}

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        """The first key of its kind."""
        return self._keys.setdefault(key.kind, key)

    async def authority(self, kind: str) -> AuthorityKey:
        """The key of its kind; KeyError if there is none."""
        return self._keys[kind]


class SeenTransfers:
    """Keeps the first MiB of what passes, by side."""

    def __init__(self) -> None:
        self.seen = {Side.CLIENT: bytearray(), Side.TARGET: bytearray()}

    def passing(self, side: Side, data: bytes) -> bytes:
        """Keep it."""
        if len(self.seen[side]) < 1 << 20:
            self.seen[side] += data
        return data.replace(b"forbidden", b"replaced!")


class FakeLive:
    """What a node told its session."""

    def __init__(self, ctx: SessionContext) -> None:
        self.ctx = ctx
        self.on_forbidden: Callable[[Denied], None] | None = None
        self.on_failure: Callable[[RecordingError], None] | None = None
        self.on_lock: Callable[[Denied], None] | None = None
        self.traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.fails: RecordingError | None = None
        self.begun: Start | None = None
        self.observed = True  # whether it is to see what passes
        self.transfers: SeenTransfers | None = None  # then, from the start on
        self.told: list[tuple[Kind, dict[str, JsonValue]]] = []
        self.covered: list[tuple[str, Level, str, str]] = []
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.stdin = bytearray()
        self.windows: list[Window] = []
        self.exits: list[Exit] = []
        self.ends: list[tuple[int, int, str]] = []
        self.refusals: list[tuple[str, str, str]] = []  # request, public text, reason
        self.ended = asyncio.Event()
        self.parties = Parties(
            ctx,
            journal=NoJournal(),
            people=lambda _users: None,
            running=lambda: None,
            screens=Screens(lambda: Remembered(Window(80, 24)), lambda: None),
        )

    @property
    def sid(self) -> SessionId:
        """The agreed ID."""
        return self.ctx.sid

    @property
    def started(self) -> bool:
        """Whether something was started."""
        return self.begun is not None

    def cover(self, what: str, level: Level, *, why: str = "", where: str = "") -> None:
        """Note how it is kept."""
        self.covered.append((what, level, why, where))

    def tell(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Note it."""
        self.told.append((kind, fields))

    async def ready(self) -> None:
        """At once."""

    def start(self, start: Start) -> None:
        """Once; fails if told to."""
        assert self.begun is None
        if self.fails is not None:
            raise self.fails
        self.begun = start
        self.transfers = SeenTransfers() if self.observed else None
        self.parties.begin(start)

    def refused(self, what: str, *, public: str, reason: str) -> None:
        """Note what was refused."""
        self.refusals.append((what, public, reason))

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Keep the first MiB."""
        kept = self.stdout if stream is Stream.STDOUT else self.stderr
        if len(kept) < 1 << 20:
            kept += data

    def input(self, data: bytes | memoryview) -> None:
        """Keep the first MiB."""
        if len(self.stdin) < 1 << 20:
            self.stdin += data

    def resize(self, window: Window) -> None:
        """Note the size."""
        self.windows.append(window)

    def exited(self, ended: Exit) -> None:
        """Note how it ended."""
        self.exits.append(ended)

    def end(self, *, tx: int, rx: int, reason: str = "") -> None:
        """Note the end."""
        self.ends.append((tx, rx, reason))
        self.ended.set()


class FakeSessions:
    """The registry; ``refusal`` and ``failure`` make it refuse."""

    def __init__(self) -> None:
        self.all: list[FakeLive] = []
        self.refused: list[tuple[str, str]] = []  # public text and reason
        self.refused_to: list[SessionContext | Mapping[str, JsonValue]] = []
        self.refusal: InterlockError | None = None  # at the channel's open
        self.failure: RecordingError | None = None  # at the start
        self.observed = True  # whether sessions see what passes

    def agree(self, ctx: SessionContext) -> FakeLive:
        """A new session, or the refusal."""
        if self.refusal is not None:
            raise self.refusal
        live = FakeLive(ctx)
        live.fails = self.failure
        live.observed = self.observed
        self.all.append(live)
        return live

    def find(self, sid: SessionId) -> FakeLive | None:
        """The live session with this ID."""
        return next((live for live in self.all if live.sid == sid and not live.ended.is_set()), None)

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Note the rejection."""
        self.refused_to.append(who)
        self.refused.append((public, reason))


class FakeAdmission:
    """Admits whoever is not refused."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.refusal: Denied | None = None
        self.access = Access()

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """Note who asked."""
        self.asked.append((claims.identity.user, login, target))
        if self.refusal is not None:
            raise self.refusal
        return self.access


class FakeSink:
    """Collects audit events."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def emit(self, event: AuditEvent) -> None:
        """Keep it."""
        self.events.append(event)


@dataclass
class World:
    """One node and what it needs."""

    directory: Path
    authority: Authority
    claims: CertificateReader
    target: Target
    sessions: FakeSessions = field(default_factory=FakeSessions)
    admission: FakeAdmission = field(default_factory=FakeAdmission)
    sink: FakeSink = field(default_factory=FakeSink)
    locks: MemoryLocks = field(default_factory=MemoryLocks)
    leases: MemoryLeases = field(default_factory=lambda: MemoryLeases(SystemClock()))
    options: NodeOptions = field(default_factory=NodeOptions)
    server: NodeServer | None = None
    port: int = 0
    login: str = field(default_factory=current_login)
    clients: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32))
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Nobody is locked out, unless a test runs the view."""
        clock, entropy = SystemClock(), SystemEntropy()
        self.tenures = make_tenures(
            self.target.id, clock=clock, entropy=entropy, locks=self.locks, leases=self.leases
        )

    async def start(self) -> None:
        """Make a host key and listen."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self.server = NodeServer(
            target=self.target,
            cluster="test",
            host_key=private,
            host_certificate=await self.authority.issue_host(public, [HOSTNAME, NODE_ID]),
            claims=self.claims,
            admission=self.admission,
            sessions=self.sessions,
            tenures=self.tenures,
            audit=self.sink,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            options=self.options,
        )
        _, self.port = await self.server.listen("127.0.0.1", 0)

    async def stop(self, message: str = "the node is stopping") -> None:
        """Stop, once."""
        if self.server is not None:
            server, self.server = self.server, None
            await server.stop(message)

    async def key(self, *, logins: Sequence[str] = (), ttl: timedelta = timedelta(hours=1)) -> Key:
        """A user's key with a certificate."""
        key = make_key(self.directory / f"id{next(self.numbers)}")
        allowed = list(logins) or [self.login]
        line = await self.authority.issue_user("alice", ["access"], allowed, key.public, ttl)
        key.certificate.write_text(line + "\n")
        return key

    def client(self, *keys: Key, **options: str) -> SshClient:
        """ssh with these keys, trusting our host authority."""
        settings = {"Port": str(self.port), "User": self.login, "HostKeyAlias": HOSTNAME, **options}
        known = [f"@cert-authority * {self.authority.export('host')}"]
        blocks = [f"Host {HOSTNAME}\n  HostName 127.0.0.1"]
        directory = self.directory / f"client{next(self.numbers)}"
        return SshClient(directory, keys, known, settings, blocks)

    async def ssh(self, *arguments: str, stdin: bytes = b"", program: str = "ssh") -> Completed:
        """Run ssh as alice, to its end."""
        return await self.visit(self.client(await self.key()), *arguments, stdin=stdin, program=program)

    async def visit(
        self, client: SshClient, *arguments: str, stdin: bytes = b"", program: str = "ssh"
    ) -> Completed:
        """Run a client to its end, in a thread that the node's own short work does not need."""
        run = functools.partial(client.run, *arguments, stdin=stdin, program=program, timeout=40)
        return await asyncio.get_running_loop().run_in_executor(self.clients, run)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection of alice's by asyncssh."""
        key = await self.key()
        keys = [
            (asyncssh.read_private_key(str(key.path)), asyncssh.import_certificate(key.certificate.read_text()))
        ]
        async with asyncssh.connect(
            "127.0.0.1", self.port, username=self.login, client_keys=keys, known_hosts=None, config=None
        ) as connection:
            yield connection

    async def run(self, command: str, *, stdin: bytes = b"") -> Completed:
        """Run a command."""
        return await self.ssh(HOSTNAME, command, stdin=stdin)


@contextlib.asynccontextmanager
async def node_world(directory: Path, options: NodeOptions | None = None) -> AsyncIterator[World]:
    """A running node in ``directory``; stopped at the end."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # before anything runs
    clock, entropy = SystemClock(), SystemEntropy()
    store = FakeAuthorityStore()
    authority = await Authority.load(store, cluster="test", daemon_id=NODE_ID, clock=clock, entropy=entropy)
    target = Target(NODE_ID, HOSTNAME, "127.0.0.1", 22, SubKind.NODE, labels={"env": "test"}, version="0.1")
    reader = CertificateReader([authority.export("user")])
    world = World(directory, authority, reader, target, options=options or NodeOptions())
    await world.start()
    try:
        yield world
    finally:
        await world.stop()
        world.clients.shutdown(wait=False)
