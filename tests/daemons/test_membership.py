"""What a daemon apart from auth asks it for: now and then, and at once while a session waits for the answer."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from interlock.adapters.rpc.client import AuthClient
from interlock.core.errors import StoreError
from interlock.daemons import membership
from interlock.daemons.membership import IdentityKeeper, Renewable
from interlock.daemons.node_identity import IdentityFile, NodeIdentity, create_host_key
from interlock.daemons.node_terms import NodeTerms
from interlock.ports import RecordingTerms
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import NODE

IDENTITY = NodeIdentity(NODE, "example", ("db1",), create_host_key(), "certificate", (), ())


class Auth:
    """`ports.TermsSource`."""

    async def recording_terms(self, public: bytes) -> RecordingTerms:  # noqa: ARG002
        return RecordingTerms(b"", ())


class Keeper(IdentityKeeper):
    """Meets an auth that is away at the first question; asks for terms only, not for certificates."""

    def __init__(self, directory: Path, terms: NodeTerms) -> None:
        super().__init__(IDENTITY, IdentityFile(directory), terms, FakeClock())
        self.failed = asyncio.Event()

    async def refresh(self, server: Renewable, client: AuthClient) -> None:  # noqa: ARG002
        if not self.failed.is_set():
            self.failed.set()
            raise StoreError("auth is away")
        await self._terms.refresh(Auth())


async def test_a_session_that_waits_for_auth_s_first_word_hurries_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the pause was to be."""
    monkeypatch.setattr(membership, "RETRY_S", 3600.0)
    terms = NodeTerms(tmp_path, IDENTITY.id, clock=FakeClock(), entropy=FakeEntropy(1))
    keeper = Keeper(tmp_path, terms)
    running = asyncio.create_task(keeper.run(cast("Renewable", None), cast("AuthClient", None)))
    try:
        await keeper.failed.wait()
        await terms.wait_known()
    finally:
        running.cancel()
    assert terms.known
