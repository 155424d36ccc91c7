"""Our revocation lists as ssh-keygen reads them."""

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from interlock.core.certificate import PublicKey
from interlock.core.krl import revocation_list
from interlock.testing.openssh import Key, make_key

pytestmark = pytest.mark.interop


@pytest.fixture
def authorities(tmp_path: Path) -> list[Key]:
    """Two that sign certificates."""
    return [make_key(tmp_path / name) for name in ("ca1", "ca2")]


def _certificate(authority: Key, path: Path, serial: int) -> Path:
    key = make_key(path)
    command = ["ssh-keygen", "-q", "-s", str(authority.path), "-I", "x", "-n", "root", "-z", str(serial)]
    subprocess.run([*command, str(path.with_name(f"{path.name}.pub"))], check=True)
    return key.certificate


def _revoked(krl: Path, shown: Path) -> bool:
    """What ssh-keygen says; it ends with 1 for a revoked key, and with 255 for a list that it cannot read."""
    done = subprocess.run(["ssh-keygen", "-Q", "-f", krl, shown], check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return "REVOKED" in done.stdout


def test_serials_keys_and_authorities(authorities: list[Key], tmp_path: Path) -> None:
    """Each revokes what it is about and nothing else, for any of the authorities that are named."""
    one, two = (PublicKey.parse(each.public) for each in authorities)
    first = _certificate(authorities[0], tmp_path / "first", 7)
    largest = _certificate(authorities[1], tmp_path / "largest", 2**64 - 1)
    other = _certificate(authorities[1], tmp_path / "other", 8)
    krl = tmp_path / "krl"

    def listed(serials: set[int], digests: set[bytes], *named: PublicKey) -> list[bool]:
        krl.write_bytes(revocation_list(named, serials, digests, version=1, made=1, comment="test"))
        return [_revoked(krl, each) for each in (first, largest, other)]

    def digest(path: Path) -> bytes:
        return sha256(PublicKey.parse(path.read_text()).blob).digest()

    assert listed(set(), set()) == [False, False, False]
    assert listed({7, 2**64 - 1}, set(), one, two) == [True, True, False]
    assert listed({7, 2**64 - 1}, set(), one) == [True, False, False]
    assert listed(set(), {digest(tmp_path / "other.pub")}) == [False, False, True]
    assert listed(set(), {sha256(two.blob).digest()}) == [False, True, True]
    assert listed({7}, {digest(tmp_path / "other.pub")}, one, two) == [True, False, True]


@pytest.mark.parametrize("serial", [0, 2**64, -1])
def test_what_is_no_serial_is_refused(serial: int) -> None:
    """Zero would mean none."""
    with pytest.raises(ValueError, match="64 bits"):
        revocation_list([], {serial}, set(), version=1, made=1)
