"""A process on the event loop: output, input, exit, and nothing left behind."""

import asyncio
import gc
import os
import signal
from collections.abc import Sequence

import pytest

from interlock.adapters.ssh.node.accounts import Account, find_account
from interlock.adapters.ssh.node.child import Child, Children, Ended
from interlock.adapters.ssh.node.room import PIECE, room
from interlock.adapters.ssh.node.spawn import Launch, Spawned, command_line, spawn, spawn_on
from interlock.adapters.ssh.node.terminal import TerminalRequest, open_terminal
from interlock.domain.recording import Stream
from interlock.testing.openssh import current_login


class Witness:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.wanted = 2 * PIECE
        self.output = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self.ended: list[Ended] = []
        self.over = asyncio.Event()
        self.hungry = asyncio.Event()
        self.heard = asyncio.Event()

    def child_room(self, stream: Stream) -> Sequence[memoryview]:
        del stream
        return room(self.wanted, PIECE)

    def child_output(self, stream: Stream, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self.output[stream] += piece
        self.heard.set()

    def child_hungry(self) -> None:
        self.hungry.set()

    def child_ended(self, ended: Ended) -> None:
        self.ended.append(ended)
        self.over.set()


@pytest.fixture
def account() -> Account:
    """Whoever runs the tests."""
    return find_account(current_login())


@pytest.fixture
def witness() -> Witness:
    """The one that is told."""
    return Witness()


def launch(account: Account, command: str) -> Launch:
    """A command in an almost empty environment."""
    return Launch(account, command_line(command.encode()), {b"HOME": b"/", b"PATH": os.environb[b"PATH"]})


async def start(account: Account, command: str, witness: Witness, children: Children) -> Child:
    """Run a command on pipes."""
    return await children.start(lambda: spawn(launch(account, command)), witness)


async def start_on_terminal(account: Account, command: str, witness: Witness, children: Children) -> Child:
    """Run a command on a PTY."""

    def begin() -> Spawned:
        terminal = open_terminal(TerminalRequest("xterm", (80, 24, 0, 0), {}), account)
        return spawn_on(launch(account, command), terminal)

    return await children.start(begin, witness)


async def test_output_and_status(account: Account, witness: Witness) -> None:
    """Both streams and the status are told, the status last."""
    child = await start(account, "echo a; echo b >&2; exit 9", witness, Children())
    child.resume()
    await witness.over.wait()
    assert (bytes(witness.output[Stream.STDOUT]), bytes(witness.output[Stream.STDERR])) == (b"a\n", b"b\n")
    assert witness.ended == [Ended(status=9)]


async def test_paused_output_stays_with_the_process(account: Account, witness: Witness) -> None:
    """While nobody reads, the process blocks: memory does not grow with its output."""
    child = await start(account, "yes | head -c 5000000; echo done >&2", witness, Children())
    child.resume()
    await witness.heard.wait()
    child.pause()
    held = len(witness.output[Stream.STDOUT])
    await asyncio.sleep(0.2)
    assert len(witness.output[Stream.STDOUT]) == held < 5_000_000
    child.resume()
    await witness.over.wait()
    assert len(witness.output[Stream.STDOUT]) == 5_000_000


async def test_input_that_does_not_fit_is_held(account: Account, witness: Witness) -> None:
    """Feeding stops when the pipe is full, goes on when it was taken, and loses nothing."""
    child = await start(account, "sleep 0.1; wc -c", witness, Children())
    child.resume()
    chunk = b"x" * 100_000
    for _ in range(20):
        if not child.feed(chunk):
            await witness.hungry.wait()
            witness.hungry.clear()
    child.feed_eof()
    await witness.over.wait()
    assert witness.output[Stream.STDOUT].strip() == b"2000000"


async def test_input_after_the_program_closed_it(account: Account, witness: Witness) -> None:
    """Feeding a program that does not read any more is harmless, also when some was held."""
    child = await start(account, "exec <&-; echo closed; sleep 0.1; exit 2", witness, Children())
    child.resume()
    await witness.heard.wait()
    while not child.feed(b"x" * 1_000_000):
        await witness.hungry.wait()
    assert child.feed(b"more")
    await witness.over.wait()
    assert witness.ended == [Ended(status=2)]


async def test_death_by_signal(account: Account, witness: Witness) -> None:
    """The signal's number is told."""
    child = await start(account, "sleep 100", witness, Children())
    child.resume()
    child.signal(signal.SIGTERM)
    await witness.over.wait()
    assert witness.ended == [Ended(signal=signal.SIGTERM)]
    child.signal(signal.SIGTERM)


async def test_abandoned_process_is_killed_and_reaped(account: Account, witness: Witness) -> None:
    """One that ignores SIGHUP gets SIGKILL; nobody is told any more."""
    children = Children()
    child = await start(account, "trap '' HUP; echo ready; while :; do sleep 0.05; done", witness, children)
    child.resume()
    await witness.heard.wait()
    await children.end_all(0.1)
    assert not os.path.exists(f"/proc/{child.pid}")  # noqa: ASYNC240, PTH110
    assert witness.ended == []


async def test_terminal_output_is_complete(account: Account, witness: Witness) -> None:
    """What was written right before the exit is not lost."""
    child = await start_on_terminal(account, "seq 1 20000; exit 3", witness, Children())
    child.resume()
    await witness.over.wait()
    assert bytes(witness.output[Stream.STDOUT]).split() == [b"%d" % n for n in range(1, 20001)]
    assert witness.ended == [Ended(status=3)]


async def test_terminal_held_open_by_another_process(account: Account, witness: Witness) -> None:
    """The leader's exit is the session's end, after what is there was read."""
    children = Children()
    child = await start_on_terminal(account, "(trap '' HUP; sleep 20)& echo $!; exit 0", witness, children)
    child.resume()
    await witness.over.wait()
    assert witness.ended == [Ended(status=0)]
    os.kill(int(witness.output[Stream.STDOUT].split()[0]), signal.SIGKILL)


async def test_terminal_held_open_while_the_client_is_slow(account: Account, witness: Witness) -> None:
    """A pause at the wrong moment neither loses output nor hangs."""
    child = await start_on_terminal(account, "(trap '' HUP; sleep 20)& echo $!; exit 0", witness, Children())
    await asyncio.sleep(0.4)
    child.resume()
    await witness.over.wait()
    os.kill(int(witness.output[Stream.STDOUT].split()[0]), signal.SIGKILL)


@pytest.mark.parametrize("terminal", [False, True])
async def test_no_descriptor_is_left(account: Account, witness: Witness, terminal: bool) -> None:
    """Whether a process ends or is abandoned, all its descriptors are closed."""
    begin = start_on_terminal if terminal else start
    gc.collect()  # what other tests left is closed now, and not in between
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    children = Children()
    child = await begin(account, "echo x", witness, children)
    child.resume()
    await witness.over.wait()
    await begin(account, "sleep 100", witness, children)
    await children.end_all(0.1)
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


async def test_what_cannot_be_started(account: Account) -> None:
    """An over-long command fails before anything runs, and leaves no descriptor."""
    gc.collect()  # what other tests left is closed now, and not in between
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(OSError, match="too long"):
        await asyncio.to_thread(spawn, launch(account, "x" * 200_000))
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


async def test_start_that_is_under_way_at_the_end(account: Account, witness: Witness) -> None:
    """A node that stops waits for processes that are only just being started, and ends them."""
    children = Children()
    async with asyncio.TaskGroup() as tasks:
        begun = tasks.create_task(start(account, "sleep 1000", witness, children))
        await asyncio.sleep(0)
        await children.end_all(0.1)
    assert not os.path.exists(f"/proc/{begun.result().pid}")  # noqa: ASYNC240, PTH110
