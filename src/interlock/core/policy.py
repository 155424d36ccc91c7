"""What each side may ask through the relay: an allow-list per side, as tables. What is absent is refused."""

from enum import Enum, auto

from interlock.core import extensions
from interlock.core.sides import Side


class Verdict(Enum):
    """What becomes of a request."""

    PASS_ON = auto()
    DROP = auto()  # like REFUSE, and listed to say why
    ANSWER = auto()  # consumed here, with SUCCESS
    START = auto()
    PTY = auto()
    ENV = auto()
    ENVS = auto()
    RESIZE = auto()
    EXIT_STATUS = auto()
    EXIT_SIGNAL = auto()
    ANNOUNCEMENT = auto()
    LISTEN = auto()  # the target listens for the client, if the roles allow it
    STOP_LISTENING = auto()
    GRANT = auto()  # X11 or the agent within a session, if the roles allow it
    REFUSE = auto()


GLOBAL_REQUESTS: dict[tuple[Side, bytes], Verdict] = {
    (Side.CLIENT, extensions.KEEPALIVE): Verdict.PASS_ON,
    (Side.CLIENT, extensions.SESSION_ID_QUERY_V1): Verdict.ANSWER,
    (Side.CLIENT, extensions.SESSION_ID_QUERY_V2): Verdict.ANSWER,
    (Side.CLIENT, extensions.VERSION_QUERY): Verdict.ANSWER,
    (Side.CLIENT, extensions.CLUSTER_DETAILS): Verdict.ANSWER,
    (Side.CLIENT, extensions.NO_MORE_SESSIONS): Verdict.ANSWER,
    (Side.CLIENT, extensions.HAND_OVER): Verdict.ANSWER,
    (Side.CLIENT, extensions.HOSTKEYS_PROVE): Verdict.REFUSE,  # we have announced no keys
    (Side.CLIENT, b"tcpip-forward"): Verdict.LISTEN,
    (Side.CLIENT, b"streamlocal-forward@openssh.com"): Verdict.LISTEN,
    (Side.CLIENT, b"cancel-tcpip-forward"): Verdict.STOP_LISTENING,
    (Side.CLIENT, b"cancel-streamlocal-forward@openssh.com"): Verdict.STOP_LISTENING,
    (Side.TARGET, extensions.KEEPALIVE): Verdict.PASS_ON,
    # They name the target's keys; to the client we are the host, and it must never learn to trust them.
    (Side.TARGET, extensions.HOSTKEYS_UPDATE): Verdict.DROP,
}

CHANNEL_REQUESTS: dict[tuple[Side, bytes], Verdict] = {
    (Side.CLIENT, b"pty-req"): Verdict.PTY,
    (Side.CLIENT, b"env"): Verdict.ENV,
    (Side.CLIENT, extensions.ENVS): Verdict.ENVS,
    (Side.CLIENT, b"window-change"): Verdict.RESIZE,
    (Side.CLIENT, b"shell"): Verdict.START,
    (Side.CLIENT, b"exec"): Verdict.START,
    (Side.CLIENT, b"subsystem"): Verdict.START,
    (Side.CLIENT, b"signal"): Verdict.PASS_ON,
    (Side.CLIENT, b"break"): Verdict.PASS_ON,
    (Side.CLIENT, b"eow@openssh.com"): Verdict.PASS_ON,
    (Side.CLIENT, extensions.KEEPALIVE): Verdict.PASS_ON,
    (Side.CLIENT, b"x11-req"): Verdict.GRANT,
    (Side.CLIENT, b"auth-agent-req@openssh.com"): Verdict.GRANT,
    (Side.TARGET, b"exit-status"): Verdict.EXIT_STATUS,
    (Side.TARGET, b"exit-signal"): Verdict.EXIT_SIGNAL,
    (Side.TARGET, b"eow@openssh.com"): Verdict.PASS_ON,
    (Side.TARGET, b"xon-xoff"): Verdict.PASS_ON,
    (Side.TARGET, extensions.KEEPALIVE): Verdict.PASS_ON,
    (Side.TARGET, extensions.CURRENT_SESSION_ID): Verdict.ANNOUNCEMENT,
}

FORWARD_REQUESTS = frozenset((b"eow@openssh.com", extensions.KEEPALIVE))
"""Requests that either side may make on a forwarded channel, where nothing can be started."""

NOT_RELAYED = {"tun@openssh.com": "tunnel forwarding"}
"""What people call the channel types that are never relayed."""


def not_relayed(what: str) -> str | None:
    """The public text for a thing of `NOT_RELAYED`; None for what nobody asks for by hand."""
    words = NOT_RELAYED.get(what)
    return f"{words} is not available through this gateway" if words else None
