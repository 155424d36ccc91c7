"""What several roles come to together: grants add up, and of two restrictions the stricter one holds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.extensions import JoinMode
from interlock.domain.access import (
    APART,
    BY_KEY,
    MERGE,
    WITHHELD,
    Access,
    Deny,
    FileTransfer,
    HardwareKey,
    OnLeave,
    RoleOptions,
    SecondFactor,
    SessionKind,
    Strictness,
    Verb,
    dump_options,
    for_proxies,
    load_options,
)
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission

JOINED: dict[str, list[tuple[Any, Any, Any]]] = {
    "local_forwarding": [(True, False, True)],
    "remote_forwarding": [(True, False, True)],
    "x11_forwarding": [(True, False, True)],
    "agent_forwarding": [(True, False, True)],
    "file_transfer": [
        (FileTransfer.BOTH, FileTransfer.UPLOAD, FileTransfer.UPLOAD),
        (FileTransfer.DOWNLOAD, FileTransfer.UPLOAD, FileTransfer.NONE),
        (FileTransfer.DOWNLOAD, FileTransfer.BOTH, FileTransfer.DOWNLOAD),
    ],
    "max_connections": [(5, 3, 3)],
    "max_sessions": [(5, 3, 3)],
    "client_idle_timeout": [(60, 600, 60)],
    "max_session_ttl": [(60, 600, 60)],
    "disconnect_expired_cert": [(True, False, True)],
    "recording": [("off", "node", "node"), ("proxy", "node-sync", "node-sync"), ("proxy", "node", "proxy")],
    "record_session": [(Strictness.STRICT, Strictness.BEST_EFFORT, Strictness.STRICT)],
    "record_input": [(True, False, True)],
    "exec_output_limit": [(1, 2, 2)],
    "join_sessions": [((JoinMode.PEER,), (JoinMode.OBSERVER,), (JoinMode.PEER, JoinMode.OBSERVER))],
    "require_moderators": [(1, 2, 2)],
    "on_leave": [(OnLeave.PAUSE, OnLeave.TERMINATE, OnLeave.TERMINATE)],
    "second_factor": [(SecondFactor.SIGN_IN, SecondFactor.SESSION, SecondFactor.SESSION)],
    "session_kinds": [
        ((SessionKind.SHELL, SessionKind.EXEC), (SessionKind.EXEC, SessionKind.SFTP), (SessionKind.EXEC,)),
        ((SessionKind.SHELL,), (SessionKind.SFTP,), ()),
    ],
    "source_networks": [
        (("10.0.0.0/8", "192.0.2.0/24"), ("10.1.0.0/16", "2001:db8::/32"), ("10.1.0.0/16",)),
        (("10.1.0.0/16", "10.2.0.0/16"), ("10.0.0.0/8",), ("10.1.0.0/16", "10.2.0.0/16")),
        (("10.0.0.0/8",), ("192.0.2.0/24",), ()),
    ],
    "hardware_key": [(HardwareKey.TOUCH, HardwareKey.PIN, HardwareKey.PIN)],
}


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (None, None), (0, None), (4, None), (1, HardwareKey.TOUCH), (5, HardwareKey.PIN), (0x80, None),
    ],
)  # fmt: skip
def test_what_a_signature_shows(flags: int | None, shown: HardwareKey | None) -> None:
    """Who has verified somebody, and was not touched, has shown nothing."""
    assert HardwareKey.shown_by(flags) is shown


def test_a_key_only_takes_away() -> None:
    """Each permission has a place; what roles do not allow, no key does."""
    everything = Access(local_forwarding=True, remote_forwarding=True, x11_forwarding=True, agent_forwarding=True)
    assert list(WITHHELD) == list(Permission)
    for permission, fields in WITHHELD.items():
        left = everything.within(Bounds.of(None, [permission]))
        changed = {name for name in fields if getattr(left, name) is False}
        assert changed == set(fields)
        assert msgspec.structs.replace(left, **dict.fromkeys(fields, True)) == everything
    assert Access().within(Bounds.of("true", [])) == Access(command="true")
    assert everything.within(NO_BOUNDS) is everything


@pytest.mark.parametrize(
    ("options", "guarded"),
    [
        (RoleOptions(), False),
        (RoleOptions(local_forwarding=True, max_sessions=1), False),
        (RoleOptions(file_transfer=FileTransfer.DOWNLOAD), True),
        (RoleOptions(require_moderators=1), True),
        (RoleOptions(session_kinds=(SessionKind.SHELL,)), True),
    ],
)
def test_what_only_the_keeper_of_the_record_enforces(options: RoleOptions, guarded: bool) -> None:
    """A leaf does not leave that to its root."""
    assert Access.of([options]).guarded is guarded


def test_every_option_has_a_rule_and_a_place() -> None:
    """An option that is stored but merged nowhere would restrict nobody (R6)."""
    names = [field.name for field in msgspec.structs.fields(RoleOptions)]
    carried = [name for name in names if name not in APART]
    assert list(MERGE) == carried == list(JOINED)
    assert [*MERGE, *BY_KEY] == [field.name for field in msgspec.structs.fields(Access)]
    assert set(APART) <= set(names)


def test_proxies_are_not_told_what_auth_alone_goes_by() -> None:
    """So that those which do not know it yet read the rest; what is denied they must read, or refuse."""
    said = RoleOptions(
        max_sessions=3,
        deny=Deny(("root",)),
        request_roles=("dba",),
        approvals=2,
        pin_source_ip=True,
        allow=(Verb.PLAY_RECORDINGS,),
    )
    assert for_proxies(said) == RoleOptions(max_sessions=3, deny=Deny(("root",)))
    assert for_proxies(RoleOptions(max_sessions=3)) == RoleOptions(max_sessions=3)


ROWS = [(name, *row) for name, rows in JOINED.items() for row in rows]


@pytest.mark.parametrize(("name", "a", "b", "both"), ROWS)
def test_two_roles(name: str, a: Any, b: Any, both: Any) -> None:
    """In either order, and a role that says nothing changes nothing."""
    for first, second in ((a, b), (b, a)):
        merged = Access.of([RoleOptions(**{name: first}), RoleOptions(), RoleOptions(**{name: second})])
        assert getattr(merged, name) == both
    assert getattr(Access.of([RoleOptions(**{name: a})]), name) == a


def test_nothing_is_granted_that_no_role_grants() -> None:
    """Absent means denied: no forwarding of any kind, no joining; files may be copied."""
    assert Access.of([RoleOptions()]) == Access.of([]) == Access()
    nothing = Access()
    grants = ("local_forwarding", "remote_forwarding", "x11_forwarding", "agent_forwarding", "join_sessions")
    assert not any(getattr(nothing, name) for name in grants)
    assert nothing.file_transfer is FileTransfer.BOTH


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "",
        '{"colour": 1}',
        '{"max_sessions": 0}',
        '{"max_sessions": "3"}',
        '{"require_moderators": -1}',
        '{"recording": "sometimes"}',
        '{"file_transfer": "up"}',
        '{"x11_forwarding": 1}',
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """A stored role with it is void (R6)."""
    with pytest.raises(ValueError, match=r".+"):
        load_options(text)


@given(st.sampled_from(list(JOINED)), st.data())
def test_options_survive_storage(name: str, data: st.DataObject) -> None:
    """What is written is what is read, and what is not said is not written."""
    value = data.draw(st.sampled_from([side for row in JOINED[name] for side in row[:2]]))
    options = RoleOptions(**{name: value})
    assert load_options(dump_options(options)) == options
    assert dump_options(RoleOptions()) == "{}"
