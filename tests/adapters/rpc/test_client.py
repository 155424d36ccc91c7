"""The ports of auth over real connections: what a daemon asks for happens there as it would happen here."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.rpc import messages as m
from interlock.core.errors import (
    Denied,
    LocalProtocolError,
    NotFound,
)
from interlock.core.ids import DaemonId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.signing import DaemonRole, SigningKey, read_warrant
from interlock.domain.tracker import TrackerState
from interlock.services.keys.daemonca import KeyPair
from interlock.testing.auth import CLUSTER, HOST_KEY, SID, Node
from interlock.testing.recordings import AUTHORITY

STRANGER = DaemonId("99999999-9999-4999-8999-999999999999")


async def test_events_arrive_as_they_were(node: Node) -> None:
    """Order, kinds, times and fields of every type survive the wire."""
    table: list[dict[str, str | int]] = [{"n": 1, "s": "x"}]
    fields: dict[str, JsonValue] = {
        "recorded_by": node.id,
        "a": 1,
        "b": True,
        "c": ["x", "y"],
        "d": {"k": "v"},
        "e": table,
        "f": [],
    }
    first = replace(node.event(), fields=fields)
    second = replace(node.event(Kind.SESSION_END), index=1)
    await node.client.append([first, second])
    assert node.auth.stores.stored_events == [first, second]


async def test_many_events_travel_in_several_messages(node: Node) -> None:
    """A backlog after an outage is longer than one message may be."""
    events = [node.event(Kind.EXEC) for _ in range(m.MAX_EVENTS * 2 + 1)]
    await node.client.append(events)
    assert [event.uid for event in node.auth.stores.stored_events] == [event.uid for event in events]


async def test_long_events_travel_in_several_messages_too(node: Node) -> None:
    """A hundred commands as long as SSH allows, each byte an escape, do not block the audit log."""
    command = "\\xff" * (256 * 1024)
    events = [replace(node.event(Kind.EXEC), fields={"recorded_by": node.id, "command": command})] * 20
    await node.client.append(events)
    assert len(node.auth.stores.stored_events) == 20


async def test_bytes_that_are_no_text_arrive_visibly(node: Node) -> None:
    """A command is bytes; one that is not UTF-8 must not stop the trackers or the audit log."""
    command = b"echo \xff\xe9".decode("utf-8", "surrogateescape")
    await node.client.put(replace(node.tracker(), command=(command,)))
    await node.client.append(
        [replace(node.event(), fields={"recorded_by": node.id, "initial_command": [command]})]
    )
    assert node.auth.stores.trackers[SID].command == ("echo \\udcff\\udce9",)
    assert node.auth.stores.stored_events[0].fields["initial_command"] == ["echo \\udcff\\udce9"]


async def test_auth_says_who_recorded_an_event(node: Node) -> None:
    """An event without ``recorded_by`` gets the caller's."""
    await node.client.append([replace(node.event(Kind.AUTH_FAILURE, None), fields={"user": "x"})])
    assert node.auth.stores.stored_events[0].fields["recorded_by"] == node.id


async def test_trackers_live_as_long_as_asked_by_auths_clock(node: Node) -> None:
    """How long counts, not until when by the node's clock; and no longer than auth allows."""
    now = node.auth.clock.now()
    far = now + timedelta(days=3)
    await node.client.put(replace(node.tracker(), expires=far))
    await node.client.keep(node.id, [SID], now + timedelta(seconds=30))
    stored = node.auth.stores.trackers[SID]
    assert stored.expires < now + timedelta(seconds=310)
    assert (stored.user, stored.state) == ("alice", TrackerState.RUNNING)
    daemon, sids, expires = node.auth.stores.kept[0]
    assert (daemon, sids) == (node.id, (SID,))
    assert abs(expires - now - timedelta(seconds=30)) < timedelta(seconds=5)


async def test_a_node_is_listed_as_it_reports_itself(node: Node) -> None:
    """Labels, address and all."""
    await node.client.heartbeat(node.target())
    stored = node.auth.stores.nodes["db1"]
    assert stored == replace(node.target(), expires=stored.expires)


async def test_a_recording_arrives_whole(node: Node, tmp_path: Path) -> None:
    """In pieces; auth keeps no second copy of it."""
    part = tmp_path / "part"
    content = bytes(range(256)) * (m.CHUNK // 128) + b"end"
    part.write_bytes(content)
    assert await node.client.store(SID, part) == f"memory:{SID}"
    assert node.auth.stores.recordings_by_sid[SID] == content
    assert list(node.auth.directory.iterdir()) == []


async def test_admission_carries_claims_and_denials(node: Node) -> None:
    """What auth says to the node reaches it as the same error with both texts."""
    now = node.auth.clock.now()
    claims = Claims(
        Identity("alice", ("dev",), CLUSTER), ("root",), now, now, 7, Forwarded(node.id, STRANGER, records=True)
    )
    await node.client.admit(claims, "root", node.id)
    assert node.auth.stores.admitted == [(claims, "root", node.id)]
    node.auth.stores.denial = Denied("access denied", reason="no role allows root")
    with pytest.raises(Denied) as denied:
        await node.client.admit(claims, "root", node.id)
    assert (denied.value.public, denied.value.reason) == ("access denied", "no role allows root")


async def test_renewal_is_for_own_names(node: Node) -> None:
    """The names of joining, and the ID."""
    fresh = await node.client.renew(HOST_KEY)
    assert fresh.host_certificate == f"{HOST_KEY} signed for db1,{node.id}"
    assert fresh.trust.user_cas == ("user-ca",)


async def test_a_client_goes_on_with_another_certificate(node: Node) -> None:
    """After a renewal calls use the new one; those that run on the old connection end by themselves."""
    membership, identity = await node.auth.join("db9")
    client = node.auth.client(membership, identity)
    fresh = await client.renew(HOST_KEY)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.append([replace(node.event(), fields={})]))
        tasks.create_task(client.use(KeyPair(identity.key, fresh.certificate)))
    assert running.done()
    await client.trust()
    await client.close()


async def test_a_node_has_no_part_in_others_recordings_and_trackers(node: Node) -> None:
    """The ports exist, the road does not."""
    with pytest.raises(NotFound):
        node.client.read(SID)
    with pytest.raises(LocalProtocolError):
        await node.client.recordings()
    with pytest.raises(LocalProtocolError):
        await node.client.live()


async def test_a_node_gets_a_warrant_for_its_own_recordings(node: Node) -> None:
    """It names the caller, whatever the caller would like; one that has a warrant need not get another."""
    key = SigningKey.from_seed(bytes(32))
    found = read_warrant((await node.client.recording_terms(key.public)).warrant, [AUTHORITY.public])
    assert found is not None
    assert (found.daemon, found.role, found.cluster, found.public) == (
        node.id,
        DaemonRole.NODE,
        CLUSTER,
        key.public,
    )
    assert (await node.client.recording_terms(b"")).warrant == b""
    with pytest.raises(Denied):
        await node.client.recording_terms(b"no key")
