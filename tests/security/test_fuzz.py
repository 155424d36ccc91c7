"""Every message number in every state, on both legs and at the node: a disconnect or what the RFC says.

Never is anybody admitted without having proven who they are (CVE-2018-10933, CVE-2025-32433), nothing is let into
the first key exchange (Terrapin, CVE-2023-48795), no exception is left to a log, all that was held is let go of,
and who comes meanwhile is served. `make test` has a sample; `make fuzz` sends everything, and goes on with other
seeds for as long as it is told.
"""

import asyncio
import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from asyncssh.connection import SSHConnection
from asyncssh.packet import PacketDecodeError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from structlog.testing import capture_logs

from interlock.adapters.ssh.node import judgement
from interlock.adapters.ssh.node.accounts import find_account
from interlock.adapters.ssh.seams.certificates import CertifiedConnection
from interlock.core.wire import CHANNEL_OPEN_CONFIRMATION, IGNORE, string
from interlock.testing import fuzz_states
from interlock.testing.fuzz import Case, cases
from interlock.testing.fuzz_states import (
    CLIENT_STATES,
    EXCHANGES,
    TARGET_STATES,
    Phase,
    Visitor,
    be_led_on,
    phase_of,
    receive_visit,
    visit,
)
from interlock.testing.hostile import (
    SERVICE_ACCEPT,
    SERVICE_REQUEST,
    USERAUTH_SUCCESS,
    Credential,
    HostKey,
    RawSsh,
    raw_server,
)
from interlock.testing.node import node_world
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import LOGIN, USER, Gateway, gateway, public_blob

EVERYTHING = os.environ.get("INTERLOCK_FUZZ") == "all"
SEED = int(os.environ.get("INTERLOCK_FUZZ_SEED", "1"))
HOURS = float(os.environ.get("INTERLOCK_FUZZ_HOURS", "0"))
LANES = 8
"""Hostile peers at once: most of them wait for something most of the time."""

WITNESS_EVERY = 25
"""Cases of one of them between two visits of somebody who has done nothing wrong."""

DIAL_S = 1.5
"""Seconds for which the gateway waits for a target that does not speak; a busy machine holds up honest ones."""

MORE_KIB = 64 * 1024
"""What the process may have grown by, whatever it was sent."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(HOURS * 3600 + 3600 if EVERYTHING else 120)]


@contextmanager
def nothing_unhandled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No exception ends in a log: ours, asyncio's, or asyncssh's, which would only end the connection."""
    found: list[str] = []
    original = SSHConnection.internal_error

    def internal_error(self: SSHConnection, exc_info: Any = None, error_logger: Any = None) -> None:
        info = exc_info or sys.exc_info()
        if not isinstance(info[1], PacketDecodeError):  # a message that cannot be read ends the connection
            found.append("asyncssh: " + "".join(traceback.format_exception(*info)))
        original(self, exc_info, error_logger)

    monkeypatch.setattr(SSHConnection, "internal_error", internal_error)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(f"asyncio: {context}"))
    with capture_logs() as logs:
        yield
    gc.collect()  # tasks tell of exceptions that nobody took when they go
    found += [str(each) for each in logs if each["log_level"] in {"error", "critical"} or each.get("exc_info")]
    assert not found


