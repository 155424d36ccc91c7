"""What the disk has of sessions with the real ssh: encrypted and signed, and played by those who may."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient
from interlock.testing.procs import KitError, poll_until

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(180)]

COMMAND, SHOWN = "echo FRPERG-JBEQ | tr A-Z N-ZA-M", "SECRET-WORD"
"""The audit log has the command, which is why what it shows must not be in there."""

VERIFIER = Path(__file__).parents[2] / "docs" / "verify_recording.py"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose gateway, of two workers, encrypts for itself and for an auditor."""
    directory = tmp_path_factory.mktemp("kept")
    recipients = []
    for name in ("own", "auditor"):
        identity = pyrage.x25519.Identity.generate()
        (directory / name).write_text(f"{identity}\n")
        recipients.append(f'"{identity.to_public()}"')
    settings = f'[recordings]\nrecipients = [{", ".join(recipients)}]\nidentity = "{directory / "own"}"\n'
    with Cluster(directory / "cluster", mode="node", workers=2, settings=settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(sealed: Cluster) -> SshClient:
    """The stock client with the user's certificate."""
    return sealed.client("kept", sealed.person)


def stored(cluster: Cluster) -> list[dict[str, str]]:
    """The recordings that are stored."""
    rows = cluster.json("recordings", "ls")
    return [row for row in rows if row["state"] in ("complete", "cut off")]


@pytest.fixture(scope="module")
def recorded(sealed: Cluster, client: SshClient) -> list[str]:
    """One command on each kind of target; the sessions' IDs once all are stored."""
    for target in sealed.targets:
        client.run(*sealed.route(target), COMMAND).check()
    poll_until(lambda: len(stored(sealed)) == len(sealed.targets) or None, "stored recordings", 30)
    return [row["sid"] for row in stored(sealed)]


def test_all_are_signed_by_who_recorded_them(sealed: Cluster, recorded: list[str], tmp_path: Path) -> None:
    """Nodes apart and the gateway's workers; by ilctl, and by the program that knows only the format."""
    rows = sealed.json("recordings", "verify", "--all")
    assert sorted(row["sid"] for row in rows) == sorted(recorded)
    assert all(row["ok"] for row in rows)
    assert sorted(row["signer_role"] for row in rows) == ["auth", "node", "node"]
    keys, file = tmp_path / "keys", tmp_path / "x.ilr"
    keys.write_text(sealed.ilctl("auth", "export", "--type", "recordings").check().stdout)
    for sid in recorded:
        sealed.ilctl("recordings", "download", sid, "--out", file).check()
        command = [sys.executable, str(VERIFIER), str(file), str(keys)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"session {sid}, signed by" in ran.stdout


def test_nothing_on_any_disk_shows_what_was_shown(sealed: Cluster, recorded: list[str]) -> None:
    """Recipients read it, others are told what is missing."""
    auditor = sealed.directory.parent / "auditor"
    files = [path for sid in recorded for path in sealed.directory.rglob(f"{sid}.ilr")]
    assert len(files) == len(recorded)
    for sid in recorded:
        text = sealed.ilctl("recordings", "export", sid, "--format", "text", "--identity", auditor).check()
        assert text.stdout == f"{SHOWN}\n"
        with pytest.raises(KitError, match="the recording is encrypted"):
            sealed.ilctl("recordings", "export", sid, "--format", "text")
    assert not [path for path in files if SHOWN.encode() in path.read_bytes()]


def test_people_play_their_own_sessions(sealed: Cluster, recorded: list[str]) -> None:
    """With no key of theirs: the gateway has one and decides who may, as ever."""
    person = sealed.person
    for sid in recorded:
        played = sealed.ilsh(person.home, "play", sid, "--at", "1s").check()
        assert SHOWN in played.stdout
