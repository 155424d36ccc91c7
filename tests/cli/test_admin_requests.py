"""``ilctl requests``."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.daemons.local import open_local
from interlock.domain.request import AccessRequest

Ilctl = Callable[..., Any]

ID = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture
def waiting(ilctl: Ilctl, tmp_path: Path) -> str:
    """Alice has asked, of roles that take two approvals."""

    async def ask() -> None:
        async with open_local(tmp_path / "data") as local:
            now = datetime.now(UTC)
            await local.requests.add_request(
                AccessRequest(ID, "alice", ("dba",), "incident 4711", now, timedelta(hours=1), approvals=2)
            )

    asyncio.run(ask())
    assert ilctl("requests", "ls", "--format", "json").json()[0]["state"] == "pending"
    return ID


def events(ilctl: Ilctl, kind: str) -> list[dict[str, Any]]:
    """Those of a kind."""
    return [each for each in ilctl("events", "ls", "--format", "json").json() if each["event"] == kind]


def test_an_administrator_decides_alone(ilctl: Ilctl, waiting: str) -> None:
    """Yes, and no after it: then whoever has come by it is locked out."""
    assert "alice has the access until" in ilctl("requests", "approve", waiting, "--reason", "fine").out
    [row] = ilctl("requests", "ls", "--format", "json").json()
    assert (row["user"], row["roles"], row["state"]) == ("alice", ["dba"], "approved")
    assert ilctl("requests", "deny", waiting).out == "The request of alice is denied.\n"
    [lock] = ilctl("locks", "ls", "--format", "json").json()
    assert (lock["kind"], lock["name"]) == ("access_request", waiting)
    assert ilctl("requests", "ls", "--format", "json").json() == []
    [row] = ilctl("requests", "ls", "--all", "--format", "json").json()
    assert row["state"] == "denied"
    yes, no = sorted(events(ilctl, "access_request.review"), key=lambda each: each["time"])
    assert (yes["code"], yes["proposed_state"], yes["requester"], yes["review_reason"]) == (
        "T5002I",
        "APPROVED",
        "alice",
        "fine",
    )
    assert no["proposed_state"] == "DENIED"


def test_a_request_is_removed(ilctl: Ilctl, waiting: str) -> None:
    """And is not there a second time."""
    assert ilctl("requests", "rm", waiting).code == 0
    assert ilctl("requests", "rm", waiting).code == 3
    assert ilctl("requests", "approve", waiting).code == 3
    [event] = events(ilctl, "access_request.delete")
    assert (event["code"], event["id"]) == ("T5003I", waiting)


def test_it_goes_with_the_account(ilctl: Ilctl, waiting: str) -> None:
    """A namesake inherits nothing."""
    ilctl("users", "add", "alice")
    ilctl("requests", "approve", waiting)
    ilctl("users", "rm", "alice")
    assert ilctl("requests", "ls", "--all", "--format", "json").json() == []
