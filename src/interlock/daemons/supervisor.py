"""The supervisor's part of a gateway in several processes: starts workers, looks after them, and replaces them.

What is to be done is decided by `fleet.fleet`. A worker is a fresh process of this program, so that a reload
runs the code that is installed then; it inherits its listening sockets, one end of a socket pair for
`daemons.control`, and the lock on the data directory, so that nobody else takes that while a worker uses it.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from interlock.adapters.ssh.hostkey import load_host_key
from interlock.adapters.ssh.portal import PasswordCheck
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses
from interlock.adapters.ssh.tunnel.neighbours import socket_path
from interlock.core.errors import ConfigError, InterlockError, StoreError
from interlock.daemons.config import Address, Config
from interlock.daemons.control import Begin, Control, Drain, Measured, Ready, SignIn, Source, Stop, Tunnel, Verdict
from interlock.daemons.gathering import Gathering
from interlock.daemons.listeners import Listeners
from interlock.daemons.proxy import FAREWELL, HOST_KEY, Services, cannot_listen, check_proxy
from interlock.daemons.shelf import Shelf
from interlock.daemons.supervise import lock_descriptor
from interlock.domain.lease import holder_of
from interlock.domain.metrics import Reading
from interlock.services.fleet.fleet import Command, Effect, Fleet, Note, Order, Told
from interlock.services.keys.joining import JoinSources
from interlock.services.keys.sealing import KeySealing

_COMMAND = (sys.executable, "-P", "-m", "interlock.cli.run", "worker")

_OURS = ("recordings", "retention", "exports", "data_dir", "database", "cluster", "auth", "node", "web")
"""Settings that the supervisor has read once; a change of them needs a restart, as does ``proxy.listen``."""

_log = structlog.get_logger()


@dataclass(eq=False)
class _Worker:
    """A process, from the order to start it until it has ended."""

    command: Command
    process: str  # its name
    config: Config
    slots: int
    control: Control | None = None  # once it runs
    child: asyncio.subprocess.Process | None = None
    serves: bool = False  # it has said that it accepts connections
    orders: list[Drain | Stop] = field(default_factory=list)  # that came before it ran

    def tell(self, order: Drain | Stop) -> None:
        """Now, or as soon as it runs."""
        if self.control is not None:
            self.control.send(order)
        else:
            self.orders.append(order)

    @property
    def facts(self) -> dict[str, object]:
        """For the log."""
        pid = self.child.pid if self.child is not None else 0
        return {
            "process": self.process,
            "slot": self.command.slot,
            "generation": self.command.generation,
            "pid": pid,
        }


class Workers:
    """A `front.Front` of other processes."""

    def __init__(
        self,
        services: Services,
        shelf: Shelf,
        *,
        number: int,
        addresses: AuthAddresses,
        sources: JoinSources,
        passwords: PasswordCheck,
    ) -> None:
        self._services = services
        self._config = services.config
        self._shelf = shelf
        self._number = number
        self._addresses = addresses
        self._sources = sources
        self._passwords = passwords
        self._fleet = Fleet()
        self._gathering = Gathering()
        self._workers: dict[int, _Worker] = {}  # by their number in the fleet
        self._tunnels: list[Tunnel] = []  # in the order in which they came
        where = Address.parse("proxy.listen", self._config.proxy.listen)
        self._where = where
        self._listeners = Listeners(where.host, where.port)
        self._serving = asyncio.get_running_loop().create_future()  # done when the first generation takes over
        self._changed = asyncio.Event()  # the fleet waits for another moment than before
        self._tasks: asyncio.TaskGroup | None = None  # while `run` runs
        self._stopping = False
        self._settled = asyncio.Event()  # no generation is being started
        self._farewell = FAREWELL

    # --- `front.Front` --------------------------------------------------------------------------

    async def open(self) -> str:
        """Listen for all workers, and have made before they start what each would make for itself."""
        load_host_key(self._services.local.data_dir / HOST_KEY)
        try:
            self._listeners.grow(self._number)
        except OSError as error:
            raise cannot_listen(error, self._where) from error
        return self._listeners.where

    async def run(self) -> None:
        """Until `stop`, or until it is known that no worker can start: ConfigError then."""
        clock = self._services.local.clock
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._perform(self._fleet.launch(self._number, clock.monotonic()))
            while not (self._fleet.empty and not self._workers and (self._stopping or self._failed)):
                due = self._fleet.due
                timeout = None if due is None else max(0.0, due - clock.monotonic())
                try:
                    async with asyncio.timeout(timeout):
                        await self._changed.wait()
                except TimeoutError:
                    self._perform(self._fleet.tick(clock.monotonic()))
                self._changed.clear()
        self._tasks = None
        self._listeners.close()
        if self._failed:
            raise ConfigError("the gateway's workers do not start: the lines above say why")

    async def wait_ready(self) -> None:
        """The first generation serves."""
        await asyncio.shield(self._serving)

    async def stop(self, text: str) -> None:
        """All workers end their sessions in order, and then themselves."""
        self._farewell, self._stopping = text, True
        self._perform(self._fleet.stop(self._services.local.clock.monotonic()))

    async def readings(self) -> Reading:
        """What the workers have counted."""
        running = {each.process: each.control for each in self._workers.values() if each.control is not None}
        return await self._gathering.ask(running)

    async def check(self) -> None:
        """StoreError if nobody is accepted."""
        if self._stopping:
            raise StoreError("it is stopping")
        if not any(each.serves for each in self._workers.values()):
            raise StoreError("no worker serves")

    async def reload(self, load: Callable[[], Config]) -> None:
        """Start a generation that takes over from this one. ConfigError leaves everything as it is."""
        if self._fleet.changing:
            await self._settled.wait()
        if self._stopping:
            return
        config = self._merged(load())
        check_proxy(config)
        number = config.worker_count
        try:
            self._listeners.grow(number)
        except OSError as error:
            raise cannot_listen(error, self._where) from error
        if config.mode is not None:
            await self._services.local.clusters.set_recording_mode(config.mode)
        _log.info("reload.begins", workers=number)
        before = self._config, self._number
        self._config, self._number = config, number
        self._perform(self._fleet.launch(number, self._services.local.clock.monotonic()))
        await self._settled.wait()
        if self._refused:
            self._config, self._number = before

    def _merged(self, config: Config) -> Config:
        """The new settings, as far as they are the workers'."""
        kept = {name: getattr(self._config, name) for name in _OURS}
        proxy = msgspec.structs.replace(config.proxy, listen=self._config.proxy.listen)
        merged = msgspec.structs.replace(config, **kept, proxy=proxy)
        changed = [name for name in _OURS if getattr(config, name) != kept[name]]
        if config.proxy.listen != self._config.proxy.listen:
            changed.append("proxy.listen")
        if changed:
            _log.warning("reload.needs_restart", settings=changed)
        return merged

    # --- the fleet --------------------------------------------------------------------------------

    @property
    def _failed(self) -> bool:
        return self._refused and not self._serving.done()

    _refused = False  # the last generation that was launched did not start

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Told):
                self._tell(effect)
            else:
                self._order(effect)
        if not self._fleet.changing:
            self._settled.set()
        self._changed.set()

    def _order(self, command: Command) -> None:
        if command.order is Order.START:
            if self._fleet.changing:
                self._settled.clear()
                self._refused = False
            if self._tasks is not None:
                process = self._services.local.entropy.uuid()
                worker = _Worker(command, process, self._config, self._number)
                self._workers[command.worker] = worker
                self._tasks.create_task(self._look_after(worker), name="workers.worker")
            return
        worker = self._workers[command.worker]
        match command.order:
            case Order.DRAIN:
                _log.info("worker.drains", **worker.facts)
                worker.tell(Drain())
            case Order.STOP:
                worker.tell(Stop(self._farewell))
            case Order.KILL:
                _log.error("worker.killed", **worker.facts, reason="it did not answer in time")
                if worker.child is not None:
                    worker.child.kill()

    def _tell(self, told: Told) -> None:
        match told.note:
            case Note.TOOK_OVER:
                if self._serving.done():
                    _log.info("reload.done", generation=told.generation)
                else:
                    self._serving.set_result(None)
            case Note.DIED:
                _log.error("worker.died", **self._workers[told.worker].facts, again_in=told.pause)
            case Note.REFUSED | Note.FAILED:
                self._refused = True
                _log.error("workers.not_started", generation=told.generation, goes_on=told.note is Note.REFUSED)

    # --- one worker -------------------------------------------------------------------------------

    async def _look_after(self, worker: _Worker) -> None:
        number = worker.command.worker
        try:
            await self._start(worker)
            await self._listen(worker)
        except OSError as error:
            _log.error("worker.not_started", **worker.facts, reason=str(error))
        code = await worker.child.wait() if worker.child is not None else -1
        if code:
            _log.warning("worker.ended", **worker.facts, code=code)
        self._gathering.ended(worker.process)
        worker.serves = False
        self._perform(self._fleet.ended(number, self._services.local.clock.monotonic()))
        for tunnel in [each for each in self._tunnels if each.process == worker.process]:
            self._tunnel(worker, Tunnel(tunnel.node, up=False))
        with suppress(OSError):
            socket_path(self._shelf.sockets, worker.process).unlink()
        await self._inherit(worker)
        del self._workers[number]
        self._changed.set()

    async def _start(self, worker: _Worker) -> None:
        listeners = self._listeners.shared(worker.command.slot, worker.slots)
        descriptors = [each.fileno() for each in listeners]
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                worker.child = await asyncio.create_subprocess_exec(
                    *_COMMAND,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), lock_descriptor(self._services.local.data_dir), *descriptors],
                )
            control = await Control.over(ours)
        except BaseException:
            ours.close()
            raise
        local = self._services.local
        control.send(
            Begin(
                config=worker.config,
                data_dir=str(_absolute(local.data_dir)),
                process=worker.process,
                sockets=str(_absolute(self._shelf.sockets)),
                listeners=tuple(descriptors),
                workers=worker.slots,
                slot=worker.command.slot,
                service=self._addresses.service,
                join=self._addresses.join,
                tunnels=tuple(self._tunnels),
                data_key=local.sealing.data_key if isinstance(local.sealing, KeySealing) else b"",
            )
        )
        worker.control = control
        for order in worker.orders:
            control.send(order)

    async def _listen(self, worker: _Worker) -> None:
        control = worker.control
        if control is None or self._tasks is None:
            return
        try:
            while (message := await control.receive()) is not None:
                match message:
                    case Ready():
                        _log.info("worker.ready", **worker.facts)
                        worker.serves = True
                        now = self._services.local.clock.monotonic()
                        self._perform(self._fleet.ready(worker.command.worker, now))
                    case Tunnel():
                        self._tunnel(worker, message)
                    case Source(bridge, ""):
                        self._sources.forget(bridge)
                    case Source(bridge, source):
                        self._sources.note(bridge, source)
                    case Measured():
                        self._gathering.answered(worker.process, message)
                    case SignIn():
                        self._tasks.create_task(self._judge(control, message), name="workers.sign-in")
                    case _:
                        _log.error("worker.unexpected_message", **worker.facts)
        finally:
            control.close()

    def _tunnel(self, worker: _Worker, tunnel: Tunnel) -> None:
        """Let all others know."""
        told = Tunnel(tunnel.node, tunnel.up, worker.process)
        known = Tunnel(tunnel.node, up=True, process=worker.process)
        if told.up:
            self._tunnels.append(told)
        elif known in self._tunnels:
            self._tunnels.remove(known)
        else:
            return
        for other in self._workers.values():
            if other is not worker and other.control is not None:
                other.control.send(told)

    async def _judge(self, control: Control, asked: SignIn) -> None:
        """Passwords are judged here, so that who guesses is braked whichever worker he meets."""
        try:
            user, password, source, code = asked.user, asked.password, asked.source, asked.code
            if asked.confirms:
                found = await self._passwords.confirm(user, code, source=source)
                said = {"question": found.question, "prompt": found.prompt, "waits": found.waits}
                control.send(Verdict(asked.number, device=found.device, **said))
                return
            if asked.new is None:
                judged = await self._passwords.check(user, password, source=source, code=code)
            else:
                judged = await self._passwords.change(user, password, asked.new, source=source, code=code)
            verdict = Verdict(asked.number, result=judged.result.value, device=judged.device)
        except InterlockError as error:
            verdict = Verdict.of(asked.number, error)
        control.send(verdict)

    async def _inherit(self, worker: _Worker) -> None:
        """Finish what it has left: nothing if it ended in order."""
        services, local = self._services, self._services.local
        try:
            await services.sessions.take_left(services.claims.inherit(worker.process))
            await local.leases.release_all(holder_of(local.daemon_id, worker.process))
        except InterlockError as error:
            _log.error("worker.not_inherited", **worker.facts, reason=error.reason)


def _absolute(path: Path) -> Path:
    """Without a look at the disk."""
    return path.absolute()
