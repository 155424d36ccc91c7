"""One channel into which others than its two sides put bytes: whose window pays for them (RFC 4254 §5.2).

Windows are end to end in the relay. What we insert towards one side uses up its window without the other side
knowing, which could then send more than fits. So there is a *window debt*: the receiver's window adjusts are
withheld from the sender until they have paid for what was inserted. The sender's bytes that do not fit meanwhile,
never more than the debt, are held here.
"""

from collections import deque
from enum import Enum, auto

from interlock.core import wire
from interlock.core.effects import Effect, Hungry, Overfull, Send, Typed
from interlock.core.flows import Flow
from interlock.core.limits import MAX_INSERTED, MAX_NOTICES, MAX_PAUSED_OUTPUT
from interlock.core.messages import channel_data, channel_message, window_adjust
from interlock.core.sides import Side

_INPUT_REQUESTS = frozenset({b"signal", b"break"})

HELD_WINDOW = 1024
"""Bytes that a client may send while its session is held: they go nowhere, but Ctrl-C among them counts."""

_PIECE = 16 * 1024
"""Bytes of one message of ours, unless the receiver's packets are smaller."""


class Stage(Enum):
    """What may pass."""

    HELD = auto()  # nothing was started yet
    OPEN = auto()
    PAUSED = auto()  # it runs, but neither input nor output passes


class Inlet:
    """One direction: ``sender``'s flow counts what it sent, ``receiver``'s what it granted."""

    def __init__(self, window: int, sender: Flow, receiver: Flow, limit: int) -> None:
        self._window = window  # that the receiver granted when the channel was opened
        self._sender = sender
        self._receiver = receiver
        self._limit = limit
        self._inserted = 0
        self._withheld = 0
        self._swallowed = 0
        self._held_size = 0
        self.held: deque[tuple[int, bytes]] = deque()  # data type and bytes of the sender

    @property
    def room(self) -> int:
        """What the receiver still takes."""
        passed = self._sender.octets - self._held_size - self._swallowed
        return self._window + self._receiver.granted - passed - self._inserted

    @property
    def debt(self) -> int:
        """Inserted bytes that the sender's window has not paid for yet."""
        return self._inserted - self._withheld

    @property
    def held_size(self) -> int:
        """Bytes in `held`."""
        return self._held_size

    def insert(self, data: bytes) -> bytes:
        """Take what may go now, from the beginning."""
        taken = data[: max(0, min(self.room, self._limit - self.debt))]
        self._inserted += len(taken)
        return taken

    def hold(self, kind: int, data: bytes) -> None:
        """Keep bytes of the sender, which `_sender` has counted."""
        self.held.append((kind, data))
        self._held_size += len(data)

    def release(self, *, regardless: bool = False) -> list[tuple[int, bytes]]:
        """What was held and fits now; all of it if the window is not regarded any more."""
        ready = []
        while self.held:
            kind, data = self.held[0]
            fits = len(data) if regardless else min(len(data), max(0, self.room))
            if not fits:
                break
            ready.append((kind, data[:fits]))
            self._held_size -= fits
            self.held.popleft()
            if fits < len(data):
                self.held.appendleft((kind, data[fits:]))
        return ready

    def advance(self, amount: int) -> None:
        """The sender is granted window that the receiver has not granted yet, and will pay for it."""
        self._withheld -= amount

    def swallow(self, size: int) -> None:
        """Bytes of the sender go nowhere, so it gets its window back at once."""
        self._swallowed += size

    def granted(self, amount: int) -> int:
        """The receiver grants more: what of it the sender may know."""
        withheld = min(amount, self.debt)
        self._withheld += withheld
        return amount - withheld


