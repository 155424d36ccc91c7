"""What the forwarder keeps of sessions between asyncssh peers: by mode, role and terminal, never by the client."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.access import RoleOptions, Strictness
from interlock.domain.container import decode
from interlock.domain.duties import RecordingMode
from interlock.domain.rbac import Role
from interlock.domain.recording import Output, Stream
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import LOGIN, Gateway, gateway

pytestmark = pytest.mark.slow

TYPED = "typed by the client\n"


def allow(world: Gateway, **options: Any) -> None:
    """Give everybody's role these options."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(**options))


async def talk(world: Gateway, command: str | None, *, pty: bool, subsystem: str = "", **options: Any) -> str:
    """Type into a session that answers with what it reads; what it answered."""
    settings = options | ({"term_type": "xterm"} if pty else {}) | ({"subsystem": subsystem} if subsystem else {})
    async with await world.client("plain1") as client, client.create_process(command, **settings) as process:
        process.stdin.write(TYPED)
        process.stdin.write_eof()
        answer = await process.stdout.read()
    await world.wait_clean()
    return str(answer)


async def kept(recordings: FileRecordings, sid: SessionId, stream: Stream) -> bytes:
    """The bytes of a stream that are in the recording."""
    bodies = [frame.body for frame in decode([chunk async for chunk in recordings.read(sid)])]
    return b"".join(body.data for body in bodies if isinstance(body, Output) and body.stream is stream)


async def only_session(world: Gateway) -> SessionId:
    """The ID of the one session that was."""
    [start] = await world.events("session.start")
    return parse_session_id(str(start["sid"]))


async def levels(world: Gateway) -> dict[str, str]:
    """The manifest of the one session that was."""
    [end] = await world.events("session.end")
    rows = end["coverage"]
    assert isinstance(rows, list)
    return {str(row["what"]): str(row["level"]) for row in rows if isinstance(row, dict)}


@pytest.mark.parametrize("mode", RecordingMode)
@pytest.mark.parametrize("asked", [False, True], ids=["output", "input-too"])
@pytest.mark.parametrize("pty", [True, False], ids=["pty", "none"])
@pytest.mark.parametrize("kind", ["shell", "exec", "subsystem"])
async def test_r03_every_kind_in_every_mode(
    tmp_path: Path, kind: str, pty: bool, asked: bool, mode: RecordingMode
) -> None:
    """R3: an agentless target's output is kept whatever asks for it; input of commands if a role says so."""
    async with gateway(tmp_path) as world, plain_target(world):
        world.record_in(mode)
        allow(world, record_input=asked)
        command, subsystem = {"shell": (None, ""), "exec": ("cat", ""), "subsystem": (None, "cat")}[kind]
        answer = await talk(world, command, pty=pty, subsystem=subsystem)
        sid = await only_session(world)
        await world.sessions.end_all("")
        off = mode is RecordingMode.OFF
        keeps_input = asked and not pty and not off
        assert await levels(world) == {
            "session": "none" if off else "full",
            "input": "full" if keeps_input else "none",
        }
        if off:
            assert await world.recordings.recordings() == []
            assert not await world.events("session.upload")
        else:
            assert await kept(world.recordings, sid, Stream.STDOUT) == answer.encode()
            assert await kept(world.recordings, sid, Stream.STDIN) == (TYPED.encode() if keeps_input else b"")


