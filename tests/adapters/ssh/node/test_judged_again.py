"""Connections that last: each session on them is judged as of now, and policy is not asked for every one."""

from datetime import timedelta

import asyncssh
import pytest

from interlock.adapters.ssh.node import judgement
from interlock.core.errors import Denied
from interlock.testing.node import World
from interlock.testing.visiting import Channel, Later, visit


async def test_a_removed_user_opens_no_more_sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that was let in before (ControlMaster), too; what runs already goes on."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 0.0)
    async with visit(world) as connection:
        running = Channel(connection)
        session = await running.open()
        assert await running.run(b"cat")
        world.admission.refusal = Denied("access denied: your account no longer exists", reason="no user any more")
        with pytest.raises(asyncssh.ChannelOpenError) as refused:
            await Channel(connection).open()
        assert (refused.value.code, refused.value.reason) == (1, "access denied: your account no longer exists")
        running.write(b"still here")
        running.write_eof()
        await session.closed.wait()
        assert session.output == b"still here"
    assert ("access denied: your account no longer exists", "no user any more") in world.sessions.refused
    assert world.sink.events == []


async def test_who_is_let_in_again_need_not_connect_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that was corrected, or an auth that was away."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 0.0)
    world.admission.refusal = Denied("not now")
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match="not now"):
            await Channel(connection).open()
        world.admission.refusal = None
        await Channel(connection).open()


async def test_policy_is_not_asked_for_every_channel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer holds for seconds, a refusal too, so that twenty sessions at once cost one question."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 3600.0)
    async with visit(world) as connection:
        for _ in range(3):
            await Channel(connection).open()
        assert len(world.admission.asked) == 1
    world.admission.refusal = Denied("no")
    async with visit(world) as connection:
        for _ in range(3):
            with pytest.raises(asyncssh.ChannelOpenError):
                await Channel(connection).open()
        assert len(world.admission.asked) == 2
    assert (len(world.sink.events), world.sessions.refused) == (1, [])


async def test_a_certificate_that_expires_opens_no_more_sessions(world: World) -> None:
    """At once, whenever policy was asked last."""
    async with visit(world) as connection:
        await Channel(connection).open()
        assert world.server is not None
        world.server.clock = Later(timedelta(hours=1))
        with pytest.raises(asyncssh.ChannelOpenError, match="your certificate has expired: run ilsh login"):
            await Channel(connection).open()
    assert len(world.sessions.refused) == 1