class Share:
    """The state of one shared channel; effects are for the performer."""

    def __init__(
        self, numbers: dict[Side, int], windows: dict[Side, int], packets: dict[Side, int], flows: dict[Side, Flow]
    ) -> None:
        """``numbers``, ``windows``, ``packets``: of the messages that go to a side, as it asked for them."""
        self.stage = Stage.OPEN
        self._numbers = numbers
        self._pieces = {side: max(1, min(_PIECE, packets[side])) for side in Side}
        self._flows = flows
        self._to = {
            Side.TARGET: Inlet(windows[Side.TARGET], flows[Side.CLIENT], flows[Side.TARGET], MAX_INSERTED),
            Side.CLIENT: Inlet(windows[Side.CLIENT], flows[Side.TARGET], flows[Side.CLIENT], MAX_NOTICES),
        }
        self._refused_input = False
        self._eof_waits = False  # the client's EOF, behind what is held

    @property
    def in_order(self) -> bool:
        """Whether output may take the fast path: nothing of it is held, and no window is owed."""
        inlet = self._to[Side.CLIENT]
        return self.stage is Stage.OPEN and not inlet.debt and not inlet.held

    def refuses(self, request: bytes) -> bool:
        """Whether a request of the client's is input, which does not pass now."""
        return self.stage is not Stage.OPEN and request in _INPUT_REQUESTS

    def hold(self) -> list[Effect]:
        """Nothing was started yet. sshd grants no window before that, but people must be able to give up."""
        self.stage = Stage.HELD
        inlet = self._to[Side.TARGET]
        missing = HELD_WINDOW - inlet.room
        if missing <= 0:
            return []
        inlet.advance(missing)
        return self._adjust(Side.CLIENT, missing)

    def data(self, side: Side, kind: int, data: bytes) -> list[Effect]:
        """Bytes of a side; ``kind`` is the extended-data type, 0 for plain data."""
        flow, inlet = self._flows[side], self._to[side.other]
        flow.octets += len(data)
        if flow.tap is not None:
            passing = bytearray(data)
            flow.tap(kind, memoryview(passing))  # which may change it
            data = bytes(passing)
        if side is Side.CLIENT and self.stage is not Stage.OPEN:
            inlet.swallow(len(data))
            return [*self._adjust(Side.CLIENT, len(data)), Typed(self._numbers[Side.CLIENT], data)]
        inlet.hold(kind, data)
        if self.stage is Stage.PAUSED:
            over = inlet.held_size > MAX_PAUSED_OUTPUT
            return [Overfull(self._numbers[Side.CLIENT])] if over else []
        return self._released(side.other)

    def adjusted(self, side: Side, amount: int) -> list[Effect]:
        """A side grants window for what it receives."""
        self._flows[side].granted += amount
        known = self._to[side].granted(amount)
        effects = self._adjust(side.other, known)
        if self.stage is Stage.OPEN:
            effects += self._released(side)
        return effects + (self._fed() if side is Side.TARGET else [])

    def insert(self, data: bytes) -> tuple[list[Effect], int]:
        """What somebody else types: the effects, and how many bytes were taken. The rest waits for `Hungry`."""
        inlet = self._to[Side.TARGET]
        taken = inlet.insert(data) if self.stage is Stage.OPEN and not inlet.held else b""
        self._refused_input = len(taken) < len(data)
        return self._sends(Side.TARGET, [(0, taken)]), len(taken)

    def notice(self, data: bytes) -> list[Effect]:
        """Text for the client's terminal: all of it, or nothing if there is no room."""
        inlet = self._to[Side.CLIENT]
        fits = len(data) <= min(inlet.room, MAX_NOTICES - inlet.debt)
        return self._sends(Side.CLIENT, [(0, inlet.insert(data))]) if fits else []

    def go_on(self) -> list[Effect]:
        """Begin, or resume: what was held may pass."""
        self.stage = Stage.OPEN
        return [*self._released(Side.CLIENT), *self._released(Side.TARGET), *self._fed()]

    def eof(self, side: Side, payload: bytes) -> list[Effect]:
        """A side sends no more data: not before what is held of it."""
        if side is Side.CLIENT and self._to[Side.TARGET].held:
            self._eof_waits = True
            return []
        return [*self._last(side), Send(side.other, payload)]

    def closed(self, side: Side) -> list[Effect]:
        """A side closes the channel: what goes before its CLOSE."""
        return self._last(side)

    def _last(self, side: Side) -> list[Effect]:
        """Output that waits for window only is sent regardless: it is less than `MAX_NOTICES` too much, once."""
        if side is Side.CLIENT or self.stage is not Stage.OPEN:
            return []
        return self._sends(Side.CLIENT, self._to[Side.CLIENT].release(regardless=True))

    def _fed(self) -> list[Effect]:
        """Others may go on typing, if they were stopped."""
        if not self._refused_input or self.stage is not Stage.OPEN:
            return []
        self._refused_input = False
        return [Hungry(self._numbers[Side.CLIENT])]

    def _released(self, side: Side) -> list[Effect]:
        effects = self._sends(side, self._to[side].release())
        if side is Side.TARGET and self._eof_waits and not self._to[side].held:
            self._eof_waits = False
            effects.append(Send(side, channel_message(wire.CHANNEL_EOF, self._numbers[side])))
        return effects

    def _sends(self, side: Side, items: list[tuple[int, bytes]]) -> list[Effect]:
        size = self._pieces[side]
        return [
            Send(side, channel_data(self._numbers[side], data[at : at + size], kind))
            for kind, data in items
            for at in range(0, len(data), size)
        ]

    def _adjust(self, side: Side, amount: int) -> list[Effect]:
        return [Send(side, window_adjust(self._numbers[side], amount))] if amount else []
