"""What a daemon apart from auth asks it for: now and then, and at once while a session waits for the answer."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from interlock.adapters.rpc.client import AuthClient
from interlock.core.errors import StoreError
from interlock.daemons import membership
from interlock.daemons.membership import IdentityKeeper, Renewable
from interlock.daemons.node_identity import IdentityFile, NodeIdentity, create_host_key
from interlock.daemons.node_terms import NodeTerms
from interlock.ports import RecordingTerms, TrustBundle
from interlock.services.keys.daemonca import DaemonCa, create_authority
from interlock.testing.clock import START, FakeClock
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


class MovedAuth:
    """An auth that has got company."""

    def __init__(self) -> None:
        self.called_at = ""

    async def trust(self) -> TrustBundle:
        return TrustBundle((), (), "10.0.0.1:3025,10.0.0.2:3025")

    async def move(self, address: str) -> None:
        self.called_at = address


async def test_whoever_leads_others_to_auth_hears_of_another_one(tmp_path: Path) -> None:
    """By then the identity says so."""
    ca = DaemonCa(
        create_authority("example", entropy=FakeEntropy(1), now=START), cluster="example", entropy=FakeEntropy(2)
    )
    certificate = ca.issue_server(now=START).certificate
    identity = replace(IDENTITY, certificate=certificate, service="10.0.0.1:3025")
    terms = NodeTerms(tmp_path, IDENTITY.id, clock=FakeClock(), entropy=FakeEntropy(1))
    keeper = IdentityKeeper(identity, IdentityFile(tmp_path), terms, FakeClock())
    heard: list[str] = []
    keeper.on_moved = lambda: heard.append(keeper.identity.service)
    auth = MovedAuth()
    for _ in range(2):
        await keeper._refresh_identity(cast("Renewable", None), cast("AuthClient", auth))
    assert heard == [auth.called_at] == ["10.0.0.1:3025,10.0.0.2:3025"]


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
