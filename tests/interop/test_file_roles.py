"""Roles that restrict file transfers, with the stock tools: what is refused, what is read and told of it."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from interlock.core.transfer import messages
from interlock.core.wire import string, uint32
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import Completed
from interlock.testing.transfers import packet

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

TARGETS = Cluster.targets
FOREIGN_CIPHERS = ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of random bytes."""
    path = tmp_path / "original"
    path.write_bytes(os.urandom(300_000))
    return path


def client_of(cluster: Cluster, way: str) -> SshClient:
    """Somebody whose role allows files to go this way."""
    name = f"files-{way}"
    if name not in {role["name"] for role in cluster.json("roles", "ls")}:
        reach = ["--logins", cluster.login_name, "--labels", "env=test"]
        cluster.admin("roles", "add", name, *reach, "--option", f"file_transfer={way}")
        cluster.add_user(name, name)
    return cluster.client(name, cluster.login(name))


def host(cluster: Cluster, target: str) -> str:
    """The target as one word, for tools that take a host."""
    return cluster.route(target)[0]


def sha(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(witness: Witness, sessions: int = 1) -> list[dict[str, Any]]:
    """The events about files of the sessions since."""
    return [event for event in witness.wait_ended(sessions) if event["event"] in {"sftp", "scp"}]


def sftp(client: SshClient, to: str, batch: str, *options: str) -> Completed:
    """Run a batch to its end, whatever fails."""
    lines = "".join(f"-{line}\n" for line in batch.splitlines() if line)
    return client.run(*options, "-b", "-", to, stdin=lines.encode(), program="sftp")


@pytest.mark.parametrize("target", TARGETS)
def test_no_file_transfers(cluster: Cluster, target: str, original: Path, tmp_path: Path) -> None:
    """sftp and scp are refused with words and an event; nothing is copied, and commands run."""
    client = client_of(cluster, "none")
    witness = Witness(cluster)
    there = tmp_path / "there"
    to = f"{host(cluster, target)}:{there}"
    attempts = [
        (client.run(host(cluster, target), program="sftp"), "file transfers"),
        (client.run("-O", str(original), to, program="scp"), "uploads"),
        (client.run("-O", f"{host(cluster, target)}:{original}", str(there), program="scp"), "downloads"),
    ]
    for done, what in attempts:
        assert done.rc != 0
        assert f"your role does not allow {what}" in done.stderr
    assert not there.exists()
    client.run(*cluster.route(target), "true").check()
    assert [event["code"] for event in told(witness)] == ["TS020E", "T3010E", "T3010E"]


@pytest.mark.parametrize("target", TARGETS)
def test_no_file_transfers_by_jump(cluster: Cluster, target: str, original: Path, tmp_path: Path) -> None:
    """Also where the proxy only passes bytes on to the node: the node asks auth what the role says."""
    client = client_of(cluster, "none")
    to = cluster.jump(target)[-1]
    witness = Witness(cluster)
    done = client.run("-J", "gateway", "-s", str(original), f"{to}:{tmp_path}/there", program="scp")
    assert done.rc != 0
    assert "your role does not allow file transfers" in done.stderr
    assert not (tmp_path / "there").exists()
    refused = witness.wait_event("sftp", code="TS020E")
    assert refused["server_hostname"] == target


@pytest.mark.parametrize("target", TARGETS)
def test_downloads_only(cluster: Cluster, target: str, original: Path, tmp_path: Path) -> None:
    """What is read passes with its hash. What would change anything is denied, each with an event of its own."""
    client = client_of(cluster, "download")
    witness = Witness(cluster)
    back, there = tmp_path / "back", tmp_path / "there"
    before = original.stat().st_mode
    batch = f"""
put {original} {there}
mkdir {tmp_path}/dir
rename {original} {there}
chmod 777 {original}
ln -s {original} {there}
ln {original} {there}
rm {original}
get {original} {back}
ls {tmp_path}
"""
    done = sftp(client, host(cluster, target), batch)
    assert done.stderr.lower().count("permission denied") == 7, done.stderr
    assert (sha(back), original.stat().st_mode, there.exists()) == (sha(original), before, False)
    assert not (tmp_path / "dir").exists()
    events = told(witness)
    refused = [event["action"] for event in events if event["code"] == "TS020E"]
    assert refused == [1, 12, 16, 7, 18, 19, 11]
    [got] = [event for event in events if event["code"] == "TS001I"]
    assert (got["direction"], got["sha256"]) == ("download", sha(original))


@pytest.mark.parametrize("target", TARGETS)
def test_uploads_only(cluster: Cluster, target: str, original: Path, tmp_path: Path) -> None:
    """What is written passes with its hash, and names may change; nothing comes back."""
    client = client_of(cluster, "upload")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(100):
        (many / str(number)).write_text(f"{number}\n" * number)
    witness = Witness(cluster)
    back, there, renamed = tmp_path / "back", tmp_path / "there", tmp_path / "renamed"
    batch = f"put {original} {there}\nrename {there} {renamed}\nget {renamed} {back}\n"
    done = sftp(client, host(cluster, target), batch)
    assert done.stderr.lower().count("permission denied") == 1, done.stderr
    assert sha(renamed) == sha(original)
    assert not back.exists() or not back.stat().st_size
    put, change, refused = told(witness)
    witness = Witness(cluster)
    sftp(client, host(cluster, target), f"put -r {many} {tmp_path}/copy\n").check()
    files = [event for event in told(witness) if event["code"] == "TS001I"]
    assert {event["path"]: event["sha256"] for event in files} == {
        f"{tmp_path}/copy/{number}": sha(many / str(number)) for number in range(100)
    }
    assert len(files) == 100
    assert (put["direction"], put["sha256"]) == ("upload", sha(original))
    assert (change["code"], refused["code"], refused["direction"]) == ("TS016I", "TS020E", "download")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("way", ["download", "upload"])
def test_scp_of_a_role_with_one_direction(
    cluster: Cluster, target: str, way: str, original: Path, tmp_path: Path
) -> None:
    """Both protocols copy one way and are refused the other."""
    client = client_of(cluster, way)
    for protocol in ("-O", "-s"):
        up, down = tmp_path / f"up{protocol}", tmp_path / f"down{protocol}"
        upload = client.run(protocol, str(original), f"{host(cluster, target)}:{up}", program="scp")
        download = client.run(protocol, f"{host(cluster, target)}:{original}", str(down), program="scp")
        assert (upload.rc == 0, download.rc == 0) == (way == "upload", way == "download")
        assert (up.exists(), down.exists() and down.stat().st_size > 0) == (way == "upload", way == "download")


@pytest.mark.parametrize("cipher", FOREIGN_CIPHERS)
@pytest.mark.parametrize("road", ["route", "jump"])
def test_every_cipher_family(cluster: Cluster, road: str, cipher: str, original: Path, tmp_path: Path) -> None:
    """What is changed in passing is changed on both of the relay's roads: sealed in place, and framed anew."""
    to = host(cluster, Cluster.agentless_name) if road == "route" else cluster.jump(Cluster.agentless_name)[-1]
    options = ["-o", f"Ciphers={cipher}", *(["-J", "gateway"] if road == "jump" else [])]
    client = client_of(cluster, "download")
    back, there = tmp_path / "back", tmp_path / "there"
    batch = f"put {original} {there}\nrm {original}\nget {original} {back}\n"
    done = sftp(client, to, batch, *options)
    assert done.stderr.lower().count("permission denied") == 2, done.stderr
    assert sha(back) == sha(original)
    assert not there.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_request_in_pieces_ends_the_session(cluster: Cluster, target: str, original: Path) -> None:
    """It could not be judged before its type had passed, so it does not pass, and the person reads why."""
    client = client_of(cluster, "download")
    witness = Witness(cluster)
    argv = client.argv(*cluster.route(target), "-s", "sftp")
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_env()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(packet(messages.INIT, uint32(3)))
        process.stdin.flush()
        length = int.from_bytes(process.stdout.read(4), "big")
        process.stdout.read(length)
        process.stdin.write(packet(messages.REMOVE, uint32(1), string(str(original)))[:20])
        process.stdin.flush()
        words = process.stderr.read()
        process.wait()
    assert b"your role restricts file transfers, and this one could not be judged" in words
    assert original.exists()
    [event] = told(witness)
    assert event["code"] == "TS020E"
    assert "not complete within one packet" in event["error"]
