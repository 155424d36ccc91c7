"""File transfers with the stock tools: one event per file, wherever it is recorded and whatever is between."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient
from interlock.testing.procs import Completed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

TARGETS = Cluster.targets
MEGABYTE = 1_000_000

Event = dict[str, Any]


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("transfers", person)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of random bytes, larger than every window and buffer on the way."""
    path = tmp_path / "original file"
    path.write_bytes(os.urandom(5 * MEGABYTE + 17))
    return path


def host(cluster: Cluster, target: str) -> str:
    """The target as one word, for tools that take a host."""
    return cluster.route(target)[0]


def sha(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(witness: Witness, sessions: int = 1) -> list[Event]:
    """The events about files of the sessions since, in their order; each session is whole."""
    events = witness.wait_ended(sessions)
    ends = [event["event"] for event in events if event["event"] == "session.end"]
    assert len(ends) == sessions
    return [event for event in events if event["event"] in {"sftp", "sftp_summary", "scp"}]


def facts(event: Event) -> dict[str, Any]:
    """What an event says beside who, where and when."""
    names = ("code", "path", "target_path", "name", "direction", "bytes", "sha256", "partial", "success", "error")
    return {name: event[name] for name in names if name in event}


def moved(code: str, path: Path, direction: str, contents: Path, **more: Any) -> dict[str, Any]:
    """An event of a file that arrived."""
    size = contents.stat().st_size
    fields = {"code": code, "path": str(path), "direction": direction, "bytes": size, "sha256": sha(contents)}
    return {**fields, "success": True, **more}


def sftp(client: SshClient, cluster: Cluster, target: str, batch: str) -> Completed:
    """Run a batch."""
    return client.run("-b", "-", host(cluster, target), stdin=batch.encode(), program="sftp")


@pytest.mark.parametrize("target", TARGETS)
def test_sftp(cluster: Cluster, client: SshClient, target: str, original: Path, tmp_path: Path) -> None:
    """One event per file with its SHA-256, one per change, and one summary."""
    witness = Witness(cluster)
    a, b, c, d, link, hard = (tmp_path / name for name in ("a", "b", "c", "d", "link", "hard"))
    batch = f"""put "{original}" {a}
get {a} {c}
rename {a} {b}
mkdir {d}
rmdir {d}
chmod 600 {b}
ln -s {b} {link}
ln {b} {hard}
rm {link}
-get {tmp_path}/missing {tmp_path}/x
-rmdir {tmp_path}/missing
"""
    sftp(client, cluster, target, batch).check()
    assert sha(c) == sha(original)
    *events, summary = told(witness)
    assert [facts(event) for event in events] == [
        moved("TS001I", a, "upload", original),
        moved("TS001I", a, "download", original),
        {"code": "TS016I", "path": str(a), "target_path": str(b), "success": True},
        {"code": "TS012I", "path": str(d), "success": True},
        {"code": "TS013I", "path": str(d), "success": True},
        {"code": "TS007I", "path": str(b), "success": True},
        {"code": "TS018I", "path": str(b), "target_path": str(link), "success": True},
        {"code": "TS019I", "path": str(b), "target_path": str(hard), "success": True},
        {"code": "TS011I", "path": str(link), "success": True},
        {"code": "TS013E", "path": f"{tmp_path}/missing", "success": False, "error": "no such file"},
    ]
    size = original.stat().st_size
    assert summary["code"] == "TS021I"
    assert summary["file_transfer_stats"] == [{"path": str(a), "bytes_read": size, "bytes_written": size}]
    assert {event["sid"] for event in [*events, summary]} == {summary["sid"]}


@pytest.mark.parametrize("target", TARGETS)
def test_scp_over_sftp(cluster: Cluster, client: SshClient, target: str, original: Path, tmp_path: Path) -> None:
    """`scp -s`, both ways: a session each."""
    witness = Witness(cluster)
    there, back = tmp_path / "there", tmp_path / "back"
    client.run("-s", str(original), f"{host(cluster, target)}:{there}", program="scp").check()
    client.run("-s", f"{host(cluster, target)}:{there}", str(back), program="scp").check()
    files = [event for event in told(witness, 2) if event["code"] == "TS001I"]
    assert [facts(event) for event in files] == [
        moved("TS001I", there, "upload", original),
        moved("TS001I", there, "download", original),
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_scp_with_its_old_protocol(
    cluster: Cluster, client: SshClient, target: str, original: Path, tmp_path: Path
) -> None:
    """`scp -O`, both ways, with times and directories."""
    witness = Witness(cluster)
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "one").write_bytes(b"1")
    there, back = tmp_path / "there", tmp_path / "back"
    client.run("-O", "-p", str(original), f"{host(cluster, target)}:{there}", program="scp").check()
    client.run("-O", f"{host(cluster, target)}:{there}", str(back), program="scp").check()
    client.run("-O", "-r", str(tree), f"{host(cluster, target)}:{tmp_path}/copy", program="scp").check()
    assert sha(back) == sha(original)
    assert [facts(event) for event in told(witness, 3)] == [
        moved("T3005I", there, "upload", original, name="original file"),
        moved("T3004I", there, "download", original, name="there"),
        moved("T3005I", tmp_path / "copy", "upload", tree / "sub" / "one", name="tree/sub/one"),
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_scp_that_fails(cluster: Cluster, client: SshClient, target: str, tmp_path: Path) -> None:
    """The file is told, with the words that the person reads."""
    witness = Witness(cluster)
    done = client.run("-O", f"{host(cluster, target)}:{tmp_path}/missing", str(tmp_path), program="scp")
    assert done.rc == 1
    [event] = told(witness)
    assert event["code"] == "T3004E"
    assert event["path"] == f"{tmp_path}/missing"
    assert event["error"].endswith("missing: No such file or directory")


@pytest.mark.parametrize("target", TARGETS)
def test_fifty_megabytes_are_one_event(cluster: Cluster, client: SshClient, target: str, tmp_path: Path) -> None:
    """However many writes it takes."""
    witness = Witness(cluster)
    big = tmp_path / "big"
    big.write_bytes(os.urandom(MEGABYTE) * 50)
    sftp(client, cluster, target, f"put {big} {tmp_path}/there\n").check()
    [event, summary] = told(witness)
    assert facts(event) == moved("TS001I", tmp_path / "there", "upload", big)
    assert summary["files"] == 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_transfer_that_is_resumed_claims_no_hash(
    cluster: Cluster, client: SshClient, target: str, original: Path, tmp_path: Path
) -> None:
    """Only a part of the file passed."""
    witness = Witness(cluster)
    there = tmp_path / "there"
    there.write_bytes(original.read_bytes()[:MEGABYTE])
    sftp(client, cluster, target, f'reput "{original}" {there}\n').check()
    assert sha(there) == sha(original)
    [event, _] = told(witness)
    size = original.stat().st_size - MEGABYTE
    expected = {"code": "TS001I", "path": str(there), "direction": "upload", "bytes": size}
    assert facts(event) == {**expected, "partial": True, "success": True}


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"])
def test_every_cipher_family(
    cluster: Cluster, client: SshClient, cipher: str, original: Path, tmp_path: Path
) -> None:
    """Whatever the client's leg is encrypted with."""
    witness = Witness(cluster)
    there = tmp_path / "there"
    to = f"{host(cluster, Cluster.agentless_name)}:{there}"
    client.run("-s", "-o", f"Ciphers={cipher}", str(original), to, program="scp").check()
    [event] = [event for event in told(witness) if event["code"] == "TS001I"]
    assert facts(event) == moved("TS001I", there, "upload", original)
