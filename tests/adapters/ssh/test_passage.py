"""From an authenticated client to a forwarder: what policy says, when it is asked again, how a refusal is told."""

import asyncssh
import pytest

from interlock.adapters.ssh import forwarder, passage
from interlock.core import wire
from interlock.core.messages import channel_request
from interlock.testing.hostile import Gone
from interlock.testing.offences import open_session
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import USER, Gateway


async def test_a_refused_connection_is_reported_without_any_channel(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ssh -N`` to an unknown node: one event, and after a while a disconnect that says why."""
    monkeypatch.setattr(forwarder, "LINGER_S", 0.1)
    async with await world.raw_client("nosuch") as client:
        with pytest.raises(Gone, match="unknown node nosuch"):
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
    await world.wait_clean()
    (event,) = await world.events("session.rejected")
    assert "unknown node nosuch" in str(event["reason"])


async def test_a_refused_connection_is_reported_once(world: Gateway) -> None:
    """Its channels are refused with the same words, which are no news to the audit log."""
    async with await world.client("nosuch") as client:
        for _ in range(3):
            with pytest.raises(asyncssh.ChannelOpenError, match="unknown node nosuch"):
                await client.run("true")
    await world.wait_clean()
    assert len(await world.events("session.rejected")) == 1


async def test_a_removed_user_opens_no_more_sessions(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that was admitted before (ControlMaster), too; what runs already goes on."""
    monkeypatch.setattr(passage, "JUDGEMENT_S", 0.0)
    async with plain_target(world), await world.client("plain1") as client:
        running = await client.create_process("cat", encoding=None)
        assert (await client.run("exit 3", check=False)).exit_status == 3
        del world.users.people[USER]
        with pytest.raises(asyncssh.ChannelOpenError, match="your account no longer exists") as caught:
            await client.run("true")
        assert caught.value.code == wire.OPEN_ADMINISTRATIVELY_PROHIBITED
        running.stdin.write(b"still here")
        running.stdin.write_eof()
        assert await running.stdout.read() == b"still here"
    await world.wait_clean()
    (event,) = await world.events("session.rejected")
    assert "no user any more" in str(event["reason"])


async def test_policy_is_not_asked_for_every_channel(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision holds for seconds, so that twenty sessions at once cost one."""
    monkeypatch.setattr(passage, "JUDGEMENT_S", 3600.0)
    async with plain_target(world), await world.client("plain1") as client:
        del world.users.people[USER]
        assert (await client.run("exit 3", check=False)).exit_status == 3


async def test_a_refusal_within_a_session_has_its_id(world: Gateway) -> None:
    """``ssh -A``, ``ssh -X`` and a second command: events of the session, counted with the others."""
    async with plain_target(world), await world.raw_client("plain1") as client:
        client.send(open_session())
        confirmation = await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        number = int.from_bytes(confirmation[5:9], "big")
        client.send(channel_request(number, b"auth-agent-req@openssh.com", want_reply=True))
        await client.expect(wire.CHANNEL_FAILURE)
        client.send(channel_request(number, b"exec", want_reply=True, data=wire.string("cat")))
        await client.expect(wire.CHANNEL_SUCCESS)
        client.send(channel_request(number, b"shell", want_reply=True))
        await client.expect(wire.CHANNEL_FAILURE)
    await world.wait_clean()
    events = [event for event in await world.events() if "sid" in event]
    assert [event["event"] for event in events[:3]] == ["session.start", "agent-forward", "session.rejected"]
    assert [event["ei"] for event in events] == list(range(len(events)))
    assert len({event["sid"] for event in events}) == 1
