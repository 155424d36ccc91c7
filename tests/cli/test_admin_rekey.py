"""``ilctl recordings rekey``."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from interlock.adapters.age import AgeKeys
from interlock.daemons.local import open_local
from interlock.domain.audit import Kind
from interlock.services.audit.emitter import EventFactory
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import SID, made

Ilctl = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Path, str]:
    """A stored recording for one recipient; files with the identities of that one and of another, and its name."""
    own, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    for name, identity in (("own", own), ("other", other)):
        (tmp_path / name).write_text(f"{identity}\n")

    async def store() -> None:
        async with open_local(tmp_path / "data") as local:
            path = tmp_path / "arriving"
            content = AgeKeys([str(own.to_public())], FakeEntropy()).fresh()
            path.write_bytes(made([b"hello\r\n"], content=content).data)
            await local.recordings.store(SID, path)
            factory = EventFactory(cluster="demo", clock=local.clock, entropy=local.entropy)
            started = factory.make(Kind.SESSION_START, {"user": "jeff", "recorded_by": local.daemon_id}, sid=SID)
            await local.audit.append([started])

    asyncio.run(store())
    return tmp_path / "own", tmp_path / "other", str(other.to_public())


def read_by(ilctl: Ilctl, identity: Path) -> tuple[int, str]:
    """Exit code and text of an export."""
    found = ilctl("recordings", "export", SID, "--format", "text", "--identity", identity)
    return found.code, found.out


@pytest.mark.parametrize("which", [SID, "--all"])
def test_other_recipients_read_from_now_on(ilctl: Ilctl, world: tuple[Path, Path, str], which: str) -> None:
    """Those of before do not, and the audit log says who may."""
    own, other, public = world
    assert read_by(ilctl, own) == (0, "hello\n")
    done = ilctl("recordings", "rekey", which, "--identity", own, "--recipient", public)
    assert (done.code, done.out) == (0, "1 recordings have other recipients now.\n")
    assert read_by(ilctl, other) == (0, "hello\n")
    assert read_by(ilctl, own) == (1, "")
    [event] = ilctl("events", "ls", "--type", "session.recording.rekey", "--format", "json").json()
    assert (event["sid"], event["recipients"]) == (SID, public)


def test_who_is_no_recipient_changes_nothing(ilctl: Ilctl, world: tuple[Path, Path, str]) -> None:
    """For one recording or all of them: a sentence, and an exit code."""
    own, other, public = world
    for which in (SID, "--all"):
        refused = ilctl("recordings", "rekey", which, "--identity", other, "--recipient", public)
        assert refused.code == 1
        assert "encrypted for others" in refused.err
    assert read_by(ilctl, own) == (0, "hello\n")
    assert ilctl("recordings", "rekey", SID, "--identity", own, "--recipient", "nobody").code == 1
    assert ilctl("recordings", "rekey", "--identity", own, "--recipient", public).code == 2
