"""The node's identity on disk: private, whole or absent."""

from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.core.ids import DaemonId
from interlock.daemons.node_identity import FILE, IdentityFile, NodeIdentity, create_host_key, public_line
from interlock.ports import TrustBundle
from interlock.services.joining import Renewed
from interlock.testing.procs import run

IDENTITY = NodeIdentity(
    id=DaemonId("11111111-1111-4111-8111-111111111111"),
    cluster="example",
    names=("db1",),
    host_key="key",
    host_certificate="certificate",
    user_cas=("u",),
    host_cas=("h",),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Readable by its owner only; nothing else is left in the directory."""
    file = IdentityFile(tmp_path)
    assert file.load() is None
    file.save(IDENTITY)
    assert file.load() == IDENTITY
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage", b'{"id": 1}'])
def test_a_damaged_identity_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """It is not overwritten: an administrator decides."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="join again with a new token"):
        IdentityFile(tmp_path).load()
    assert (tmp_path / FILE).read_bytes() == content


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Reading and writing alike."""
    (tmp_path / FILE).mkdir()
    for use in (IdentityFile(tmp_path).load, lambda: IdentityFile(tmp_path / "none").save(IDENTITY)):
        with pytest.raises(ConfigError, match=FILE):
            use()


def test_a_host_key_is_openssh_s(tmp_path: Path) -> None:
    """ssh-keygen reads it and finds the same public key."""
    key = create_host_key()
    path = tmp_path / "key"
    path.write_text(key)
    path.chmod(0o600)
    assert run(["ssh-keygen", "-y", "-f", path]).check().stdout.split()[:2] == public_line(key).split()


def test_renewal_replaces_certificates_and_trust_only() -> None:
    """The node stays who it is."""
    fresh = IDENTITY.renewed(Renewed("x509", "ssh", TrustBundle(("u2",), ("h2",))))
    assert (fresh.certificate, fresh.host_certificate, fresh.user_cas, fresh.host_cas) == (
        "x509",
        "ssh",
        ("u2",),
        ("h2",),
    )
    assert (fresh.id, fresh.host_key, fresh.names) == (IDENTITY.id, IDENTITY.host_key, IDENTITY.names)
    assert fresh.trust == TrustBundle(("u2",), ("h2",))