@asynccontextmanager
async def nothing_kept() -> AsyncIterator[None]:
    """No connection is held for ever, and memory does not grow with what is sent."""
    before, size = held(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    async with asyncio.timeout(10):
        while held() > before:  # noqa: ASYNC110 - nobody tells when an object goes
            await asyncio.sleep(0.05)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < MORE_KIB


def held() -> int:
    """Connections to clients that are still objects."""
    gc.collect()
    return sum(issubclass(type(each), CertifiedConnection) for each in gc.get_objects())


@dataclass
class Witness:
    """Somebody who has done nothing wrong, and is served all the while."""

    come: Callable[[], Awaitable[object]]
    forget: Callable[[], None] = lambda: None  # what the kit keeps of what was, for tests to look at
    served: int = 0

    async def visit(self) -> None:
        """Once more; TimeoutError if nobody has time."""
        async with asyncio.timeout(10):
            await self.come()
        self.served += 1
        self.forget()


One = Callable[[Case], Awaitable[str]]
"""Sends one case, and says what is wrong with what came of it."""


async def send_all(states: Iterable[str], lanes: Sequence[One], witness: Witness) -> None:
    """A sample, or everything until the time is over, side by side; AssertionError naming the case."""
    until, seed, chosen = time.monotonic() + HOURS * 3600, SEED, list(states)
    while True:
        waiting = cases(chosen, seed, every=EVERYTHING)
        async with asyncio.TaskGroup() as tasks:
            for lane in lanes:
                tasks.create_task(_send(waiting, lane, witness), name="fuzz.lane")
        seed += 1
        if time.monotonic() > until:
            return


async def _send(waiting: Iterator[Case], one: One, witness: Witness) -> None:
    for number, case in enumerate(waiting):
        try:
            wrong = await one(case)
        except TimeoutError:
            wrong = "hung"
        assert not wrong, f"{case}: {wrong}"
        if number % WITNESS_EVERY == 0:
            await witness.visit()
    await witness.visit()


async def silent(peer: RawSsh) -> None:
    """A target that lets everybody in and never opens a channel."""
    await peer.admit()
    await peer.wait_gone()


@pytest.mark.parametrize("phase", Phase)
async def test_whatever_a_client_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    """To the gateway, on the way to a target and at the portal."""
    key = HostKey()
    async with gateway(tmp_path) as world, raw_server(silent, key) as port, plain_target(world):
        world.add_target("slow1", port, host_keys=[key.line])
        visitor = Visitor(world.port, f"{LOGIN}%plain1", await world.credential(), USER, f"{LOGIN}%slow1")
        async with await world.client("plain1") as other:
            witness = Witness(lambda: other.run("exit 0", check=True))
            with nothing_unhandled(monkeypatch):
                async with nothing_kept():
                    states = [each for each in CLIENT_STATES if phase_of(each) is phase]
                    await send_all(states, [lambda case: visit(case, visitor)] * LANES, witness)
        await world.wait_clean()
        if phase is not Phase.ADMITTED:
            assert len(await world.events("session.start")) == witness.served


NOT_AT_A_NODE = frozenset(("while asked", "while a channel is opened", "at the portal", "asking the portal"))
"""A node asks for no passwords, opens channels at once, and has no portal."""


@pytest.mark.parametrize("phase", Phase)
async def test_whatever_a_client_says_to_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    """Which is reached without a gateway as well. Shells run without anybody's profile."""
    home = str(tmp_path)
    monkeypatch.setattr(judgement, "find_account", lambda login: replace(find_account(login), home=home))
    async with node_world(tmp_path) as world:
        key = await world.key()
        private = load_ssh_private_key(key.path.read_bytes(), None)
        assert isinstance(private, Ed25519PrivateKey)
        blob = public_blob(key.certificate.read_text())
        visitor = Visitor(world.port, world.login, Credential("ssh-ed25519-cert-v01@openssh.com", blob, private))

        def forget() -> None:
            world.sessions.all[:] = [live for live in world.sessions.all if not live.ended.is_set()]

        async with world.connect() as other:
            witness = Witness(lambda: other.run("true", check=True), forget)
            with nothing_unhandled(monkeypatch):
                async with nothing_kept():
                    states = [each for each in CLIENT_STATES if phase_of(each) is phase]
                    chosen = [each for each in states if each not in NOT_AT_A_NODE]
                    await send_all(chosen, [lambda case: visit(case, visitor)] * LANES, witness)


async def test_whatever_a_target_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the gateway that dials it, and through it to the client that is led on."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(gateway(tmp_path, dial_timeout=DIAL_S))
        lanes = [await evil_target(stack, world, f"evil{number}") for number in range(LANES)]
        await stack.enter_async_context(plain_target(world))
        async with await world.client("plain1") as other:
            witness = Witness(lambda: other.run("exit 0", check=True))
            with nothing_unhandled(monkeypatch):
                async with nothing_kept():
                    await send_all(TARGET_STATES, lanes, witness)
        await world.wait_clean()


async def evil_target(stack: AsyncExitStack, world: Gateway, name: str) -> One:
    """A target that says one message in one state to whoever comes; what sends somebody there."""
    key, playing = HostKey(), list[Case]()

    async def script(peer: RawSsh) -> None:
        await receive_visit(playing[0], peer)

    port = await stack.enter_async_context(raw_server(script, key))
    world.add_target(name, port, host_keys=[key.line])
    visitor = Visitor(world.port, f"{LOGIN}%{name}", await world.credential())

    async def play(case: Case) -> str:
        playing[:] = [case]
        confirmed, wrong = await be_led_on(visitor)
        if confirmed and case.state in EXCHANGES and case.state != "before the version":
            return "was believed after a message that has no place in a strict key exchange"
        if confirmed and (case.state, case.number) == ("before it accepts the service", USERAUTH_SUCCESS):
            return "admitted us before it was asked"
        return wrong

    return play


async def lax(peer: RawSsh) -> None:
    """A server with the gravest mistakes: it skips what it does not know, and admits whoever says anything."""
    await peer.handshake()
    if (await peer.receive())[0] == SERVICE_REQUEST:
        peer.send(bytes([SERVICE_ACCEPT]) + string("ssh-userauth"))
    else:
        peer.send(bytes([USERAUTH_SUCCESS]))
    await peer.receive()
    peer.send(bytes([CHANNEL_OPEN_CONFIRMATION]) + bytes(16))
    await peer.flush()


async def mute(peer: RawSsh) -> None:
    """One that stops in the middle."""
    await peer.handshake()
    await peer.wait_gone()


async def test_the_mistakes_that_this_is_about_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same visits, at servers that make them."""
    monkeypatch.setattr(fuzz_states, "PATIENCE_S", 0.2)
    nobody = Credential("ssh-ed25519", b"", Ed25519PrivateKey.generate())
    ignored = Case("before the key", IGNORE, "well formed", SEED)
    async with raw_server(lax, HostKey()) as port:
        visitor = Visitor(port, "root%web1", nobody)
        assert "numbers [52, 91]" in await visit(Case("before the service", 80, "well formed", SEED), visitor)
        assert "no place in a strict key exchange" in await visit(ignored, visitor)
    async with raw_server(mute, HostKey()) as port:
        with pytest.raises(TimeoutError):
            await visit(Case("before the service", 80, "well formed", SEED), Visitor(port, "root%web1", nobody))
