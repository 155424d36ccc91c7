"""The extensions, byte by byte, as another make of peer sends and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core import extensions
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.extensions import (
    SESSION_INVITED,
    SESSION_REASON,
    JoinMode,
    SessionParams,
    Words,
    invited_users,
)
from interlock.core.ids import parse_session_id
from interlock.core.limits import MAX_INVITED, MAX_SESSION_PARAMS, MAX_WORDS
from interlock.core.wire import boolean, string

ID = parse_session_id("0a1b2c3d-4e5f-4a6b-8c7d-0123456789ab")
ID_HEX = "00000024" + ID.encode().hex()
EMPTY = "00000000"

PARAMS = [
    (SessionParams(), EMPTY * 3 + "00" + EMPTY * 3),
    (SessionParams(web_proxy_addr="p:443"), "00000005703a343433" + EMPTY * 2 + "00" + EMPTY * 3),
    (SessionParams(reason="fix"), EMPTY + "00000003666978" + EMPTY + "00" + EMPTY * 3),
    (SessionParams(invited=("al", "bo")), EMPTY * 2 + "00000005616c2c626f" + "00" + EMPTY * 3),
    (SessionParams(display_participant_requirements=True), EMPTY * 3 + "01" + EMPTY * 3),
    (
        SessionParams(join_session_id=ID, join_mode=JoinMode.OBSERVER),
        EMPTY * 3 + "00" + ID_HEX + "000000086f62736572766572" + EMPTY,
    ),
    (SessionParams(moderated_session_id=ID), EMPTY * 3 + "00" + EMPTY * 2 + ID_HEX),
]


@pytest.mark.parametrize(("params", "hexed"), PARAMS)
def test_session_parameters(params: SessionParams, hexed: str) -> None:
    """Each field has its place in the extra data, both ways."""
    assert params.encode().hex() == hexed
    assert SessionParams.decode(bytes.fromhex(hexed)) == params


def test_no_extra_data_is_no_parameters() -> None:
    """OpenSSH and older peers send none."""
    assert SessionParams.decode(b"") == SessionParams()


def _extra(*, join: str = "", mode: str = "", moderated: str = "", rest: bytes = b"") -> bytes:
    return (
        string("") + string("") + string("") + boolean(False) + string(join) + string(mode) + string(moderated)
    ) + rest


def test_ids_are_canonical_after_reading() -> None:
    """An ID in upper case names the same session."""
    assert SessionParams.decode(_extra(join=ID.upper(), mode="peer")).join_session_id == ID


@pytest.mark.parametrize(
    "extra",
    [
        b"\x00",
        _extra(rest=b"\x00"),
        _extra()[:-1],
        _extra(join="not-a-uuid", mode="peer"),
        _extra(join=ID),  # to join needs a mode
        _extra(join=ID, mode="owner"),
        _extra(mode="owner"),
        _extra(moderated="x"),
        string(b"\xff") + _extra()[4:],
        _extra(rest=b"x" * MAX_SESSION_PARAMS),
    ],
)
def test_malformed_session_parameters_are_the_peers_offence(extra: bytes) -> None:
    """Strict as the field's own decoder: short, trailing or senseless bytes do not pass."""
    with pytest.raises(RemoteProtocolError) as caught:
        SessionParams.decode(extra)
    assert caught.value.rule is Rule.MALFORMED_MESSAGE


def test_session_parameters_have_a_bound() -> None:
    """At the bound they are read, beyond it they are not even parsed."""
    fixed = len(SessionParams().encode())
    longest = SessionParams(reason="r" * (MAX_SESSION_PARAMS - fixed))
    assert SessionParams.decode(longest.encode()) == longest
    with pytest.raises(RemoteProtocolError, match="protocol error") as caught:
        SessionParams.decode(SessionParams(reason="r" * (MAX_SESSION_PARAMS - fixed + 1)).encode())
    assert "bytes of session parameters" in caught.value.reason


_words = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=20)


@given(
    st.builds(
        SessionParams,
        web_proxy_addr=_words,
        reason=_words,
        invited=st.lists(_words, max_size=4).map(tuple),
        display_participant_requirements=st.booleans(),
        join_mode=st.none() | st.sampled_from(JoinMode),
        moderated_session_id=st.none() | st.uuids().map(lambda uuid: parse_session_id(str(uuid))),
    )
)
def test_any_session_parameters_come_back(params: SessionParams) -> None:
    """Reading undoes writing."""
    assert SessionParams.decode(params.encode()) == params


@pytest.mark.parametrize(
    ("version", "understands"),
    [
        (b"SSH-2.0-Teleport", True),
        (b"SSH-2.0-Teleport_19.0.0", True),
        (b"SSH-2.0-Interlock_0.1", True),
        (b"SSH-2.0-OpenSSH_9.6", False),
        (b"SSH-2.0-", False),
        (b"", False),
        (b"SSH-2.0-OpenSSH_Teleport", False),
    ],
)
def test_who_reads_session_parameters(version: bytes, understands: bool) -> None:
    """The version's beginning tells; OpenSSH would drop the connection."""
    assert extensions.understands_params(version) is understands
    assert extensions.understands_params(f"SSH-2.0-{extensions.SOFTWARE}".encode())


@pytest.mark.parametrize(("records", "hexed"), [(True, "0100"), (False, "0000")])
def test_cluster_details(records: bool, hexed: str) -> None:
    """Two booleans: does the proxy record, does it run in FIPS mode."""
    assert extensions.cluster_details(recording_proxy=records).hex() == hexed


NAMES = [
    (extensions.SESSION_ID_QUERY_V1, b"session-id-query@goteleport.com"),
    (extensions.SESSION_ID_QUERY_V2, b"session-id-query-v2@goteleport.com"),
    (extensions.CURRENT_SESSION_ID, b"current-session-id@goteleport.com"),
    (extensions.CLUSTER_DETAILS, b"cluster-details@goteleport.com"),
    (extensions.VERSION_QUERY, b"x-teleport-version"),
    (extensions.KEEPALIVE, b"keepalive@openssh.com"),
    (extensions.HOSTKEYS_UPDATE, b"hostkeys-00@openssh.com"),
    (extensions.NO_MORE_SESSIONS, b"no-more-sessions@openssh.com"),
]


@pytest.mark.parametrize(("ours", "field"), NAMES)
def test_names_are_the_fields(ours: bytes, field: bytes) -> None:
    """A peer of another make compares them byte by byte."""
    assert ours == field


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("bob", ("bob",)),
        ("bob, carol,", ("bob", "carol")),
        ('["bob","carol"]', ("bob", "carol")),
        (",".join(map(str, range(100))), tuple(map(str, range(MAX_INVITED)))),
    ],
)
def test_who_is_invited(text: str, names: tuple[str, ...]) -> None:
    """As our tools write it and as the field's do, and not without bound."""
    assert invited_users(text) == names


def test_words_of_a_session() -> None:
    """What the environment says is kept up to a limit; other variables are not ours."""
    words = Words().heard(SESSION_REASON, b"disk \xff full").heard(SESSION_INVITED, b"bob").heard(b"LANG", b"C")
    assert words == Words("disk \ufffd full", ("bob",))
    assert len(words.heard(SESSION_REASON, b"x" * 100_000).reason) == MAX_WORDS
