"""The states in which a client or a target may say something, and how one gets there by hand.

Each has a phase, by which it is known what the other side may answer (`ANSWERS`), and what must not have happened.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidTag

from interlock.core import wire
from interlock.core.messages import Open, channel_request, global_request
from interlock.core.wire import Reader, string
from interlock.testing.fuzz import Case
from interlock.testing.hostile import (
    ECDH_INIT,
    ECDH_REPLY,
    KEXINIT,
    NEWKEYS,
    SERVICE_ACCEPT,
    USERAUTH_FAILURE,
    USERAUTH_PK_OK,
    USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
    Credential,
    Gone,
    RawSsh,
    connect_raw,
)
from interlock.testing.offences import confirm, open_session

PATIENCE_S = 10.0
"""Seconds after which a connection that neither answers nor ends counts as hung."""

SENTINEL = b"is-anybody-there@example.com"
_EXT_INFO, _BANNER = 7, 53


class Phase(Enum):
    """How far a client has come."""

    KEYS = "the first key exchange"
    STRANGER = "encrypted, and not admitted"
    ADMITTED = "admitted"


_TRANSPORT = frozenset((1, 2, 3, 4, _EXT_INFO, KEXINIT, NEWKEYS, ECDH_REPLY))
_AUTHENTICATION = frozenset((SERVICE_ACCEPT, USERAUTH_FAILURE, _BANNER, USERAUTH_PK_OK))
ANSWERS: dict[Phase, frozenset[int]] = {
    Phase.KEYS: _TRANSPORT,
    Phase.STRANGER: _TRANSPORT | _AUTHENTICATION,
    Phase.ADMITTED: _TRANSPORT | _AUTHENTICATION | {USERAUTH_SUCCESS} | set(range(80, 83)) | set(range(90, 101)),
}
"""What a client may be sent at all until it is admitted, and then; 52 once (RFC 4252 §5.1)."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a hostile client may pass for, and where."""

    port: int
    user: str  # to be led on
    credential: Credential
    portal: str = ""  # to be asked; empty: there is no portal
    slow: str = ""  # led on to a target that never answers; empty: there is none
    command: bytes = b"cat"


Arrive = Callable[[RawSsh, Visitor], Awaitable[list[int]]]
"""Gets there, and returns the numbers of the channels that the server knows."""


async def _handshake(peer: RawSsh, _visitor: Visitor) -> list[int]:
    await peer.handshake()
    return []


async def _service(peer: RawSsh, _visitor: Visitor) -> list[int]:
    await peer.handshake()
    await peer.request_service()
    return []


