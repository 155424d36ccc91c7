"""A node's signing key: made once, kept on its disk, under a warrant that is renewed in time."""

import asyncio
from pathlib import Path

import pyrage
import pytest

from interlock.core.errors import ConfigError, RecordingError, StoreError
from interlock.core.ids import DaemonId
from interlock.daemons.node_terms import FILE, NodeTerms
from interlock.domain.signing import WARRANT_LIFE, DaemonRole, issue_warrant, read_warrant
from interlock.ports import RecordingTerms
from interlock.services.keys.warrants import RENEW_AFTER
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import AUTHORITY, NODE


class Auth:
    """`ports.TermsSource`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.away = False
        self.asked: list[bytes] = []
        self.recipients: tuple[str, ...] = ()

    async def recording_terms(self, public: bytes) -> RecordingTerms:
        if self.away:
            raise StoreError("auth is away")
        self.asked.append(public)
        now = self.clock.now()
        made = (
            issue_warrant(
                AUTHORITY,
                cluster="demo",
                daemon=NODE,
                role=DaemonRole.NODE,
                public=public,
                valid_from=now,
                valid_until=now + WARRANT_LIFE,
            )
            if public
            else b""
        )
        return RecordingTerms(made, self.recipients)


def terms(directory: Path, clock: FakeClock, *, seed: int = 1) -> NodeTerms:
    """Of one start of the node."""
    return NodeTerms(directory, NODE, clock=clock, entropy=FakeEntropy(seed))


async def test_a_key_and_its_warrant_outlive_the_process(tmp_path: Path) -> None:
    """Auth is asked for a warrant once, and what is on the disk is nobody else's business."""
    clock = FakeClock()
    auth, first = Auth(clock), terms(tmp_path, clock)
    assert first.signer() is None
    await first.refresh(auth)
    await first.refresh(auth)
    assert [len(public) for public in auth.asked] == [32, 0]
    again = terms(tmp_path, clock, seed=2)
    signs, before = again.signer(), first.signer()
    assert signs is not None
    assert before is not None
    assert (signs.key.public, signs.warrant) == (before.key.public, before.warrant)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_warrant_is_renewed_long_before_it_ends(tmp_path: Path) -> None:
    """For the same key; while auth is away the old one serves."""
    clock = FakeClock()
    auth, node = Auth(clock), terms(tmp_path, clock)
    await node.refresh(auth)
    clock.advance(RENEW_AFTER.total_seconds())
    auth.away = True
    with pytest.raises(StoreError):
        await node.refresh(auth)
    assert node.signer() is not None
    auth.away = False
    await node.refresh(auth)
    assert auth.asked[0] == auth.asked[1]
    found = node.signer()
    assert found is not None
    warrant = read_warrant(found.warrant, [AUTHORITY.public])
    assert warrant is not None
    assert warrant.valid_from == int(clock.now().timestamp())


async def test_a_node_that_has_joined_anew_asks_anew(tmp_path: Path) -> None:
    """The old warrant names another daemon."""
    clock = FakeClock()
    auth = Auth(clock)
    await terms(tmp_path, clock).refresh(auth)
    other = NodeTerms(tmp_path, DaemonId("9" * 8 + NODE[8:]), clock=clock, entropy=FakeEntropy())
    await other.refresh(auth)
    assert [len(public) for public in auth.asked] == [32, 32]


@pytest.mark.parametrize("content", ["", "{}", '{"key": "c2hvcnQ=", "warrant": ""}'])
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    """A new key instead would leave the reason in the dark."""
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        terms(tmp_path, FakeClock())


async def test_a_node_that_never_heard_how_begins_no_recording(tmp_path: Path) -> None:
    """It could be one in the clear that was not to be; who waits for the word goes on when it has come."""
    clock = FakeClock()
    auth, node = Auth(clock), terms(tmp_path, clock)
    assert not node.known
    with pytest.raises(RecordingError, match="has not heard from the gateway"):
        node.fresh()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(node.wait_known())
        await node.refresh(auth)
        await waiting
    assert node.fresh() is None, "auth said that nothing is encrypted"
    assert terms(tmp_path, clock).known


async def test_contents_are_encrypted_for_whom_auth_said_last(tmp_path: Path) -> None:
    """From the next session on, and after a restart while auth is away."""
    clock = FakeClock()
    auth, node = Auth(clock), terms(tmp_path, clock)
    own = pyrage.x25519.Identity.generate()
    await node.refresh(auth)
    auth.recipients = (str(own.to_public()),)
    await node.refresh(auth)
    for each in (node, terms(tmp_path, clock)):
        made = each.fresh()
        assert made is not None
        assert pyrage.decrypt(made.wrapped, [own]) == made.key
