"""SFTP of every version between asyncssh peers through the gateway: what is told of it, and what a role stops.

OpenSSH's own programs, which speak version 3, are in tests/interop.
"""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh.algorithms import ALL_CIPHERS
from interlock.domain.access import FileTransfer, RoleOptions
from interlock.domain.duties import RecordingMode
from interlock.domain.rbac import Role
from interlock.testing.plain_target import bulk, plain_target
from interlock.testing.ssh_pair import LOGIN, Gateway, gateway

VERSIONS = [3, 4, 5, 6]
DATA = bulk(1_000_000)
SHA = hashlib.sha256(DATA).hexdigest()


def allow(world: Gateway, transfers: FileTransfer) -> None:
    """What the user's role says from now on."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(file_transfer=transfers))


async def told(world: Gateway) -> list[tuple[Any, ...]]:
    """Code, path, direction and hash of what was told about files."""
    names = ("code", "path", "direction", "sha256")
    return [tuple(each.get(name) for name in names) for each in await world.events("sftp")]


async def everything(sftp: asyncssh.SFTPClient, directory: Path) -> list[str]:
    """All that can be done with files, one after the other; which of it was denied."""
    up, there, down = directory / "up", str(directory / "there"), directory / "down"
    up.write_bytes(DATA)
    (directory / "source").write_bytes(DATA)
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: sftp.get(str(directory / "source"), down, max_requests=1),
        "put": lambda: sftp.put(up, there, max_requests=1),
        "mkdir": lambda: sftp.mkdir(f"{there}.dir"),
        "rmdir": lambda: sftp.rmdir(f"{there}.dir"),
        "rename": lambda: sftp.rename(there, f"{there}.new"),
        "chmod": lambda: sftp.chmod(f"{there}.new", 0o600),
        "symlink": lambda: sftp.symlink(f"{there}.new", f"{there}.symlink"),
        "link": lambda: sftp.link(f"{there}.new", f"{there}.link"),
        "remove": lambda: sftp.remove(f"{there}.link"),
        "posix_rename": lambda: sftp.posix_rename(f"{there}.new", f"{there}.last"),
    }
    denied = []
    for name, attempt in attempts.items():
        try:
            await attempt()
        except asyncssh.SFTPPermissionDenied:
            denied.append(name)
    return denied


def files(directory: Path) -> set[str]:
    """What is in a directory, beside directories."""
    return {path.name for path in directory.iterdir() if not path.is_dir()}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version(world: Gateway, tmp_path: Path, version: int) -> None:
    """Each has its own layouts, and comes to the same events."""
    async with (
        plain_target(world, sftp_factory=True, sftp_version=version),
        await world.client("plain1") as client,
        client.start_sftp_client(sftp_version=version) as sftp,
    ):
        assert sftp.version == version
        assert await everything(sftp, tmp_path) == []
    await world.wait_clean()
    there = f"{tmp_path}/there"
    assert await told(world) == [
        ("TS001I", f"{tmp_path}/source", "download", SHA),
        ("TS001I", there, "upload", SHA),
        ("TS012I", f"{there}.dir", None, None),
        ("TS013I", f"{there}.dir", None, None),
        ("TS016I", there, None, None),
        ("TS007I", f"{there}.new", None, None),
        ("TS018I", f"{there}.{'new' if version == 6 else 'symlink'}", None, None),  # below 6 as the draft has it
        ("TS019I", f"{there}.new", None, None),
        ("TS011I", f"{there}.link", None, None),
        ("TS016I", f"{there}.new", None, None),
    ]
    [summary] = await world.events("sftp_summary")
    assert (summary["files"], summary["bytes_read"], summary["bytes_written"]) == (2, len(DATA), len(DATA))
    assert "partial" not in summary


@pytest.mark.parametrize("version", VERSIONS)
async def test_downloads_only(world: Gateway, tmp_path: Path, version: int) -> None:
    """Whatever would change the target is denied, in each version's words, and nothing changed."""
    allow(world, FileTransfer.DOWNLOAD)
    async with (
        plain_target(world, sftp_factory=True, sftp_version=version),
        await world.client("plain1") as client,
        client.start_sftp_client(sftp_version=version) as sftp,
    ):
        denied = await everything(sftp, tmp_path)
    assert denied == [
        "put",
        "mkdir",
        "rmdir",
        "rename",
        "chmod",
        "symlink",
        "link",
        "remove",
        "posix_rename",
    ]
    assert files(tmp_path) == {"up", "source", "down"}
    got, *refused = await told(world)
    assert got == ("TS001I", f"{tmp_path}/source", "download", SHA)
    assert [code for code, *_ in refused] == ["TS020E"] * len(denied)


@pytest.mark.parametrize("version", VERSIONS)
async def test_uploads_only(world: Gateway, tmp_path: Path, version: int) -> None:
    """Nothing comes back."""
    allow(world, FileTransfer.UPLOAD)
    async with (
        plain_target(world, sftp_factory=True, sftp_version=version),
        await world.client("plain1") as client,
        client.start_sftp_client(sftp_version=version) as sftp,
    ):
        assert await everything(sftp, tmp_path) == ["get"]
    down = tmp_path / "down"
    assert not down.exists() or not down.read_bytes()
    refused, put, *_ = await told(world)
    assert refused == ("TS020E", f"{tmp_path}/source", "download", None)
    assert put == ("TS001I", f"{tmp_path}/there", "upload", SHA)


