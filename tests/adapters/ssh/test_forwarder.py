"""Sessions through the proxy between asyncssh peers, over real sockets: every byte, status and signal arrives."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.parts import LivePart
from interlock.adapters.ssh import leg
from interlock.adapters.ssh.algorithms import ALL_CIPHERS
from interlock.core import wire
from interlock.core.ids import SessionId
from interlock.core.messages import channel_request
from interlock.ports import RecordingParts
from interlock.testing.offences import open_session, start
from interlock.testing.plain_target import bulk, plain_target
from interlock.testing.ssh_pair import Gateway, gateway

pytestmark = pytest.mark.slow

GCM, CHACHA, CTR = "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"
SIZE = 3_000_000


async def both_ways(client: asyncssh.SSHClientConnection, size: int = SIZE) -> None:
    """Bulk data in both directions at once, compared to the byte."""
    data = bulk(size)
    async with client.create_process(f"both {size}", encoding=None) as process:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(feed(process, data))
            got = tasks.create_task(process.stdout.read())
        assert sending.done()
        assert got.result() == data
        assert await process.stderr.read() == hashlib.sha256(data).hexdigest().encode()
        assert (await process.wait()).exit_status == 0


async def feed(process: asyncssh.SSHClientProcess[bytes], data: bytes) -> None:
    """Write, and then EOF."""
    for at in range(0, len(data), 65536):
        process.stdin.write(data[at : at + 65536])
        await process.stdin.drain()
    process.stdin.write_eof()


@pytest.mark.parametrize("target", ALL_CIPHERS)
@pytest.mark.parametrize("client", [GCM, CHACHA, CTR])
async def test_bulk_for_every_pair_of_ciphers(tmp_path: Path, client: str, target: str) -> None:
    """In place where both legs use the same family, framed anew where they do not."""
    async with (
        gateway(tmp_path, ciphers=ALL_CIPHERS) as world,
        plain_target(world, encryption_algs=[target]),
        await world.client("plain1", encryption_algs=[client]) as connection,
    ):
        assert connection.get_extra_info("send_cipher") == client
        await both_ways(connection, 600_000)


@pytest.mark.parametrize("pair", [(GCM, GCM), (CHACHA, CHACHA), (CHACHA, GCM), (GCM, CTR)])
@pytest.mark.parametrize("who", ["client", "target", "both", "gateway", "all"])
async def test_keys_change_during_bulk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, pair: tuple[str, str]
) -> None:
    """Whoever renews keys, on one leg or on both at once: not a byte is lost, and it really happens."""
    exchanges: list[str] = []
    original = leg.Leg.keys_sent

    def keys_sent(self: leg.Leg) -> None:
        exchanges.append(self.side.value)
        original(self)

    monkeypatch.setattr(leg.Leg, "keys_sent", keys_sent)
    if who in {"gateway", "all"}:
        monkeypatch.setattr(leg, "REKEY_BYTES", 400_000)
    on_target: dict[str, Any] = {"rekey_bytes": 300_000} if who in {"target", "both", "all"} else {}
    on_client: dict[str, Any] = {"rekey_bytes": 250_000} if who in {"client", "both", "all"} else {}
    async with gateway(tmp_path, ciphers=ALL_CIPHERS) as world:
        async with (
            plain_target(world, encryption_algs=[pair[1]], **on_target),
            await world.client("plain1", encryption_algs=[pair[0]], **on_client) as client,
        ):
            await both_ways(client)
            await both_ways(client, 100_000)
        await world.wait_clean()
    legs = {"client": {"client"}, "target": {"target"}}.get(who, {"client", "target"})
    assert set(exchanges) == legs
    assert len(exchanges) >= 4 * len(legs)


async def test_status_signal_and_stderr(world: Gateway) -> None:
    """How a command ends reaches the client as the target said it."""
    async with plain_target(world), await world.client("plain1") as client:
        assert (await client.run("exit 3", check=False)).exit_status == 3
        killed = await client.run("signal TERM", check=False)
        assert killed.exit_signal is not None
        assert killed.exit_signal[0] == "TERM"
        assert (await client.run("stderr")).stderr == "to stderr"
    await world.wait_clean()
    codes = [each["exitCode"] for each in await world.events("exec")]
    assert codes == ["3", "-1", "0"]


async def test_eof_passes_alone_in_both_directions(world: Gateway) -> None:
    """The client's EOF lets the target finish, and what it says afterwards still arrives."""
    data = bulk(500_000)
    async with plain_target(world), await world.client("plain1") as client:
        done = await client.run("take", input=data, encoding=None)
        assert done.stdout == hashlib.sha256(data).hexdigest().encode()


