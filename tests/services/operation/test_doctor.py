"""Examinations: in their order, and none spoils another."""

import asyncio
from collections.abc import Sequence

import pytest

from interlock.core.errors import StoreError
from interlock.services.operation import doctor
from interlock.services.operation.doctor import Finding, Verdict, examine


async def well() -> Sequence[Finding]:
    """Two findings."""
    return [Finding("a", Verdict.OK, "one"), Finding("a", Verdict.WARNING, "two", "look")]


async def ill() -> Sequence[Finding]:
    """Cannot look."""
    raise StoreError("the database is away", reason="secret")


async def test_findings_keep_their_order_and_an_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its public words; a part that hangs has a finding, too."""
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.01)
    never = asyncio.Event()

    async def stuck() -> Sequence[Finding]:
        await never.wait()
        return []

    found = await examine({"stuck": stuck, "a": well, "b": ill})
    assert [(each.part, each.verdict, each.text) for each in found] == [
        ("stuck", Verdict.PROBLEM, "no answer within 0.01 s"),
        ("a", Verdict.OK, "one"),
        ("a", Verdict.WARNING, "two"),
        ("b", Verdict.PROBLEM, "the database is away"),
    ]