@pytest.mark.parametrize("target", ALL_CIPHERS)
@pytest.mark.parametrize("client", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"])
async def test_what_is_changed_in_passing_for_every_pair_of_ciphers(
    tmp_path: Path, client: str, target: str
) -> None:
    """Sealed in place where both legs use the same family, framed anew where they do not."""
    async with gateway(tmp_path, ciphers=ALL_CIPHERS) as world:
        allow(world, FileTransfer.DOWNLOAD)
        async with (
            plain_target(world, encryption_algs=[target], sftp_factory=True),
            await world.client("plain1", encryption_algs=[client]) as connection,
            connection.start_sftp_client() as sftp,
        ):
            kept = tmp_path / "kept"
            kept.write_bytes(b"kept")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.remove(str(kept))
            assert kept.exists()
            async with sftp.open(str(kept)) as file:
                assert await file.read() == "kept"


async def test_requests_in_flight(world: Gateway, tmp_path: Path) -> None:
    """asyncssh reads and writes 128 blocks at once; bytes are exact whatever the order of the answers."""
    (tmp_path / "up").write_bytes(DATA)
    async with (
        plain_target(world, sftp_factory=True),
        await world.client("plain1") as client,
        client.start_sftp_client() as sftp,
    ):
        await sftp.put(tmp_path / "up", str(tmp_path / "there"), block_size=4096)
        await sftp.get(str(tmp_path / "there"), tmp_path / "down", block_size=4096)
    assert (tmp_path / "down").read_bytes() == DATA
    events = await world.events("sftp")
    assert [(each["direction"], each["bytes"]) for each in events] == [
        ("upload", len(DATA)),
        ("download", len(DATA)),
    ]
    assert all(each.get("sha256", SHA) == SHA and ("sha256" in each) != ("partial" in each) for each in events)


@pytest.mark.parametrize("mode", [RecordingMode.OFF, RecordingMode.NODE])
async def test_files_are_told_in_every_mode(world: Gateway, tmp_path: Path, mode: RecordingMode) -> None:
    """Also where the session is not recorded: what the audit log has does not depend on it."""
    world.record_in(mode)
    async with (
        plain_target(world, sftp_factory=True),
        await world.client("plain1") as client,
        client.start_sftp_client() as sftp,
    ):
        (tmp_path / "up").write_bytes(DATA)
        await sftp.put(tmp_path / "up", str(tmp_path / "there"), max_requests=1)
    assert await told(world) == [("TS001I", f"{tmp_path}/there", "upload", SHA)]


async def test_no_file_transfers(world: Gateway) -> None:
    """The person reads why, and the session never starts."""
    allow(world, FileTransfer.NONE)
    async with plain_target(world, sftp_factory=True), await world.client("plain1") as client:
        for command in ("scp -t /tmp/x", "/usr/lib/openssh/sftp-server"):
            done = await client.run(command, check=False)
            assert done.exit_status == 254
            assert "your role does not allow" in str(done.stderr)
        assert (await client.run("exit 3", check=False)).exit_status == 3
    await world.wait_clean()
    assert [each["command"] for each in await world.events("exec")] == ["exit 3"]
    assert [each["code"] for name in ("sftp", "scp") for each in await world.events(name)] == ["TS020E", "T3010E"]


@pytest.mark.parametrize("way", ["channel", "connection"])
async def test_a_client_that_leaves_within_a_file(world: Gateway, tmp_path: Path, way: str) -> None:
    """What passed is told, as cut off."""
    async with plain_target(world, sftp_factory=True), await world.client("plain1") as client:
        sftp = await client.start_sftp_client()
        file = await sftp.open(str(tmp_path / "there"), "wb")
        await file.write(DATA[:5000], 0)
        if way == "channel":
            sftp.exit()
            await sftp.wait_closed()
        else:
            client.abort()
    await world.wait_clean()
    [event] = await world.events("sftp")
    assert (event["code"], event["bytes"], event["partial"]) == ("TS001E", 5000, True)
    assert event["error"] == "the session ended before the file was closed"


async def test_a_terminal_between_a_restricted_client_and_the_server(world: Gateway) -> None:
    """Its modes could make an allowed request a forbidden one behind the gateway."""
    allow(world, FileTransfer.DOWNLOAD)
    async with plain_target(world, sftp_factory=True), await world.client("plain1") as client:
        for asked in ({"subsystem": "sftp"}, {"command": "scp -f /tmp/x"}):
            async with client.create_process(**asked, term_type="xterm") as process:
                done = await process.wait()
            assert done.exit_status == 254
            assert "your role does not allow file transfers through a terminal" in str(done.stderr)
    await world.wait_clean()
    assert [each["code"] for name in ("sftp", "scp") for each in await world.events(name)] == ["TS020E", "T3010E"]
