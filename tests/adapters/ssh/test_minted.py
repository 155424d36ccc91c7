"""The key for one login, and its certificate."""

import asyncssh
import pytest

from interlock.adapters.ssh.minted import MintedKey
from interlock.core.errors import LocalProtocolError


def certify(line: str) -> str:
    """Somebody's certificate for this key."""
    authority = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_user_certificate(
        asyncssh.import_public_key(line), "alice", principals=["root"]
    )
    return certificate.export_certificate().decode()


def test_the_pair_is_what_asyncssh_would_have_made() -> None:
    """The names, what is shown, and a signature that the certified key verifies."""
    key = MintedKey()
    line = certify(key.line)
    pair, certificate = key.certified(line), asyncssh.import_certificate(line)
    pair.set_sig_algorithm(b"ssh-ed25519")
    assert pair.algorithm == certificate.algorithm
    assert pair.public_data == certificate.public_data
    assert tuple(pair.sig_algorithms) == tuple(certificate.sig_algorithms)
    assert asyncssh.import_public_key(key.line).verify(b"a request", pair.sign(b"a request"))


def test_every_key_is_new() -> None:
    """One login each."""
    assert MintedKey().line != MintedKey().line


@pytest.mark.parametrize("made", [certify, lambda line: line, lambda _: certify(MintedKey().line)[:61]])
def test_only_a_certificate_for_this_key_is_shown(made: object) -> None:
    """Not another key's, not the bare key, not a piece of one."""
    assert callable(made)
    other, key = MintedKey(), MintedKey()
    with pytest.raises(LocalProtocolError):
        key.certified(made(other.line))
