"""One claim for each session ID, whichever process makes it, and what a dead process leaves."""

from pathlib import Path

import pytest

from interlock.adapters.blob.board import ClaimLinks
from interlock.core.errors import RemoteProtocolError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.ports import Posted
from interlock.services.sessions import claims as module
from interlock.services.sessions.claims import SessionClaims

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")
PROXY = DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The directory that all processes share."""
    return tmp_path / "claims"


def test_one_of_two_processes_gets_it(board: Path) -> None:
    """And the other one can see whose it is."""
    one, two = ClaimLinks(board, "one"), ClaimLinks(board, "two")
    assert one.post(SID, PROXY)
    assert not two.post(SID, NODE)
    assert two.posted(SID) == Posted(PROXY, "one")
    two.take_down(SID)
    assert one.posted(SID) is not None
    one.take_down(SID)
    assert two.posted(SID) is None
    assert two.post(SID, NODE)


def test_a_board_that_is_gone_is_an_error_in_words(board: Path) -> None:
    """Whoever takes over a worker's claims ends with nobody's sessions."""
    links = ClaimLinks(board, "one")
    board.rmdir()
    with pytest.raises(StoreError):
        links.inherit("two")


def test_a_disk_that_refuses_refuses_the_session(board: Path) -> None:
    """Nothing begins that could not be claimed."""
    links = ClaimLinks(board, "one")
    board.rmdir()
    with pytest.raises(StoreError):
        links.post(SID, PROXY)


def test_what_a_worker_began_nobody_else_may_claim(board: Path) -> None:
    """Neither another worker nor a node that speaks to auth in the supervisor, while it lives and after it."""
    worker, other = SessionClaims(board=ClaimLinks(board, "w1")), SessionClaims(board=ClaimLinks(board, "w2"))
    auth = SessionClaims(board=ClaimLinks(board, "supervisor"))
    worker.begin(SID, PROXY)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="another session"):
            other.begin(SID, PROXY)
        assert not auth.hold(SID, NODE)
        assert not auth.hold(SID, PROXY)
        assert auth.owner(SID) == PROXY
        assert auth.holder(SID) == "w1"
        assert auth.held(SID)
        if worker.held(SID):
            worker.release(SID)


def test_what_a_node_speaks_of_no_worker_begins(board: Path) -> None:
    """It knew the ID of the proxy's session first."""
    worker, auth = SessionClaims(board=ClaimLinks(board, "w1")), SessionClaims(board=ClaimLinks(board, "s"))
    assert auth.hold(SID, NODE)
    auth.release(SID)
    with pytest.raises(RemoteProtocolError, match="another session"):
        worker.begin(SID, PROXY)
    assert auth.hold(SID, NODE)


def test_claims_of_a_dead_worker_are_never_free(board: Path) -> None:
    """The supervisor takes them over, and may hold what it recovers; a node still may not."""
    worker, auth = SessionClaims(board=ClaimLinks(board, "w1")), SessionClaims(board=ClaimLinks(board, "s"))
    living = SessionClaims(board=ClaimLinks(board, "w2"))
    worker.begin(SID, PROXY)
    living.begin(OTHER, PROXY)
    assert auth.inherit("w1") == [SID]
    assert not auth.hold(SID, NODE)
    assert not auth.held(SID)
    assert auth.hold(SID, PROXY)
    assert living.holder(SID) == "s"
    assert auth.holder(OTHER) == "w2"


def test_what_is_forgotten_leaves_the_board(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board has what is in use, and as much of the rest as is remembered."""
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    claims = SessionClaims(board=ClaimLinks(board, "w1"))
    claims.begin(SID, PROXY)
    for number in range(10):
        sid = SessionId(f"00000000-0000-4000-8000-{number:012d}")
        claims.begin(sid, PROXY)
        claims.release(sid)
    assert len(list(board.iterdir())) == 4
    assert (board / SID).is_symlink()


@pytest.mark.parametrize("sid", ["../outside", "/nowhere/at/all", ".one", ""])
def test_nothing_but_a_session_id_is_a_name_here(board: Path, sid: str) -> None:
    """Whoever passes something else on has not looked at what a daemon sent."""
    claims = ClaimLinks(board, "one")
    for question in (lambda: claims.post(SessionId(sid), NODE), lambda: claims.posted(SessionId(sid))):
        with pytest.raises(ValueError, match="not a session ID"):
            question()
    assert not list(board.parent.rglob("outside"))
