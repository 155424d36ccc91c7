"""``ilctl keys``."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from interlock.core.certificate import PublicKey
from interlock.daemons.database import DATABASE
from interlock.daemons.keys import KEY_FILE_VARIABLE
from interlock.daemons.supervise import sole_user
from interlock.testing.gateway import BIN
from interlock.testing.softhsm import PIN, forget_sessions, make_token, module
from interlock.testing.terminal import Terminal

Ilctl = Callable[..., Any]
PRIVATE = b"BEGIN PRIVATE KEY"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """With a passphrase that is long enough."""
    return _passphrase(tmp_path / "passphrase", "correct horse battery staple\n")


def _passphrase(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def _on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob(f"{DATABASE}*"))


@pytest.mark.slow
def test_sealed_keys_are_on_the_disk_no_more(
    ilctl: Ilctl, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even in the database's unused pages; whoever lacks the passphrase gets nowhere, and changes nothing."""
    before = ilctl("auth", "export", "--type", "user").out
    assert PRIVATE in _on_disk(tmp_path / "data")
    assert ilctl("keys", "seal", "--key-file", key_file).code == 0
    assert PRIVATE not in _on_disk(tmp_path / "data")
    assert ilctl("auth", "export", "--type", "user").out == before
    assert ilctl("keys", "seal", "--key-file", key_file).code == 4
    assert "in the clear" not in ilctl("keys", "status").out.replace("0 in the clear", "")

    other = _passphrase(tmp_path / "other", "another passphrase altogether")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(other))
    wrong = ilctl("auth", "export", "--type", "user")
    assert wrong.code != 0
    assert "does not open" in wrong.err
    monkeypatch.delenv(KEY_FILE_VARIABLE)

    assert ilctl("keys", "rewrap", "--key-file", other, "--new-data-key").code == 0
    key_file.unlink()
    assert ilctl("auth", "export", "--type", "user").out == before
    other.rename(key_file)
    missing = ilctl("auth", "export", "--type", "user")
    assert missing.code != 0
    assert "cannot read the passphrase" in missing.err
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(key_file))
    assert ilctl("keys", "unseal").code == 0
    monkeypatch.delenv(KEY_FILE_VARIABLE)
    assert ilctl("auth", "export", "--type", "user").out == before
    told = ilctl("events", "ls", "--format", "json").json()
    assert [each["action"] for each in told if each["event"] == "cluster.keys.update"] == [
        "seal",
        "rewrap",
        "unseal",
    ]


def test_what_cannot_seal_is_refused(ilctl: Ilctl, key_file: Path, tmp_path: Path) -> None:
    """A file that others may read, a short passphrase, none, two, a gateway that runs."""
    short = _passphrase(tmp_path / "short", "short")
    assert "12 characters" in ilctl("keys", "seal", "--key-file", short).err
    assert ilctl("keys", "seal").code == 2
    assert ilctl("keys", "seal", "--key-file", key_file, "--ask").code == 2
    assert ilctl("keys", "seal", "--key-file", tmp_path / "none").code == 1
    assert ilctl("keys", "unseal").code == 4
    with sole_user(tmp_path / "data"):
        assert "another interlock runs" in ilctl("keys", "seal", "--key-file", key_file).err
    key_file.chmod(0o640)
    assert "chmod 600" in ilctl("keys", "seal", "--key-file", key_file).err
    assert PRIVATE in _on_disk(tmp_path / "data")


@pytest.mark.slow
def test_ctrl_c_ends_the_question_for_a_passphrase_at_once(ilctl: Ilctl, tmp_path: Path) -> None:
    """As at every other question."""
    assert ilctl("keys", "status").code == 0
    with Terminal([BIN / "ilctl", "--data-dir", tmp_path / "data", "keys", "seal", "--ask"]) as terminal:
        terminal.expect("New passphrase")
        terminal.send("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text


def test_a_credential_is_read_where_systemd_puts_it(
    ilctl: Ilctl, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ilctl`` outside the unit is told what to do."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    key_file.rename(tmp_path / "interlock-keys")
    assert ilctl("keys", "seal", "--credential", "interlock-keys").code == 0
    assert ilctl("keys", "status").code == 0
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert KEY_FILE_VARIABLE in ilctl("keys", "status").err


@pytest.mark.interop
def test_authorities_in_a_token(ilctl: Ilctl, key_file: Path, tmp_path: Path) -> None:
    """The token wraps the data key; an authority whose key is changed from then on has it in there, for good."""
    label = f"interlock-{uuid4().hex[:12]}"
    make_token(label)
    key_file.write_text(f"{PIN}\n")
    token = ("--pkcs11-module", module(), "--pkcs11-token", label)
    assert ilctl("keys", "seal", "--ask", *token).code == 2
    assert ilctl("keys", "seal", "--key-file", key_file, *token).code == 0
    assert "sealed by a pkcs11" in ilctl("keys", "status").out
    before = ilctl("auth", "export", "--type", "host").out
    for _ in range(4):
        assert ilctl("auth", "rotate", "--type", "host", "--force").code == 0
    after = ilctl("auth", "export", "--type", "host").out
    assert after != before
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    out = tmp_path / "host-cert.pub"
    sign = ("auth", "sign", "--host", "web1", "--public-key", tmp_path / "host.pub", "--out", out)
    assert ilctl(*sign).code == 0
    shown = subprocess.run(["ssh-keygen", "-L", "-f", out], check=True, capture_output=True, text=True).stdout
    assert PublicKey.parse(after).fingerprint in shown
    passphrase = _passphrase(tmp_path / "new", "correct horse battery staple")
    left = ilctl("keys", "rewrap", "--key-file", passphrase)
    assert (left.code, "stay there" in left.err) == (4, True)
    key_file.write_text("wrong-pin\n")
    forget_sessions()
    assert "the PIN is not that" in ilctl("keys", "status").err
