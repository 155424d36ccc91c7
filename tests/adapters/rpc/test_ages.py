"""Daemons of different versions understand each other while a cluster is upgraded."""

import pytest

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc.codec import decode, encode
from interlock.core.errors import Away, StoreError
from interlock.testing.auth import Node


def test_fields_of_later_versions_are_neither_needed_nor_in_the_way() -> None:
    """An older auth does not send them; of a newer one they are skipped."""
    assert decode(encode({"locks": [], "strict": True}), m.Locks) == m.Locks((), strict=True)
    told = {"user_cas": ["a"], "host_cas": ["b"], "service": "10.0.0.1:1", "of_later": {"x": [1]}}
    assert decode(encode(told), m.Trust) == m.Trust(("a",), ("b",), "10.0.0.1:1")


async def test_what_an_older_auth_does_not_know_fails_in_words(node: Node) -> None:
    """It is there, and answers everything else."""
    node.auth.unknown = frozenset({"RecordingTerms"})
    await node.auth.stop()
    await node.auth.start()
    await node.reached()
    with pytest.raises(StoreError, match="auth is of an older version") as failed:
        await node.client.recording_terms(b"")
    assert not isinstance(failed.value, Away)
