"""Signatures for one purpose each, and warrants that say whose a key is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.signing import (
    LATE,
    MAX_WARRANT,
    WARRANT_LIFE,
    DaemonRole,
    FormerKey,
    Purpose,
    SigningKey,
    Warrant,
    is_signed,
    issue_warrant,
    read_public_keys,
    read_warrant,
)

AUTHORITY, OTHER, DAEMON = (SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
NODE = DaemonId("22222222-0000-4000-8000-000000000002")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def warrant(*, public: bytes = DAEMON.public) -> bytes:
    """Of the node's key, for an hour."""
    return issue_warrant(
        AUTHORITY,
        cluster="c" * 253,
        daemon=NODE,
        role=DaemonRole.NODE,
        public=public,
        valid_from=NOW,
        valid_until=NOW + timedelta(hours=1),
    )


def test_a_signature_holds_for_its_key_purpose_and_message_only() -> None:
    """Another of each, or a signature that is none, is not signed."""
    signature = DAEMON.sign(Purpose.RECORDING, b"message")
    assert is_signed(DAEMON.public, Purpose.RECORDING, b"message", signature)
    assert not is_signed(OTHER.public, Purpose.RECORDING, b"message", signature)
    assert not is_signed(DAEMON.public, Purpose.WARRANT, b"message", signature)
    assert not is_signed(DAEMON.public, Purpose.RECORDING, b"massage", signature)
    assert not is_signed(DAEMON.public, Purpose.RECORDING, b"message", signature[:-1])
    assert not is_signed(b"no key", Purpose.RECORDING, b"message", signature)


def test_a_warrant_says_whose_a_key_is() -> None:
    """It is read with the authority's public key alone, among others."""
    found = read_warrant(warrant(), [OTHER.public, AUTHORITY.public])
    assert found is not None
    assert (found.cluster, found.daemon, found.role) == ("c" * 253, NODE, DaemonRole.NODE)
    assert found.public == DAEMON.public
    assert len(warrant()) < MAX_WARRANT
    moments = [NOW - timedelta(seconds=1), NOW, NOW + timedelta(seconds=3599), NOW + timedelta(hours=1)]
    assert [found.covers(moment) for moment in moments] == [False, True, True, False]


def test_a_former_key_vouches_for_nothing_of_after_it_was_replaced() -> None:
    """But for as long as a warrant of before may live; an hour is for an auth that has not heard of it."""
    for life, counts in ((WARRANT_LIFE + LATE, True), (WARRANT_LIFE + LATE + timedelta(seconds=1), False)):
        endless = issue_warrant(
            AUTHORITY,
            cluster="c",
            daemon=NODE,
            role=DaemonRole.NODE,
            public=DAEMON.public,
            valid_from=NOW - timedelta(days=99),
            valid_until=NOW + life,
        )
        assert (read_warrant(endless, [FormerKey.of(AUTHORITY.public, NOW)]) is not None) is counts
        assert read_warrant(endless, [AUTHORITY.public]) is not None


def test_a_line_says_until_when_its_key_was_the_one_that_signs() -> None:
    """As `ilctl auth export` prints it; a time that is none is refused."""
    line = PublicKey("ssh-ed25519", (AUTHORITY.public,)).line("interlock-recordings-ca@main")
    now, former = read_public_keys(f"{line}\n{line} until={NOW.isoformat().replace('+00:00', 'Z')}\n")
    assert now == former == AUTHORITY.public
    assert not isinstance(now, FormerKey)
    assert isinstance(former, FormerKey)
    assert former.until == NOW
    with pytest.raises(ValueError, match="isoformat"):
        read_public_keys(f"{line} until=never")


def test_a_warrant_of_somebody_else_is_none() -> None:
    """Another authority's, or what a key has signed that has a warrant itself, proves nothing."""
    assert read_warrant(warrant(), [OTHER.public]) is None
    assert read_warrant(warrant(), [DAEMON.public]) is None
    assert read_warrant(warrant(), []) is None
    assert read_warrant(warrant(), None) is not None, "unproved, for the log"


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_fail(data: bytes) -> None:
    """Not even without proof."""
    assert read_warrant(data, [AUTHORITY.public]) is None
    assert not isinstance(read_warrant(data, None), Warrant)


def test_nothing_nested_makes_reading_fail() -> None:
    """A seal has room for 64 KiB of it."""
    assert read_warrant(b'{"x":' + b"[" * 60_000 + bytes(64), None) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_warrant_can_be_changed(where: int, flip: int) -> None:
    """Each is signed, or the signature's."""
    changed = bytearray(warrant())
    changed[where % len(changed)] ^= flip
    assert read_warrant(bytes(changed), [AUTHORITY.public]) is None


def test_only_a_key_gets_a_warrant() -> None:
    """A peer that asks for something else is refused."""
    with pytest.raises(Denied):
        warrant(public=b"short")


def test_public_keys_are_read_as_they_are_exported() -> None:
    """One in each line, with comments and empty lines."""
    lines = [
        PublicKey("ssh-ed25519", (key.public,)).line("interlock-recordings-ca@demo") for key in (AUTHORITY, OTHER)
    ]
    assert read_public_keys("# old\n" + "\n\n".join(lines)) == (AUTHORITY.public, OTHER.public)
    for wrong in ("", "ssh-ed25519 AAAA", "nonsense", "\n"):
        with pytest.raises(ValueError, match="key"):
            read_public_keys(wrong)
