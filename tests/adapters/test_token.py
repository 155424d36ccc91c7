"""Keys in a PKCS#11 token, which is SoftHSM here."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.adapters.token import Token, TokenWrapping
from interlock.core.errors import ConfigError
from interlock.services.keys.sealing import DATA_KEY
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.softhsm import PIN, make_token, module

pytestmark = pytest.mark.interop

KEY = bytes(range(DATA_KEY))


@pytest.fixture
def label() -> str:
    """Of a new token."""
    made = f"interlock-{uuid4().hex[:12]}"
    make_token(made)
    return made


def _token(label: str, pin: str = PIN) -> Token:
    return Token(Path(module()), label, pin.encode())


def test_a_key_signs_and_stays_where_it_is(label: str) -> None:
    """Another session finds it; there is no other by that name."""
    public = _token(label).make_signing_key("ca")
    signature = _token(label).sign("ca", b"message")
    Ed25519PublicKey.from_public_bytes(public).verify(signature, b"message")
    with pytest.raises(ConfigError, match="does not have the key"):
        _token(label).sign("other", b"message")


def test_the_data_key_is_wrapped_by_the_token(label: str) -> None:
    """Under its name, unchanged, and by this token alone."""
    way = TokenWrapping(_token(label), FakeEntropy())
    wrapper = way.wrap("pkcs11", KEY, now=START)
    assert KEY not in wrapper.wrapped
    assert TokenWrapping(_token(label), FakeEntropy()).unwrap(wrapper) == KEY
    changed = bytes([wrapper.wrapped[0] ^ 1]) + wrapper.wrapped[1:]
    for wrong in (
        replace(wrapper, name="other"),
        replace(wrapper, wrapped=changed),
        replace(wrapper, parameters={"key": "nobody's"}),
        replace(wrapper, parameters={}),
    ):
        with pytest.raises(ConfigError):
            way.unwrap(wrong)
    make_token(f"{label}-2")
    with pytest.raises(ConfigError):
        TokenWrapping(_token(f"{label}-2"), FakeEntropy()).unwrap(wrapper)


def test_what_is_wrong_is_said(label: str, tmp_path: Path) -> None:
    """The module, the token, the PIN."""
    with pytest.raises(ConfigError, match="no token"):
        _token("nobody").sign("ca", b"")
    with pytest.raises(ConfigError, match="PIN"):
        _token(label, "wrong-pin").sign("ca", b"")
    nothing = tmp_path / "nothing.so"
    nothing.write_text("no library")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Token(nothing, label, b"1234").sign("ca", b"")
