"""Wrapped keys as age files, for recipients of age and of SSH."""

import subprocess
from pathlib import Path

import pyrage
import pytest

from interlock.adapters.age import AgeKeys, identity
from interlock.core.errors import ConfigError, RecordingError
from interlock.testing.entropy import FakeEntropy


def test_each_recipient_unwraps_the_key_and_nobody_else(tmp_path: Path) -> None:
    """An age identity among others in a file, and an SSH key."""
    own, other, stranger = (pyrage.x25519.Identity.generate() for _ in range(3))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ssh"], check=True)
    public = (tmp_path / "ssh.pub").read_text()
    keys = AgeKeys([str(own.to_public()), public], FakeEntropy())
    made, again = keys.fresh(), keys.fresh()
    assert made.key != again.key
    (tmp_path / "age").write_text(f"# created: today\n# public key: x\n{other}\n{own}\n")
    (tmp_path / "stranger").write_text(f"{stranger}\n")
    assert identity(tmp_path / "age")(made.wrapped) == made.key
    assert identity(tmp_path / "ssh")(again.wrapped) == again.key
    with pytest.raises(RecordingError, match="encrypted for others"):
        identity(tmp_path / "stranger")(made.wrapped)
    with pytest.raises(RecordingError, match="encrypted for others"):
        identity(tmp_path / "age")(b"no age file")


@pytest.mark.parametrize("wrong", ["age1nonsense", "ssh-ed25519 AAAA", "alice", ""])
def test_what_is_no_recipient_is_named(wrong: str) -> None:
    """When the gateway starts, not when the first session does."""
    with pytest.raises(ConfigError, match="is no recipient"):
        AgeKeys([wrong], FakeEntropy())


def test_too_many_recipients_are_refused() -> None:
    """The file has room for so many."""
    one = str(pyrage.x25519.Identity.generate().to_public())
    AgeKeys([one] * 30, FakeEntropy())
    with pytest.raises(ConfigError, match="50 recipients are too many"):
        AgeKeys([one] * 50, FakeEntropy())


def test_a_file_without_identity_is_refused(tmp_path: Path) -> None:
    """Missing, or something else."""
    (tmp_path / "x").write_text("nothing")
    for path in (tmp_path / "x", tmp_path / "missing"):
        with pytest.raises(ConfigError, match="identity"):
            identity(path)
