"""Recordings that are sent as they happen, over gRPC: acknowledged, continued, refused, each in the same words."""

import pytest

from interlock.core.errors import Denied, RecordingError, StoreError
from interlock.core.limits import SYNC_BATCH
from interlock.testing.auth import SID, Auth, Node


async def test_what_was_acknowledged_is_on_auths_disk(auth: Auth, node: Node) -> None:
    """In calls as long as a batch may be."""
    data = b"x" * SYNC_BATCH
    await node.client.ready(SID)
    await node.client.extend(SID, 0, data)
    await node.client.extend(SID, len(data), b"end")
    assert auth.arriving.of(node.id).path(SID).read_bytes() == data + b"end"


async def test_an_auth_that_was_restarted_goes_on_where_it_was(auth: Auth, node: Node) -> None:
    """Nothing about it is in memory; repeating the last call is harmless."""
    await node.client.extend(SID, 0, b"one")
    await auth.stop()
    with pytest.raises(StoreError):
        await node.client.extend(SID, 3, b"two")
    await auth.start()
    await node.reached()
    await node.client.extend(SID, 0, b"one")
    await node.client.extend(SID, 3, b"two")
    assert auth.arriving.of(node.id).path(SID).read_bytes() == b"onetwo"


async def test_errors_keep_their_kind(auth: Auth, node: Node) -> None:
    """So that the daemon knows whether to try again."""
    with pytest.raises(RecordingError, match="missing"):
        await node.client.extend(SID, 5, b"x")
    auth.stored_elsewhere.add(SID)
    with pytest.raises(RecordingError, match="already"):
        await node.client.ready(SID)


async def test_a_session_of_another_daemon_is_nobody_elses(auth: Auth, node: Node) -> None:
    """Neither begun nor extended: the ID is claimed."""
    await node.client.extend(SID, 0, b"one")
    other = await Node.join(auth, "db2")
    try:
        for attempt in (other.client.ready(SID), other.client.extend(SID, 3, b"two")):
            with pytest.raises(Denied, match="only speak for itself"):
                await attempt
    finally:
        await other.client.close()
    assert auth.arriving.of(node.id).path(SID).read_bytes() == b"one"
    assert not auth.arriving.of(other.id).path(SID).exists()
