"""A worker: one of the processes that serve the proxy's port, told by its supervisor what to do. Composition only.

It opens the data directory itself and writes its sessions' events, trackers and recordings like a gateway of one
process; what there is once is the supervisor's, and reached by `daemons.control`. It ends with its supervisor.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine, Iterator
from itertools import count
from pathlib import Path

import structlog

from interlock.adapters.ssh.proxy import ProxyServer
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.adapters.ssh.tunnel.neighbours import Accept, Hatch, NeighbourWays, listen_at, socket_path
from interlock.core.errors import InterlockError, StoreError
from interlock.core.ids import DaemonId
from interlock.daemons.control import (
    Begin,
    Control,
    Drain,
    Measure,
    Measured,
    Ready,
    SignIn,
    Source,
    Stop,
    Tunnel,
    Verdict,
)
from interlock.daemons.garbage import settle
from interlock.daemons.local import open_local
from interlock.daemons.log import set_up_log
from interlock.daemons.proxy import (
    FAREWELL,
    Services,
    door_claims,
    host_names,
    local_ports,
    make_proxy,
    open_services,
    proxy_parts,
)
from interlock.daemons.reloading import DRAINED, drain
from interlock.daemons.shelf import worker_board
from interlock.services.keys.joining import JoinSources
from interlock.services.sessions.desk import Desk
from interlock.services.signin.signin import Confirmation, Judgement, SignInResult

_log = structlog.get_logger()


async def run_worker(descriptor: int) -> None:
    """Serve until the supervisor says otherwise or is gone. ``descriptor``: of our end of the socket pair."""
    settle()
    control = await Control.over(socket.socket(fileno=descriptor))
    begin = await control.receive()
    if not isinstance(begin, Begin):
        raise StoreError(
            "this command is for Interlock's own use", reason=f"{begin!r} in the place of a beginning"
        )
    set_up_log(begin.config.log_level, worker=begin.process[:8])
    worker = _Worker(control, begin)
    with worker.signals():
        try:
            await worker.run()
        except* InterlockError as group:
            for error in _each(group):
                _log.error("worker.failed", reason=error.reason)  # nobody needs the trace
            raise SystemExit(1) from None


class _Worker:
    """See the module's docstring."""

    def __init__(self, control: Control, begin: Begin) -> None:
        self._control = control
        self._begin = begin
        self._ways = NeighbourWays(Path(begin.sockets), self._tell_tunnel)
        self._passwords = _FarPasswords(control)
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._farewell = FAREWELL
        self._tunnels: TunnelEntrance  # set by run

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM stops this worker in order. Ctrl-C and a reload, to the whole group, are the supervisor's."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        yield
        loop.remove_signal_handler(signal.SIGTERM)

    async def run(self) -> None:
        """From the first to the last session."""
        begin = self._begin
        board = worker_board(Path(begin.data_dir), begin.process)
        async with open_local(
            Path(begin.data_dir), writer=f"worker{begin.slot}", data_key=begin.data_key
        ) as local:
            services = await open_services(begin.config, local, worker=begin.process, board=board)
            believes = await door_claims(local)
            self._tunnels = TunnelEntrance(
                local.claims,
                local.clock,
                AuthAddresses(begin.service, begin.join),
                sources=_FarSources(self._control),
                neighbours=self._ways,
            )
            for tunnel in begin.tunnels:
                self._ways.heard(self._tunnels.registry, tunnel.process, DaemonId(tunnel.node), up=True)
            parts = proxy_parts(
                services,
                local_ports(services, self._passwords),
                tunnels=self._tunnels,
                believes=believes,
                names=host_names(services),
                workers=begin.workers,
            )
            proxy = make_proxy(parts, local)
            services.following.then(proxy.renew)
            await self._serve(services, proxy, parts.desk, believes.run())

    async def _serve(
        self, services: Services, proxy: ProxyServer, desk: Desk, keep_up: Coroutine[None, None, None]
    ) -> None:
        path = socket_path(Path(self._begin.sockets), self._begin.process)
        hatch = Hatch(self._begin.process, self._tunnels, _Joins(services, desk, self._begin.process))
        async with asyncio.TaskGroup() as tasks:
            storing = tasks.create_task(services.emitter.run(), name="worker.emitter")
            tending = tasks.create_task(services.sessions.run(), name="worker.sessions")
            upkeep = [
                tasks.create_task(services.tenures.run(), name="worker.tenures"),
                tasks.create_task(services.claim(), name="worker.claims"),
                tasks.create_task(services.following.run(), name="worker.authorities"),
                tasks.create_task(keep_up, name="worker.clusters"),
                tasks.create_task(hatch.run(listen_at(path)), name="worker.hatch"),
                tasks.create_task(self._obey(services), name="worker.control"),
                tasks.create_task(self._drain(proxy), name="worker.drain"),
            ]
            serving = tasks.create_task(proxy.run(), name="worker.proxy")
            await proxy.listen_on(socket.socket(fileno=each) for each in self._begin.listeners)
            self._control.send(Ready())
            await self._stopping.wait()
            await proxy.stop(self._farewell)
            await serving
            for task in upkeep:
                task.cancel()
            await services.end(tending)
            await services.flush(storing)
        self._control.send(Measured(0, services.meters.reading().lasting()))
        path.unlink(missing_ok=True)

    async def _obey(self, services: Services) -> None:
        """Do as the supervisor says; if it is gone, end as if it had said so."""
        while True:
            match await self._control.receive():
                case Drain():
                    self._draining.set()
                case Stop(text):
                    self._farewell = text
                    self._stopping.set()
                case Tunnel(node, up, process):
                    self._ways.heard(self._tunnels.registry, process, DaemonId(node), up=up)
                case Measure(number):
                    self._control.send(Measured(number, services.meters.reading()))
                case Verdict() as verdict:
                    self._passwords.answered(verdict)
                case None:
                    if not self._stopping.is_set():
                        _log.error("worker.orphaned", reason="the supervisor is gone: sessions end")
                    self._stopping.set()
                    return
                case other:
                    _log.error("worker.unexpected_message", kind=type(other).__name__)

    async def _drain(self, proxy: ProxyServer) -> None:
        """Stop when nobody is left."""
        await self._draining.wait()
        await drain(proxy, self._tunnels)
        self._farewell = DRAINED
        self._stopping.set()

    def _tell_tunnel(self, node: DaemonId, up: bool) -> None:
        self._control.send(Tunnel(node, up))