async def _question(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _service(peer, visitor)
    peer.offer(visitor.user, visitor.credential)
    await peer.expect(USERAUTH_PK_OK)
    return []


async def _refusal(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _service(peer, visitor)
    peer.send(bytes([USERAUTH_REQUEST]) + string(visitor.user) + string("ssh-connection") + string("none"))
    await peer.expect(USERAUTH_FAILURE)
    return []


async def _asked(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _service(peer, visitor)
    method = string("ssh-connection") + string("keyboard-interactive") + string("") + string("")
    peer.send(bytes([USERAUTH_REQUEST]) + string(visitor.portal) + method)
    await peer.expect(USERAUTH_PK_OK)  # the same number as INFO_REQUEST
    return []


async def _strangers_exchange(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _question(peer, visitor)
    peer.begin_exchange()
    await peer.expect(KEXINIT)
    return []


async def _admitted(peer: RawSsh, visitor: Visitor) -> list[int]:
    await peer.log_in(visitor.user, visitor.credential)
    return []


async def _opening(peer: RawSsh, visitor: Visitor) -> list[int]:
    await peer.log_in(visitor.slow, visitor.credential)
    peer.send(open_session())
    return [0]


async def _channel(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _admitted(peer, visitor)
    peer.send(open_session())
    confirmation = await peer.expect(wire.CHANNEL_OPEN_CONFIRMATION)
    return [Reader(confirmation[5:]).uint32()]


async def _command(peer: RawSsh, visitor: Visitor) -> list[int]:
    channels = await _channel(peer, visitor)
    peer.send(channel_request(channels[0], b"exec", want_reply=True, data=string(visitor.command)))
    await peer.expect(wire.CHANNEL_SUCCESS)
    return channels


async def _portal(peer: RawSsh, visitor: Visitor) -> list[int]:
    await peer.log_in(visitor.portal, visitor.credential)
    return []


async def _asking(peer: RawSsh, visitor: Visitor) -> list[int]:
    await _portal(peer, visitor)
    peer.send(open_session())
    confirmation = await peer.expect(wire.CHANNEL_OPEN_CONFIRMATION)
    return [Reader(confirmation[5:]).uint32()]


STRANGERS: dict[str, Arrive] = {
    "before the service": _handshake,
    "before the request": _service,
    "after a question": _question,
    "after a refusal": _refusal,
    "while asked": _asked,
    "in a stranger's key exchange": _strangers_exchange,
}
"""Encrypted, and not admitted."""

GUESTS: dict[str, Arrive] = {
    "without a channel": _admitted,
    "while a channel is opened": _opening,
    "with a channel": _channel,
    "with a command": _command,
    "at the portal": _portal,
    "asking the portal": _asking,
}
"""Admitted."""

EXCHANGES = ("before the version", "before the KEXINIT", "before the key", "before the NEWKEYS")
"""Of the first key exchange."""

LATER = ("in a later key exchange", "before the NEWKEYS of a later one")

CLIENT_STATES = (*EXCHANGES, *STRANGERS, *GUESTS, *LATER)


KEY_EXCHANGE = frozenset((KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY))
"""KEXINIT, NEWKEYS, and the two messages of the one method that the hostile peer speaks (RFC 5656 §4)."""


async def visit(case: Case, visitor: Visitor) -> str:
    """Say one message in one state as a client; what is wrong with what came of it, or nothing."""
    async with asyncio.timeout(PATIENCE_S), await connect_raw("127.0.0.1", visitor.port) as peer:
        try:
            phase, wrong = await _visit(case, visitor, peer)
        except Gone:
            phase, wrong = phase_of(case.state), ""
        except InvalidTag:
            if case.number not in KEY_EXCHANGE:
                raise
            # A forged message that is a key has begun keys that this end cannot know: only the end can be heard.
            await peer.wait_closed()
            phase, wrong = phase_of(case.state), ""
        return wrong or misheard(peer.heard, phase)


def phase_of(state: str) -> Phase:
    """How far one has come there."""
    if state in EXCHANGES:
        return Phase.KEYS
    return Phase.STRANGER if state in STRANGERS else Phase.ADMITTED


async def _visit(case: Case, visitor: Visitor, peer: RawSsh) -> tuple[Phase, str]:
    if case.state in EXCHANGES:
        await say_among_keys(peer, case)
        await peer.request_service()
        return Phase.KEYS, "went on after a message that has no place in a strict key exchange"
    if case.state in STRANGERS:
        await STRANGERS[case.state](peer, visitor)
        peer.send(case.message())
        peer.send(open_session())
        peer.follows = False
        await peer.wait_gone()
        return Phase.STRANGER, ""
    if case.state in LATER:
        await _admitted(peer, visitor)
        interrupt(peer, case, at_key=case.state == LATER[0])
        await peer.exchange_keys()
    else:
        channels = await GUESTS[case.state](peer, visitor)
        peer.send(case.message(channels))
    peer.send(global_request(SENTINEL, want_reply=True))
    await peer.expect(wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)
    return Phase.ADMITTED, ""


async def say_among_keys(peer: RawSsh, case: Case) -> None:
    """The first key exchange of either side, with the message in it."""
    if case.state == "before the version":
        peer.send(case.message())
    await peer.exchange_versions()
    if case.state == "before the KEXINIT":
        peer.send(case.message())
    if case.state in {"before the key", "before the NEWKEYS"}:
        interrupt(peer, case, at_key=case.state == "before the key")
    await peer.exchange_keys()


def interrupt(peer: RawSsh, case: Case, *, at_key: bool) -> None:
    """Say the message in the next key exchange."""
    peer.before_key = case.message() if at_key else b""
    peer.before_newkeys = b"" if at_key else case.message()


def misheard(heard: Counter[int], phase: Phase) -> str:
    """What came that must not, in this phase."""
    strange = sorted(set(heard) - ANSWERS[phase])
    if strange:
        return f"was sent messages of the numbers {strange}"
    return "was admitted twice" if heard[USERAUTH_SUCCESS] > 1 else ""


# --- targets -------------------------------------------------------------------------------------

TARGET_STATES = (
    *EXCHANGES,
    "before it accepts the service",
    "before it admits us",
    "before a channel",
    "while it opens a channel",
    "with a channel",
    *LATER,
)


async def receive_visit(case: Case, peer: RawSsh) -> None:
    """Say one message in one state as a target, and otherwise behave."""
    if case.state in EXCHANGES:
        await say_among_keys(peer, case)
    else:
        await peer.handshake()
    await peer.expect(5)
    _say(peer, case, "before it accepts the service")
    peer.send(bytes([SERVICE_ACCEPT]) + string("ssh-userauth"))
    await peer.expect(USERAUTH_REQUEST)
    _say(peer, case, "before it admits us")
    peer.send(bytes([USERAUTH_SUCCESS]))
    _say(peer, case, "before a channel")
    opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
    _say(peer, case, "while it opens a channel", [opened.sender])
    peer.send(confirm(opened))
    _say(peer, case, "with a channel", [opened.sender])
    if case.state in LATER:
        interrupt(peer, case, at_key=case.state == LATER[0])
        await peer.exchange_keys()
    peer.send(global_request(SENTINEL, want_reply=True))
    await peer.expect(wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)


def _say(peer: RawSsh, case: Case, state: str, channels: Sequence[int] = ()) -> None:
    if case.state == state:
        peer.send(case.message(channels))


async def be_led_on(visitor: Visitor) -> tuple[bool, str]:
    """An honest client's visit to a hostile target: whether it had a channel, and what is wrong with the rest."""
    confirmed = False
    async with asyncio.timeout(PATIENCE_S), await connect_raw("127.0.0.1", visitor.port) as peer:
        try:
            await peer.log_in(visitor.user, visitor.credential)
            peer.send(open_session())
            answer = await peer.expect(wire.CHANNEL_OPEN_CONFIRMATION, wire.CHANNEL_OPEN_FAILURE)
            confirmed = answer[0] == wire.CHANNEL_OPEN_CONFIRMATION
            peer.send(global_request(SENTINEL, want_reply=True))
            await peer.expect(wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE)
        except Gone:
            pass
        return confirmed, misheard(peer.heard, Phase.ADMITTED)
