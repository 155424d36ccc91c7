"""Secrets at rest: what opens, and what does not."""

from dataclasses import replace

import pytest

from interlock.core.errors import ConfigError, StoreError
from interlock.services.keys.sealing import _COSTS, DATA_KEY, ClearSealing, KeySealing, PassphraseWrapping
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy

KEY = bytes(range(DATA_KEY))
SECRET = b"a secret of some length"


def test_a_secret_opens_for_its_own_purpose_only() -> None:
    """And with its own key only; nothing of it shows."""
    sealing = KeySealing(KEY, FakeEntropy())
    sealed = sealing.seal("totp/alice", SECRET)
    assert SECRET not in sealed
    assert sealing.open("totp/alice", sealed) == SECRET
    assert sealing.seal("totp/alice", SECRET) != sealed
    with pytest.raises(StoreError):
        sealing.open("totp/bob", sealed)
    with pytest.raises(StoreError):
        KeySealing(KEY[::-1], FakeEntropy()).open("totp/alice", sealed)


@pytest.mark.parametrize("at", [1, 12, 13, -1])
def test_a_changed_bit_is_noticed(at: int) -> None:
    """In nonce, text and tag."""
    sealing = KeySealing(KEY, FakeEntropy())
    changed = bytearray(sealing.seal("x", SECRET))
    changed[at] ^= 1
    with pytest.raises(StoreError):
        sealing.open("x", bytes(changed))


@pytest.mark.parametrize("stored", [b"", b"\x00", b"\x01", b"\x01" + bytes(11), b"\x02" + bytes(40), b"\x00clear"])
def test_what_is_not_sealed_is_not_taken_for_it(stored: bytes) -> None:
    """Whoever writes to the database cannot put a key of their own in the place of a sealed one."""
    with pytest.raises(StoreError):
        KeySealing(KEY, FakeEntropy()).open("x", stored)


def test_in_the_clear_the_secret_is_marked_as_such() -> None:
    """A process that has no data key says so."""
    sealing = ClearSealing()
    assert sealing.open("x", sealing.seal("x", SECRET)) == SECRET
    with pytest.raises(StoreError, match="restart"):
        sealing.open("x", KeySealing(KEY, FakeEntropy()).seal("x", SECRET))


def test_a_passphrase_unwraps_what_it_wrapped() -> None:
    """Another one, or the wrapper under another name, does not; a short one wraps nothing."""
    way = PassphraseWrapping(b"correct horse battery", FakeEntropy())
    wrapper = way.wrap("passphrase", KEY, now=START)
    assert KEY not in wrapper.wrapped
    assert way.unwrap(wrapper) == KEY
    with pytest.raises(ConfigError, match="does not open"):
        PassphraseWrapping(b"correct horse batterx", FakeEntropy()).unwrap(wrapper)
    with pytest.raises(ConfigError, match="does not open"):
        way.unwrap(replace(wrapper, name="other"))
    with pytest.raises(ConfigError, match="12 characters"):
        PassphraseWrapping(b"short", FakeEntropy()).wrap("passphrase", KEY, now=START)


def test_a_passphrase_costs_what_rfc_9106_recommends() -> None:
    """Its second choice; in tests it costs less (tests/conftest.py), which this module was loaded before."""
    assert _COSTS == {"time": 3, "memory_kib": 65536, "lanes": 4}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"salt": "zz", "time": 3, "memory_kib": 65536, "lanes": 4},
        {"salt": "00" * 16, "time": 3, "memory_kib": 2**31, "lanes": 4},
        {"salt": "00" * 16, "time": 10**9, "memory_kib": 65536, "lanes": 4},
    ],
)
def test_a_wrapper_cannot_ask_for_endless_work(parameters: dict[str, str | int]) -> None:
    """It is a row of the database."""
    way = PassphraseWrapping(b"correct horse battery", FakeEntropy())
    with pytest.raises(StoreError):
        way.unwrap(replace(way.wrap("passphrase", KEY, now=START), parameters=parameters))
