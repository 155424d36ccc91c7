"""``ilctl auth``."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.core.certificate import PublicKey

Ilctl = Callable[..., Any]


def test_each_authority_is_exported_as_one_line(ilctl: Ilctl) -> None:
    """Different keys, the same at every call."""
    lines = [ilctl("auth", "export", "--type", kind).out for kind in ("user", "host", "openssh", "recordings")]
    assert len({PublicKey.parse(line) for line in lines}) == 4
    assert all(line.count("\n") == 1 for line in lines)
    assert ilctl("auth", "export", "--type", "host").out == lines[1]


@pytest.mark.interop
def test_a_host_key_is_signed_for_its_names(ilctl: Ilctl, tmp_path: Path) -> None:
    """As ssh-keygen reads it back."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    out = tmp_path / "host-cert.pub"
    made = ilctl("auth", "sign", "--host", "web1,10.0.0.5", "--public-key", tmp_path / "host.pub", "--out", out)
    assert made.code == 0
    command = ["ssh-keygen", "-L", "-f", str(out)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for expected in ("host certificate", "web1", "10.0.0.5"):
        assert expected in shown


def test_what_cannot_be_signed_is_refused(ilctl: Ilctl, tmp_path: Path) -> None:
    """No key, no names, a wildcard."""
    key = tmp_path / "key.pub"
    out = tmp_path / "out"
    assert ilctl("auth", "sign", "--host", "a", "--public-key", key, "--out", out).code == 1
    key.write_text("no key\n")
    for whose in ("--host", "--user"):
        refused = ilctl("auth", "sign", whose, "a", "--public-key", key, "--out", out)
        assert (refused.code, "no public key that can be signed: name one like id" in refused.err) == (1, True)
    assert ilctl("auth", "sign", "--host", ",", "--public-key", key, "--out", out).code == 2
    assert ilctl("auth", "sign", "--host", "*", "--public-key", key, "--out", out).code == 2
    assert not out.exists()


def test_a_persons_key_is_signed_with_restrictions(ilctl: Ilctl, tmp_path: Path) -> None:
    """And listed, so that it can be revoked; what means nothing is refused in words."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*=*")
    ilctl("users", "add", "alice", "--roles", "dev")
    out = tmp_path / "id-cert.pub"
    sign = ("auth", "sign", "--user", "alice", "--public-key", tmp_path / "id.pub", "--out", out)
    assert ilctl(*sign, "-O", "no-such-thing").code == 2
    assert ilctl(*sign, "--host", "web1").code == 2
    assert ilctl(*sign, "--days", "9").code == 2
    assert ilctl("auth", "sign", "--host", "web1", "--ttl", "9h", *sign[4:]).code == 2
    assert ilctl(*sign, "--logins", "nobody").code == 4
    assert ilctl(*sign, "-O", "verify-required").code == 4
    assert not out.exists()
    assert ilctl(*sign, "-O", "no-pty", "--ttl", "1h").code == 0
    assert "alice" in ilctl("certs", "ls").out


def test_a_krl_is_not_written_to_a_terminal(ilctl: Ilctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which its bytes might act on."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ended = ilctl("auth", "export", "--type", "krl")
    assert (ended.code, ended.out) == (2, "")
    assert "> FILE" in ended.err