class _Joins:
    """Makes the server at which people join this worker's sessions, when the first one comes."""

    def __init__(self, services: Services, desk: Desk, process: str) -> None:
        self._services = services
        self._desk = desk
        self._process = process
        self._making = asyncio.Lock()
        self._accept: Accept | None = None
        services.following.then(self._forget)

    async def __call__(self) -> Accept:
        async with self._making:
            if self._accept is None:
                from interlock.daemons.join_server import join_server, own_credential  # most workers never need it

                shown = await own_credential(self._services.local, self._process)
                self._accept = (await join_server(self._services, self._desk, self._process, shown)).accept
        return self._accept

    async def _forget(self) -> None:
        """Its certificate may be by an authority that is gone."""
        self._accept = None


class _FarSources(JoinSources):
    """`JoinSources` of auth in the supervisor."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def note(self, bridge: str, source: str) -> None:
        """On its way before a byte of the connection is."""
        self._control.send(Source(bridge, source))

    def forget(self, bridge: str) -> None:
        """It is closed."""
        self._control.send(Source(bridge, ""))


class _FarPasswords:
    """`PasswordCheck` by the supervisor, which counts the failures of all workers."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Verdict]] = {}

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """See `PasswordCheck.check`."""
        return await self._judged(SignIn(next(self._numbers), user, password, source, None, code))

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """See `PasswordCheck.change`."""
        return await self._judged(SignIn(next(self._numbers), user, old, source, new, code))

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """See `PasswordCheck.confirm`."""
        del certificate, session
        verdict = await self._ask(SignIn(next(self._numbers), user, "", source, code=code, confirms=True))
        return Confirmation(verdict.device, verdict.question, verdict.prompt, waits=verdict.waits)

    async def _judged(self, question: SignIn) -> Judgement:
        verdict = await self._ask(question)
        return Judgement(SignInResult(verdict.result), verdict.device)

    def answered(self, verdict: Verdict) -> None:
        """The supervisor's answer; nobody may be waiting for it any more."""
        waiting = self._asked.get(verdict.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(verdict)

    async def _ask(self, question: SignIn) -> Verdict:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._asked[question.number] = answer
        self._control.send(question)
        try:
            verdict = await answer
        finally:
            del self._asked[question.number]
        verdict.check()
        return verdict


def _each(group: BaseExceptionGroup[InterlockError]) -> list[InterlockError]:
    found: list[InterlockError] = []
    for error in group.exceptions:
        found += _each(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