@pytest.mark.parametrize(
    "command",
    [
        "scp -t scratch; bash",
        "scp -f /etc/passwd",
        "rsync --server -e.LsfxC . x",
        "/usr/lib/openssh/sftp-server",
        "echo Starting;",
        "git-receive-pack x",
        "interlock status --recording off",
        "\x1b]0;title\x07",
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize("pty", [True, False], ids=["pty", "none"])
async def test_r02_nothing_that_a_client_says_changes_the_level(tmp_path: Path, pty: bool, command: str) -> None:
    """R2: no command text, file name, environment or prompt; with and without a terminal."""
    async with gateway(tmp_path) as world, plain_target(world):
        env = {"INTERLOCK_RECORDING": "off", "LANG": "Starting", "TERM": "dumb"}
        answer = await talk(world, command, pty=pty, env=env)
        assert await levels(world) == {"session": "full", "input": "none"}
        await world.sessions.end_all("")
        assert await kept(world.recordings, await only_session(world), Stream.STDOUT) == answer.encode()


async def test_r10_by_best_effort_the_client_notices_nothing(tmp_path: Path) -> None:
    """R10: a part that cannot be made is an event, not the session's end."""
    async with gateway(tmp_path) as world, plain_target(world):
        allow(world, record_session=Strictness.BEST_EFFORT)
        (tmp_path / "recordings" / "live").rmdir()
        async with await world.client("plain1") as client:
            done = await client.run("stderr", check=True)
        assert done.stderr == "to stderr"
        await world.wait_clean()
        [lapse] = await world.events("session.recording.lapse")
        assert "cannot be recorded" in str(lapse["message"])
        assert (await levels(world))["session"] == "none"
        (tmp_path / "recordings" / "live").mkdir()


async def test_r02_a_roles_limit_keeps_metadata_only(tmp_path: Path) -> None:
    """R2: by policy and byte count, and the manifest says so."""
    async with gateway(tmp_path) as world, plain_target(world):
        allow(world, exec_output_limit=0)
        async with await world.client("plain1") as client:
            assert isinstance((await client.run("send 100000", encoding=None)).stdout, bytes)
        await world.wait_clean()
        assert (await levels(world))["session"] == "metadata"
        await world.sessions.end_all("")
        assert await kept(world.recordings, await only_session(world), Stream.STDOUT) == b""


async def test_a_session_that_is_off_has_its_id_all_the_same(tmp_path: Path) -> None:
    """The client is told it before its channel is accepted, and the tracker is there while it lives."""
    async with gateway(tmp_path) as world, plain_target(world):
        world.record_in(RecordingMode.OFF)
        async with (
            await world.client("plain1") as client,
            client.create_process("cat") as process,
        ):
            process.stdin.write(TYPED)
            assert await process.stdout.readline() == TYPED
            [tracker] = await world.trackers.live()
            assert tracker.recording_mode == "off"
            process.stdin.write_eof()
            await process.wait()
        await world.wait_clean()
        assert await only_session(world) == tracker.sid
        [start] = await world.events("session.start")
        assert start["session_recording"] == "off"
        assert "forwarded_by" not in start


@pytest.mark.parametrize("mode", [mode for mode in RecordingMode if mode.sync])
@pytest.mark.parametrize("strictness", Strictness)
async def test_r10_a_disk_that_does_not_confirm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strictness: Strictness, mode: RecordingMode
) -> None:
    """R10, sync: what the disk took and then could not keep ends the session with a message, or is told."""
    async with gateway(tmp_path) as world, plain_target(world):
        world.record_in(mode)
        allow(world, record_session=strictness)
        async with await world.client("plain1") as client, client.create_process("cat") as process:
            process.stdin.write(TYPED)
            assert await process.stdout.readline() == TYPED

            def fails(_fd: int) -> None:
                raise OSError(5, "Input/output error")

            monkeypatch.setattr(os, "fdatasync", fails)
            process.stdin.write(TYPED)
            assert await process.stdout.readline() == TYPED
            if strictness is Strictness.STRICT:
                said = await process.stderr.read()
                assert "cannot be recorded as it happens: Input/output error" in str(said)
            else:
                while not await world.events("session.recording.lapse"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                process.stdin.write_eof()
                assert (await process.wait()).exit_status == 0
        await world.wait_clean()
        assert len(await world.events("session.end")) == 1
        assert (await levels(world))["sync"] == "partial"
        await world.sessions.end_all("")
        assert await kept(world.recordings, await only_session(world), Stream.STDOUT) == (TYPED * 2).encode()
