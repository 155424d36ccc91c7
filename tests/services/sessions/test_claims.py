"""A session ID is one daemon's, whoever says it first."""

import pytest

from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import DaemonId, SessionId
from interlock.services.sessions import claims as module
from interlock.services.sessions.claims import SessionClaims

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
PROXY, NODE = DaemonId("proxy"), DaemonId("node")


class Known:
    """A store that knows some sessions."""

    def __init__(self, *sids: SessionId) -> None:
        self.sids = sids

    def knows(self, sid: SessionId) -> bool:
        """Whether it is one of them."""
        return sid in self.sids


def test_what_the_proxy_began_no_node_may_claim() -> None:
    """While the session lives, and after it."""
    claims = SessionClaims()
    claims.begin(SID, PROXY)
    assert not claims.hold(SID, NODE)
    claims.release(SID)
    assert not claims.held(SID)
    assert not claims.hold(SID, NODE)
    assert claims.owner(SID) == PROXY


def test_what_a_node_claimed_does_not_begin() -> None:
    """While it speaks of the session, and after it: the ID was another session's."""
    claims = SessionClaims()
    assert claims.hold(SID, NODE)
    with pytest.raises(RemoteProtocolError, match="another session"):
        claims.begin(SID, PROXY)
    claims.release(SID)
    with pytest.raises(RemoteProtocolError, match="another session"):
        claims.begin(SID, PROXY)


def test_a_session_begins_once_and_its_owner_may_speak_of_it_often() -> None:
    """Two calls of one daemon at once hold it twice."""
    claims = SessionClaims()
    claims.begin(SID, PROXY)
    with pytest.raises(RemoteProtocolError):
        claims.begin(SID, PROXY)
    assert claims.hold(SID, PROXY)
    claims.release(SID)
    assert claims.held(SID)
    claims.release(SID)
    assert not claims.held(SID)


def test_what_is_stored_does_not_begin_again() -> None:
    """Whatever this process remembers of it."""
    with pytest.raises(RemoteProtocolError, match="another session"):
        SessionClaims(Known(SID)).begin(SID, PROXY)


def test_a_lookup_does_not_overrule_a_claim() -> None:
    """It may have begun before the claim."""
    claims = SessionClaims()
    claims.learn(SID, NODE)
    assert claims.owner(SID) == NODE
    claims = SessionClaims()
    claims.begin(SID, PROXY)
    claims.learn(SID, NODE)
    assert claims.owner(SID) == PROXY
    claims.release(SID)
    assert claims.owner(SID) == PROXY


def test_memory_is_bounded_and_what_is_in_use_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that names thousands of sessions cannot free an ID that is in use."""
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    claims = SessionClaims()
    claims.begin(SID, PROXY)
    for number in range(10):
        sid = SessionId(f"00000000-0000-4000-8000-{number:012d}")
        assert claims.hold(sid, NODE)
        claims.release(sid)
    assert claims.owner(SID) == PROXY
    assert len(claims._remembered) == 3
