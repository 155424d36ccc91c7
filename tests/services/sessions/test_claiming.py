"""A proxy apart claims its sessions behind the session path."""

import asyncio

from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.services.sessions.claiming import Claiming
from interlock.services.sessions.claims import SessionClaims

ONE = SessionId("11111111-1111-4111-8111-111111111111")
TWO = SessionId("22222222-2222-4222-8222-222222222222")


async def test_every_session_is_claimed_and_a_refusal_is_told() -> None:
    """In order, also after an absence of auth."""
    asked: list[SessionId] = []
    refused: list[tuple[SessionId, str]] = []
    done, answers = asyncio.Event(), [StoreError("auth is away"), None, Denied("another's")]

    async def claim(sid: SessionId) -> None:
        asked.append(sid)
        if error := answers.pop(0):
            raise error

    def told(sid: SessionId, error: Denied) -> None:
        refused.append((sid, error.public))
        done.set()

    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    claiming = Claiming(claim, sleep=at_once)
    claiming.on_refused = told
    claims = SessionClaims(tell=claiming.tell)
    claims.begin(ONE, DaemonId("p"))
    claims.begin(TWO, DaemonId("p"))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(claiming.run())
        await done.wait()
        running.cancel()
    assert asked == [ONE, ONE, TWO]
    assert refused == [(TWO, "another's")]
