"""The fake randomness is reproducible and well-formed."""

import uuid

from interlock.core.ids import parse_session_id
from interlock.testing.entropy import FakeEntropy


def test_uuids_are_canonical_distinct_and_reproducible() -> None:
    """The same seed gives the same UUIDs, each a valid session ID."""
    entropy, again = FakeEntropy(7), FakeEntropy(7)
    uuids = [entropy.uuid() for _ in range(3)]
    assert uuids == [again.uuid() for _ in range(3)]
    assert len(set(uuids)) == 3
    assert all(str(uuid.UUID(each)) == parse_session_id(each) for each in uuids)


def test_tokens_differ_and_have_their_size() -> None:
    """Two tokens of one source are not equal."""
    entropy = FakeEntropy()
    assert len(entropy.token(16)) == 16
    assert entropy.token(16) != entropy.token(16)
