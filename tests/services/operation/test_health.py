"""Health: each part is asked, and none holds up the others."""

import asyncio

import pytest

from interlock.core.errors import StoreError
from interlock.services.operation import health
from interlock.services.operation.health import Health


async def well() -> None:
    """Nothing is wrong."""


async def ill() -> None:
    """Something is."""
    raise StoreError("the disk is full", reason="/secret/path")


async def test_each_part_says_what_is_wrong_with_it() -> None:
    """In the public words."""
    assert await Health({"a": well, "b": ill}).problems() == {"a": "", "b": "the disk is full"}


async def test_a_part_that_does_not_answer_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its own time; the others' answers are there."""
    monkeypatch.setattr(health, "PATIENCE_S", 0.01)
    never = asyncio.Event()

    async def stuck() -> None:
        await never.wait()

    found = await Health({"a": stuck, "b": well}).problems()
    assert found == {"a": "no answer within 0.01 s", "b": ""}


async def test_a_bug_in_a_check_is_not_hidden() -> None:
    """Only our own errors are findings."""

    async def broken() -> None:
        raise KeyError("x")

    with pytest.raises(ExceptionGroup):
        await Health({"a": broken}).problems()
