"""The workers of a gateway as a state machine: which are to be started, told to drain, or to stop, and when.

Every worker has a slot, which stands for its listening sockets, and a generation. One generation serves; a reload
starts another one on the same sockets, which takes over when all of it is ready; the earlier ones drain. A worker
that dies is replaced in its slot: at once the first time, and with growing pauses if its successors die young.

Nothing here starts a process or reads a clock: whoever does performs the effects, and tells what happened.
"""

from dataclasses import dataclass
from enum import Enum, auto

YOUNG_S = 10.0
"""Seconds of life below which a worker's death counts against its slot."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""Bounds of the pause before a slot whose workers die young is served again; its connections wait meanwhile."""

START_S = 120.0
"""Seconds that a worker has to be ready: it needs one, and much more on a machine that is overloaded."""

STOP_S = 30.0
"""Seconds that it has to stop: more than `sessions.STORING_GRACE_S` and what is delivered after it."""


class Role(Enum):
    """What a worker is for."""

    STARTING = auto()  # not ready yet
    SERVING = auto()
    DRAINING = auto()  # accepts nobody, and ends with its last session
    STOPPING = auto()


class Order(Enum):
    """What the performer is to do with a worker."""

    START = auto()
    DRAIN = auto()  # accept nobody any more, and end with the last session
    STOP = auto()  # end the sessions in order, then end
    KILL = auto()


class Note(Enum):
    """What the log is to say."""

    DIED = auto()  # a worker that should have gone on
    TOOK_OVER = auto()  # a generation serves
    REFUSED = auto()  # a generation did not start: the one before goes on
    FAILED = auto()  # nor did the first one, before which there is none


@dataclass(frozen=True, slots=True)
class Command:
    """Do this with that worker."""

    order: Order
    worker: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Told:
    """Something happened."""

    note: Note
    generation: int
    worker: int = 0
    pause: float = 0.0  # until its slot is served again


Effect = Command | Told


@dataclass(slots=True)
class _Worker:
    number: int
    slot: int
    generation: int
    role: Role
    began: float
    deadline: float | None  # when it has had its time to start or stop


class Fleet:
    """Feed it what happens, perform what it returns, and call `tick` when `due` has come."""

    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}
        self._numbers = 0
        self._generation = 0  # that serves; 0 before there is one
        self._coming: int | None = None  # the one that is being started
        self._last = 0  # the last number given
        self._slots: dict[int, int] = {}  # of each generation that is not draining: how many
        self._failures: dict[int, int] = {}  # by slot: how often in a row its worker has died young
        self._restarts: dict[int, float] = {}  # by slot: when it is due
        self._stopping = False

    @property
    def empty(self) -> bool:
        """Whether no worker is left."""
        return not self._workers

    @property
    def changing(self) -> bool:
        """Whether a generation is being started: no other one can be meanwhile."""
        return self._coming is not None

    @property
    def due(self) -> float | None:
        """When `tick` has something to do, on the monotonic clock; None if nothing is awaited."""
        deadlines = [each.deadline for each in self._workers.values() if each.deadline is not None]
        return min([*deadlines, *self._restarts.values()], default=None)

    def launch(self, slots: int, now: float) -> list[Effect]:
        """Start a generation of so many workers, which takes over when all of them are ready."""
        self._last += 1
        self._coming = self._last
        self._slots[self._coming] = slots
        return [self._start(slot, self._coming, now) for slot in range(slots)]

    def ready(self, number: int, now: float) -> list[Effect]:
        """A worker accepts connections."""
        worker = self._workers.get(number)
        if worker is None or worker.role is not Role.STARTING:
            return []
        worker.role, worker.deadline, worker.began = Role.SERVING, None, now
        if worker.generation != self._coming or not self._all_ready(self._coming):
            return []
        return self._take_over(self._coming)

    def ended(self, number: int, now: float) -> list[Effect]:
        """A worker's process is gone, whatever the reason."""
        worker = self._workers.pop(number)
        if self._stopping or worker.role in (Role.DRAINING, Role.STOPPING):
            return []
        if worker.generation == self._coming:
            return self._give_up(now)
        return [self._replace_later(worker, now)]

    def stop(self, now: float) -> list[Effect]:
        """End all of them in order."""
        self._stopping, self._coming = True, None
        self._restarts.clear()
        return [self._stop(worker, now) for worker in self._workers.values() if worker.role is not Role.STOPPING]

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for slot in [slot for slot, due in self._restarts.items() if due <= now]:
            del self._restarts[slot]
            effects.append(self._start(slot, self._generation, now))
        for worker in self._workers.values():
            if worker.deadline is not None and worker.deadline <= now:
                worker.deadline = None
                effects.append(_command(Order.KILL, worker))
        return effects

    def _start(self, slot: int, generation: int, now: float) -> Command:
        self._numbers += 1
        worker = _Worker(self._numbers, slot, generation, Role.STARTING, now, now + START_S)
        self._workers[worker.number] = worker
        return _command(Order.START, worker)

    def _stop(self, worker: _Worker, now: float) -> Command:
        worker.role, worker.deadline = Role.STOPPING, now + STOP_S
        return _command(Order.STOP, worker)

    def _all_ready(self, generation: int) -> bool:
        ready = [each for each in self._of(generation) if each.role is Role.SERVING]
        return len(ready) == self._slots[generation]

    def _of(self, generation: int) -> list[_Worker]:
        return [each for each in self._workers.values() if each.generation == generation]

    def _take_over(self, generation: int) -> list[Effect]:
        before, self._generation, self._coming = self._of(self._generation), generation, None
        self._slots = {generation: self._slots[generation]}
        self._failures.clear()
        self._restarts.clear()
        effects: list[Effect] = [Told(Note.TOOK_OVER, generation)]
        for worker in before:
            if worker.role in (Role.SERVING, Role.STARTING):
                worker.role, worker.deadline = Role.DRAINING, None
                effects.append(_command(Order.DRAIN, worker))
        return effects

    def _give_up(self, now: float) -> list[Effect]:
        """One of a new generation ended before all were ready: the others go, too."""
        generation, self._coming = self._last, None
        self._slots.pop(generation, None)
        note = Note.REFUSED if self._generation else Note.FAILED
        return [Told(note, generation), *[self._stop(worker, now) for worker in self._of(generation)]]

    def _replace_later(self, worker: _Worker, now: float) -> Told:
        young = worker.role is Role.STARTING or now - worker.began < YOUNG_S
        failures = self._failures[worker.slot] = self._failures.get(worker.slot, 0) + 1 if young else 0
        pause = min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S) if failures else 0.0
        self._restarts[worker.slot] = now + pause
        return Told(Note.DIED, worker.generation, worker.number, pause)


def _command(order: Order, worker: _Worker) -> Command:
    return Command(order, worker.number, worker.slot, worker.generation)
