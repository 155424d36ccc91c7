"""R23: who may see and ask what: every request of the portal by everybody, joins, and nothing by knowing an ID."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import get_args

import asyncssh
import pyotp
import pytest

from interlock.adapters.system import SystemClock
from interlock.core import portal as wire
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.domain.access import RoleOptions
from interlock.domain.identity import CLOCK_SKEW, Claims, Forwarded, Identity
from interlock.services.access.caller import SIGN_WINDOW, Caller
from interlock.services.portal.playback import Download
from interlock.testing.plain_target import plain_target
from interlock.testing.portal import KEY
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

ID = "0b8f4a5e-1111-4222-8333-944445555666"


def by_certificate(user: str = USER, *, life: timedelta = timedelta(hours=1), forwarded: bool = False) -> Caller:
    """Who came with one."""
    now = SystemClock().now()
    here = Forwarded(DaemonId("cluster/here"), DaemonId("proxy"), records=False) if forwarded else None
    claims = Claims(Identity(user, ("access",), "test"), (LOGIN,), now - CLOCK_SKEW, now + life, 7, here)
    return Caller(user, claims, ("publickey",), now, "192.0.2.7:4711")


def by_password(user: str = USER, *, ago: timedelta = timedelta(0)) -> Caller:
    """Who has just signed in, or some time ago."""
    return Caller(user, None, ("keyboard-interactive",), SystemClock().now() - ago, "192.0.2.7:4711")


CALLERS: dict[str, Callable[[], Caller]] = {
    "signed in": by_password,
    "signed in long ago": partial(by_password, ago=2 * SIGN_WINDOW),
    "certificate": by_certificate,
    "expired": partial(by_certificate, life=-timedelta(seconds=1)),
    "removed": partial(by_password, "nobody"),
    "removed, certificate": partial(by_certificate, "nobody"),
    "another cluster's": partial(by_certificate, forwarded=True),
}
"""Each as of now: a sign-in counts for minutes, and the whole suite takes longer."""
NOBODY: frozenset[str] = frozenset()
HERE = {"signed in", "signed in long ago", "certificate"}
MAY: dict[type, set[str] | frozenset[str]] = {
    wire.Sign: {"signed in"},  # a certificate renews nothing, and a sign-in counts for minutes
    wire.Nodes: HERE | {"another cluster's"},
    wire.Sessions: HERE,
    wire.Recordings: HERE,
    wire.Recording: HERE,
    wire.Events: NOBODY,  # has a role that says so (tests/services/portal/test_portal_events.py)
    wire.WhoAmI: HERE,
    wire.Cluster: HERE,
    wire.Devices: HERE,
    wire.AddTotp: {"signed in"},
    wire.RemoveDevice: {"signed in"},
    wire.NewRecoveryCodes: NOBODY,  # has a second factor here (tests/services/signin/test_selfservice.py)
    wire.Keys: HERE,
    wire.AddKey: {"signed in"},
    wire.RemoveKey: {"signed in"},
    # The gateway here takes no requests for access (tests/services/access/test_requests.py), nor ends it sessions.
    wire.EndSession: NOBODY,
    **dict.fromkeys((wire.AskAccess, wire.Accesses, wire.ShowAccess), NOBODY),
    **dict.fromkeys((wire.ReviewAccess, wire.CancelAccess, wire.UseAccess), NOBODY),
}
"""Who gets an answer. What is not here nobody may: a new request says here who."""


def asked(kind: type, sid: str) -> wire.AnyRequest:
    """One of each."""
    samples: dict[type, wire.AnyRequest] = {
        wire.Sign: wire.Sign(KEY),
        wire.Recording: wire.Recording(sid),
        wire.EndSession: wire.EndSession(sid),
        wire.AddTotp: wire.AddTotp("phone", "A" * 32, pyotp.TOTP("A" * 32).now()),
        wire.RemoveDevice: wire.RemoveDevice("phone"),
        wire.AddKey: wire.AddKey(KEY),
        wire.RemoveKey: wire.RemoveKey("laptop"),
        wire.AskAccess: wire.AskAccess(["root"], "please"),
        wire.ShowAccess: wire.ShowAccess(ID),
        wire.ReviewAccess: wire.ReviewAccess(ID, approve=True),
        wire.CancelAccess: wire.CancelAccess(ID),
        wire.UseAccess: wire.UseAccess(ID, KEY),
    }
    made: wire.AnyRequest = samples[kind] if kind in samples else kind()
    return made


def test_r23_every_request_says_who_may_ask_it() -> None:
    """Those that there are."""
    assert set(get_args(wire.AnyRequest)) == set(MAY)


@pytest.fixture
async def recorded(world: Gateway) -> AsyncIterator[dict[str, str]]:
    """A finished session of alice's, and one of bob's; by user."""
    async with plain_target(world):
        for user in (USER, "bob"):
            async with await world.client("plain1", as_user=user) as client:
                await client.run("exit 0", check=True)
        await world.wait_clean()
        await world.sessions.end_all("")
        yield {str(each["user"]): str(each["sid"]) for each in await world.events("session.start")}


@pytest.mark.parametrize("who", CALLERS)
async def test_r23_who_may_ask_what(world: Gateway, recorded: dict[str, str], who: str) -> None:
    """Every request of the portal; a refusal is in words, and wrong codes and names are no way around."""
    portal = world.parts.portal
    for kind in sorted(get_args(wire.AnyRequest), key=lambda each: each is wire.AddTotp):  # it changes who may
        reply = await portal.answer(CALLERS[who](), asked(kind, recorded[USER]))
        refused = isinstance(reply, wire.Refused) and reply.why == "denied"
        assert refused is not (who in MAY[kind]), (kind.__name__, reply)


@pytest.mark.parametrize("who", sorted(HERE))
@pytest.mark.parametrize("at", [0, 1])
async def test_r23_nobody_elses_recording_and_session_is_shown(
    world: Gateway, recorded: dict[str, str], who: str, at: int
) -> None:
    """Neither in a list nor to who knows its ID, from its beginning or its middle."""
    portal = world.parts.portal
    caller = CALLERS[who]()
    assert isinstance(await portal.answer(caller, wire.Recording(recorded[USER], at=at)), Download)
    other = await portal.answer(caller, wire.Recording(recorded["bob"], at=at))
    assert isinstance(other, wire.Refused)
    assert other.why == "denied"
    listed = await portal.answer(caller, wire.Recordings())
    assert isinstance(listed, wire.RecordingList)
    assert {each.sid for each in listed.recordings} == {recorded[USER]}
    await world.emitter.flush()
    read = await world.events("session.recording.access")
    assert {each["sid"] for each in read} == {recorded[USER]}
    assert {each["user"] for each in read} == {USER}


MODES = list(JoinMode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "allowed", [(), *[(each,) for each in MODES]], ids=lambda each: "".join(m.value for m in each)
)
async def test_r23_who_may_join(world: Gateway, allowed: tuple[JoinMode, ...], mode: JoinMode) -> None:
    """In the modes of one's roles and no other; one's own session nobody moderates."""
    world.add_person("bob", RoleOptions(join_sessions=allowed))
    async with (
        plain_target(world),
        await world.client("plain1") as owner,
        owner.create_process("cat", term_type="xterm") as running,
    ):
        [live] = world.sessions.live
        may = mode in allowed or (mode is JoinMode.OBSERVER and bool(allowed))  # who may do more may look on
        assert await joins(world, "bob", mode, live.sid) is may
        assert not await joins(world, "carol", mode, live.sid)  # whose role says nothing of it
        assert not await joins(world, "bob", mode, SessionId(parse_session_id(ID)))
        running.close()


async def joins(world: Gateway, user: str, mode: JoinMode, sid: SessionId) -> bool:
    """Whether somebody gets a terminal in a session."""
    words = {JoinMode.OBSERVER: "join", JoinMode.PEER: "join-peer", JoinMode.MODERATOR: "join-moderator"}
    async with await world.client("", user=f"{words[mode]}%{sid}", as_user=user) as client:
        found = False
        with contextlib.suppress(asyncssh.ChannelOpenError):
            (await client.create_process(term_type="xterm", encoding=None)).close()
            found = True
    return found


async def test_r23_a_namesake_of_another_cluster_is_somebody_else(
    world: Gateway, recorded: dict[str, str]
) -> None:
    """Whose user name is the same."""
    caller = CALLERS["another cluster's"]()
    assert caller.claims is not None
    assert caller.user == replace(caller.claims.identity).user == USER
    reply = await world.parts.portal.answer(caller, wire.Recording(recorded[USER]))
    assert isinstance(reply, wire.Refused)
