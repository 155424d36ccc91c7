"""``ilctl events verify``, and the key that it needs."""

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.daemons.local import open_local
from interlock.services.audit.checkpoints import Checkpoints

Ilctl = Callable[..., Any]


@pytest.fixture
def data(ilctl: Ilctl, tmp_path: Path) -> Path:
    """A data directory with a few events, signed, and one more."""
    assert ilctl("roles", "add", "admin", "--logins", "root", "--labels", "*").code == 0
    assert ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*").code == 0
    made = tmp_path / "data"

    async def sign() -> None:
        async with open_local(made) as local:
            await Checkpoints(
                local.evidence, lambda: local.authority.audit_key, cluster="interlock", clock=local.clock
            ).sign()

    asyncio.run(sign())
    assert ilctl("roles", "add", "ops", "--logins", "root", "--labels", "*").code == 0
    return made


def harm(data: Path, statement: str) -> None:
    """By raw SQL."""
    with sqlite3.connect(data / "interlock.db") as database:
        database.execute(statement)
    database.close()


@pytest.mark.usefixtures("data")
def test_a_whole_log_is_whole(ilctl: Ilctl) -> None:
    """Exit code 0, and a line for each writer."""
    shown = ilctl("events", "verify")
    assert (shown.code, shown.err) == (0, "")
    assert "Signed up to" in shown.out
    found = ilctl("events", "verify", "--format", "json").json()
    assert found["ok"]
    [writer] = found["writers"]
    assert writer["writer"].endswith(".ilctl")
    assert writer["signed"] == writer["last"] - 1


def test_a_fault_is_told_in_words_and_by_the_exit_code(ilctl: Ilctl, data: Path) -> None:
    """With writer and number."""
    harm(data, "UPDATE events SET body = replace(body, 'admin', 'nobody') WHERE number = 1")
    harm(data, "UPDATE checkpoints SET signature = zeroblob(64)")
    shown = ilctl("events", "verify")
    assert shown.code == 1
    assert shown.err == "error: the audit log is not what was written\n"
    assert ".ilctl, number 1: changed" in shown.out
    assert "checkpoint 1: bad checkpoint (its signature is not the cluster's)" in shown.out
    found = ilctl("events", "verify", "--format", "json")
    assert (found.code, found.json()["ok"]) == (1, False)
    assert {each["fault"] for each in found.json()["findings"]} == {"changed", "bad checkpoint"}


def test_a_key_that_was_kept_elsewhere_is_what_counts(ilctl: Ilctl, data: Path, tmp_path: Path) -> None:
    """The log's own is made by whoever made the log."""
    key, other = tmp_path / "key.pub", tmp_path / "other.pub"
    key.write_text(ilctl("auth", "export", "--type", "audit").out)
    other.write_text(ilctl("auth", "export", "--type", "host").out)
    assert key.read_text().startswith("ssh-ed25519 ")
    assert ilctl("events", "verify", "--key", key).code == 0
    assert ilctl("events", "verify", "--key", other).code == 1
    other.write_text("what is this")
    assert "is not a public key" in ilctl("events", "verify", "--key", other).err
    assert "cannot read" in ilctl("events", "verify", "--key", tmp_path / "none").err
    assert data.exists()


def test_checkpoints_that_had_left_count_too(ilctl: Ilctl, data: Path, tmp_path: Path) -> None:
    """One JSON object per line, among others."""
    with sqlite3.connect(data / "interlock.db") as database:
        [(body, signature)] = database.execute("SELECT body, signature FROM checkpoints").fetchall()
    database.close()
    kept = tmp_path / "gateway.log"
    line = json.dumps({"event": "audit.checkpoint", "body": body, "signature": signature.hex()})
    others = b"not JSON\n{}\n" + b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + b"x" * 100_000 + b"\n"
    kept.write_bytes(others + f"{line}\n".encode())
    assert ilctl("events", "verify", "--checkpoints", kept).code == 0
    harm(data, "DELETE FROM checkpoints")
    assert ilctl("events", "verify").code == 0
    shown = ilctl("events", "verify", "--checkpoints", kept)
    assert shown.code == 1
    assert "checkpoint 1, which had left, is missing here" in shown.out


def test_a_file_of_checkpoints_may_be_longer_than_memory(
    ilctl: Ilctl, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of it is read at a time, and of a line no more than a checkpoint has; a pipe will do."""
    monkeypatch.setattr("interlock.domain.chain.LONGEST_SENT", 1000)
    with sqlite3.connect(data / "interlock.db") as database:
        [(body, signature)] = database.execute("SELECT body, signature FROM checkpoints").fetchall()
    database.close()
    line = json.dumps({"body": body, "signature": signature.hex()}).encode()
    harm(data, "DELETE FROM checkpoints")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as file:
            for _ in range(50):
                file.write(b"x" * 100_000 + b"\n")
            file.write(line + b"\n")

    writing = threading.Thread(target=write)
    writing.start()
    shown = ilctl("events", "verify", "--checkpoints", pipe)
    writing.join()
    assert "checkpoint 1, which had left, is missing here" in shown.out
    assert "cannot read" in ilctl("events", "verify", "--checkpoints", tmp_path).err
