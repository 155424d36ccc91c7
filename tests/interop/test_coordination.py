"""Agreeing on IDs with real processes: many channels at once, and clients that leave in every state.

A sample of what `tests/core/test_contract_model.py` explores without any.
"""

import asyncio
from contextlib import AsyncExitStack

import asyncssh
import pytest

from interlock.core import wire
from interlock.core.messages import Confirmation, channel_message
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.generations import admitted, arrive
from interlock.testing.offences import open_session

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

MANY = 50
SHOW = "echo $SSH_SESSION_ID"


async def at_once(cluster: Cluster, person: Person, target: str) -> list[str]:
    """What the session says of itself on each of many channels of one connection, all opened at once."""
    key = asyncssh.read_private_key(person.key.path), asyncssh.read_certificate(person.key.certificate)
    known = asyncssh.import_known_hosts("\n".join(person.known_hosts))
    connection = await asyncssh.connect(
        cluster.host,
        cluster.port,
        username=f"{cluster.login_name}%{target}",
        client_keys=[key],
        known_hosts=known,
        agent_path=None,
        config=None,
    )
    async with connection, asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(connection.run(SHOW, check=True)) for _ in range(MANY)]
    return [str(run.result().stdout).strip() for run in runs]


def test_fifty_channels_opened_at_once(cluster: Cluster, person: Person) -> None:
    """Each is a session of its own, under the ID that its own command sees."""
    witness = Witness(cluster)
    seen = asyncio.run(at_once(cluster, person, cluster.node_name))
    assert len(set(seen)) == MANY
    events = witness.wait_settled(seen)
    for name in ("session.start", "session.end", "session.upload"):
        assert sorted(e["sid"] for e in events if e["event"] == name and e["sid"] in set(seen)) == sorted(seen), (
            name
        )


LEAVES = ["before it opens", "before the answer", "after the answer", "with a close", "running"]


@pytest.mark.parametrize("target", Cluster.targets)
def test_clients_that_leave(cluster: Cluster, person: Person, target: str) -> None:
    """In whatever state: what began ends once, what did not begin leaves no trace, and others are served."""
    witness = Witness(cluster)
    for when in LEAVES:
        asyncio.run(leaves(cluster, person, target, when))
    after = asyncio.run(stays(cluster, person, target))
    witness.wait_settled([after])
    starts = [e for e in witness.new_events() if e["event"] == "session.start"]
    started = {e["sid"] for e in starts if e["initial_command"]}  # a slow connection has a record of its own
    assert len(started) == 2, "the one that was running, and the last one"
    events = witness.wait_settled(sorted(started))
    ends = [e["sid"] for e in events if e["event"] == "session.end" and e["sid"] in started]
    assert sorted(ends) == sorted(started)


async def leaves(cluster: Cluster, person: Person, target: str, when: str) -> None:
    """A client that gets so far and is gone."""
    async with AsyncExitStack() as stack:
        if when in ("running", "with a close"):
            visitor = await arrive(stack, cluster, person, target)
            if when == "running":
                await visitor.start("exec")
            else:
                await visitor.close()
            return
        peer = await admitted(stack, cluster, person, target)
        if when != "before it opens":
            peer.send(open_session(3))
            await peer.flush()
        if when == "after the answer":
            confirmation = Confirmation.decode(await peer.expect(wire.CHANNEL_OPEN_CONFIRMATION))
            peer.send(channel_message(wire.CHANNEL_EOF, confirmation.sender))
            await peer.flush()


async def stays(cluster: Cluster, person: Person, target: str) -> str:
    """A client that does everything; the ID that it is told."""
    async with AsyncExitStack() as stack:
        visitor = await arrive(stack, cluster, person, target)
        await visitor.start("exec")
        [told] = await visitor.leave()
        return told