async def test_sftp(world: Gateway, tmp_path: Path) -> None:
    """Files go both ways unchanged."""
    (tmp_path / "up").write_bytes(bulk(SIZE))
    async with (
        plain_target(world, sftp_factory=True),
        await world.client("plain1") as client,
        client.start_sftp_client() as sftp,
    ):
        await sftp.put(tmp_path / "up", str(tmp_path / "there"))
        await sftp.get(str(tmp_path / "there"), tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == bulk(SIZE)
    await world.wait_clean()
    assert [each["name"] for each in await world.events("subsystem")] == ["sftp"]


async def test_terminal_settings_pass(world: Gateway) -> None:
    """A terminal with sizes and breaks; resizes are events, the recording has the output."""
    async with (
        plain_target(world),
        await world.client("plain1") as client,
        client.create_process(term_type="xterm", term_size=(80, 24), encoding=None) as process,
    ):
        process.stdin.write(b"hello")
        assert await process.stdout.read(5) == b"hello"
        process.change_terminal_size(132, 43)
        process.stdin.write(b"again")
        assert await process.stdout.read(5) == b"again"
        process.stdin.write_eof()
        await process.wait()
    await world.wait_clean()
    assert [each["size"] for each in await world.events("resize")] == ["132:43"]
    sid = SessionId(str((await world.events("session.start"))[0]["sid"]))
    stored = b"".join([piece async for piece in world.recordings.read(sid)])
    assert stored


async def test_twenty_channels_on_one_connection(world: Gateway) -> None:
    """Each has its own ID, one start and one end, and its own bytes."""
    async with plain_target(world), await world.client("plain1") as client, asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(both_ways(client, 200_000))
    await world.wait_clean()
    for name in ("session.start", "session.end", "session.data"):
        assert len({each["sid"] for each in await world.events(name)}) == 20
    sent = [(each["tx"], each["rx"]) for each in await world.events("session.data")]
    assert sent == [(200_000, 200_064)] * 20


async def test_window_that_is_used_up(world: Gateway) -> None:
    """A client that stops reading stops the target; when it goes on, everything is there."""
    async with (
        plain_target(world),
        await world.client("plain1") as client,
        client.create_process(f"send {8 * SIZE}", encoding=None, window=100_000) as process,
    ):
        live = world.sessions.live[0]
        passed = -1
        while (now := live.traffic()[1]) != passed or not now:
            passed = now
            await asyncio.sleep(0.05)
        assert passed < 500_000
        assert await process.stdout.read() == bulk(8 * SIZE)


async def test_client_that_dies_is_found(tmp_path: Path) -> None:
    """Keepalives that nobody answers end the session, with that reason."""
    async with gateway(tmp_path, keepalive_interval=0.05) as world:
        async with plain_target(world):
            client, _ = await start(world)
            async with client:
                await client.wait_gone()
            await world.wait_clean()
        reasons = [each["reason"] for each in await world.events("client.disconnect")]
        assert reasons == ["the client disconnected: no answer to keepalives"]


async def test_shutting_down_tells_people(world: Gateway) -> None:
    """Everybody reads why, on stderr and in the goodbye, and the session ends with that reason."""
    async with plain_target(world):
        client, _ = await start(world)
        async with client:
            await world.proxy.stop("closing time")
            assert b"closing time" in await client.expect(wire.CHANNEL_EXTENDED_DATA)
            assert await client.wait_gone() == "closing time"
        await world.wait_clean()
    assert [each["reason"] for each in await world.events("client.disconnect")] == ["closing time"]


@pytest.mark.parametrize("cause", ["no space left on device", "read-only"])
async def test_disk_that_refuses_at_the_start(tmp_path: Path, cause: str) -> None:
    """The command does not run; the person reads why, and so does the audit log."""
    full = FullDisk(tmp_path / "recordings", OSError(28, cause), after=0)
    async with gateway(tmp_path, parts=full.parts) as world:
        async with plain_target(world):
            async with await world.client("plain1") as client:
                done = await client.run("stderr", check=False)
            assert done.stdout == ""
            assert done.stderr == f"the session cannot be recorded: {cause}\r\n"
            assert done.exit_status == 254
            await world.wait_clean()
        rejected = await world.events("session.rejected")
        assert len(rejected) == 1
        assert cause in str(rejected[0]["reason"])
        assert not await world.events("session.start")


async def test_everything_asked_is_answered_before_the_refusal(tmp_path: Path) -> None:
    """A terminal and a shell asked for together: both replies, then text, status and close (RFC 4254 §5.4)."""
    full = FullDisk(tmp_path / "recordings", OSError(28, "no space left on device"), after=0)
    async with gateway(tmp_path, parts=full.parts) as world, plain_target(world):
        async with await world.raw_client("plain1") as client:
            client.send(open_session())
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            terminal = wire.string("xterm") + wire.uint32(80) * 4 + wire.string("")
            client.send(channel_request(0, b"pty-req", want_reply=True, data=terminal))
            client.send(channel_request(0, b"shell", want_reply=True))
            await client.expect(wire.CHANNEL_CLOSE)
        names = [line.split()[1] for line in client.log.since("CHANNEL_OPEN_CONFIRMATION") if line[0] == "<"]
        assert names[-5:] == [
            "CHANNEL_SUCCESS",
            "CHANNEL_SUCCESS",
            "CHANNEL_EXTENDED_DATA",
            "CHANNEL_REQUEST",
            "CHANNEL_CLOSE",
        ]
        assert client.log.lines[-2] == "< CHANNEL_REQUEST 0 exit-status want=0 b'\\x00\\x00\\x00\\xfe'"
        await world.wait_clean()


async def test_disk_that_refuses_in_the_middle(tmp_path: Path) -> None:
    """The session ends with a message; it has one end, whose reason is the disk."""
    full = FullDisk(tmp_path / "recordings", OSError(28, "no space left on device"), after=1)
    async with gateway(tmp_path, parts=full.parts) as world:
        async with plain_target(world), await world.client("plain1") as client:
            done = await client.run(f"send {20 * SIZE}", check=False, encoding=None)
            assert isinstance(done.stderr, bytes)
            assert b"the session cannot be recorded: no space left on device" in done.stderr
            assert done.exit_status is None
        await world.wait_clean()
        assert len(await world.events("session.end")) == 1
        assert "no space left" in str((await world.events("client.disconnect"))[0]["reason"])


class FullDisk(FileRecordings):
    """Recordings whose parts take ``after`` writes, and then none."""

    def __init__(self, directory: Path, error: OSError, *, after: int) -> None:
        super().__init__(directory)
        self._error = error
        self._after = after

    def parts(self, recordings: FileRecordings) -> RecordingParts:
        """Stand in front of the disk: the same directory."""
        del recordings
        return self

    def create(self, sid: SessionId) -> LivePart:
        """A part that fails in time."""
        return FullPart(self.path(sid), self._error, self._after)


class FullPart(LivePart):
    """One part."""

    def __init__(self, path: Path, error: OSError, left: int) -> None:
        super().__init__(path)
        self._error = error
        self._left = left

    def append(self, data: bytes) -> None:
        """Fail when the writes are used up."""
        if self._left <= 0:
            raise self._error
        self._left -= 1
        super().append(data)
