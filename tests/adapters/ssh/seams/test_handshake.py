"""The handshake's first moments: what goes out when, counted in writes."""

import asyncio
import string
from collections.abc import Coroutine
from typing import Any, cast

import asyncssh.connection
import pytest
from asyncssh.packet import PacketDecodeError
from asyncssh.saslprep import SASLPrepError, saslprep

from interlock.adapters.ssh.seams.handshake import PromptConnection, begun, prepare_name
from interlock.core.extensions import SOFTWARE
from interlock.core.wire import KEXINIT
from interlock.testing.hostile import connect_raw
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import Gateway


async def test_the_door_begins_the_key_exchange_before_the_client_speaks(world: Gateway) -> None:
    """Its KEXINIT does not depend on the client's version, so a round trip is saved."""
    reader, writer = await asyncio.open_connection(LOOPBACK, world.port)
    line = await reader.readline()
    header = await reader.readexactly(6)
    assert line == f"SSH-2.0-{SOFTWARE}\r\n".encode()
    assert header[5] == KEXINIT
    writer.close()


async def test_each_step_of_the_handshake_is_one_write(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packets begin the key exchange and two end it: the client's kernel is woken once for each step."""
    writes: list[int] = []
    real = PromptConnection._send_unsent

    def counting(self: PromptConnection, transport: asyncio.Transport | None) -> None:
        if self._unsent:
            writes.append(len(self._unsent))
        real(self, transport)

    monkeypatch.setattr(PromptConnection, "_send_unsent", counting)
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
    assert writes[:3] == [2, 2, 1]  # version and KEXINIT; reply and NEWKEYS; the service


async def test_what_is_said_last_arrives(world: Gateway) -> None:
    """A DISCONNECT that is gathered is sent before the connection closes."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        client.send(bytes([5]) + b"\0\0\0\x06nosuch")
        await client.wait_gone()
        assert any("DISCONNECT" in line for line in client.log.lines)


def test_asyncssh_asks_us_to_prepare_names() -> None:
    """For the user names of clients; the seam stands in its module."""
    assert vars(asyncssh.connection)["saslprep"] is prepare_name


@pytest.mark.parametrize(
    "text", [*map(chr, range(32, 127)), string.printable[:94], "root%web1", "", "\ufb01", "a\u00adb"]
)
def test_a_prepared_name_is_what_the_tables_make_of_it(text: str) -> None:
    """Also where the tables are not asked."""
    assert prepare_name(text) == saslprep(text)


@pytest.mark.parametrize("text", ["a\x00", "\x7f", "\n", "\u0221", "\u0627a"])
def test_a_name_that_is_not_allowed_is_refused(text: str) -> None:
    """Controls, unassigned characters, mixed directions."""
    with pytest.raises(SASLPrepError):
        prepare_name(text)


async def test_a_handler_that_never_waits_is_done_at_once() -> None:
    """No task, no other step of the loop."""
    done: list[str] = []

    async def handle() -> None:
        done.append("all")

    assert begun(handle()) is True
    assert done == ["all"]


async def test_a_handler_that_waits_is_gone_on_with() -> None:
    """With results, errors and cancellations where it waits, as if it had been a task from the start."""
    gate = asyncio.get_running_loop().create_future()
    wrong = asyncio.get_running_loop().create_future()
    at: asyncio.Queue[str] = asyncio.Queue()

    async def handle() -> None:
        at.put_nowait(await gate)
        try:
            await wrong
        except ValueError:
            at.put_nowait("error")
        try:
            await asyncio.Event().wait()
        finally:
            at.put_nowait("over")

    rest = begun(handle())
    assert not isinstance(rest, bool)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(cast(Coroutine[Any, Any, None], rest))
        gate.set_result("first")
        assert await at.get() == "first"
        wrong.set_exception(ValueError())
        assert await at.get() == "error"
        task.cancel()
        assert await at.get() == "over"
    assert task.cancelled()


async def test_errors_of_a_handler_reach_who_calls_it() -> None:
    """But those of decoding, which come when awaited."""

    async def handle(error: Exception) -> None:
        raise error

    with pytest.raises(asyncssh.ProtocolError):
        begun(handle(asyncssh.ProtocolError("no")))
    rest = begun(handle(PacketDecodeError("short")))
    assert not isinstance(rest, bool)
    with pytest.raises(PacketDecodeError):
        await rest
