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
    REFUSE = auto()
    REFUSE_AND_REPORT = auto()  # a thing that a person asked for: the audit log hears of it


GLOBAL_REQUESTS: dict[tuple[Side, bytes], Verdict] = {
    (Side.CLIENT, extensions.KEEPALIVE): Verdict.PASS_ON,
    (Side.CLIENT, extensions.SESSION_ID_QUERY_V1): Verdict.ANSWER,
    (Side.CLIENT, extensions.SESSION_ID_QUERY_V2): Verdict.ANSWER,
    (Side.CLIENT, extensions.VERSION_QUERY): Verdict.ANSWER,
    (Side.CLIENT, extensions.CLUSTER_DETAILS): Verdict.ANSWER,
    (Side.CLIENT, extensions.NO_MORE_SESSIONS): Verdict.ANSWER,
    (Side.CLIENT, extensions.HOSTKEYS_PROVE): Verdict.REFUSE,  # we have announced no keys
    (Side.CLIENT, b"tcpip-forward"): Verdict.REFUSE_AND_REPORT,
    (Side.CLIENT, b"streamlocal-forward@openssh.com"): Verdict.REFUSE_AND_REPORT,
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
    (Side.CLIENT, b"x11-req"): Verdict.REFUSE_AND_REPORT,
    (Side.CLIENT, b"auth-agent-req@openssh.com"): Verdict.REFUSE_AND_REPORT,
    (Side.TARGET, b"exit-status"): Verdict.EXIT_STATUS,
    (Side.TARGET, b"exit-signal"): Verdict.EXIT_SIGNAL,
    (Side.TARGET, b"eow@openssh.com"): Verdict.PASS_ON,
    (Side.TARGET, b"xon-xoff"): Verdict.PASS_ON,
    (Side.TARGET, extensions.KEEPALIVE): Verdict.PASS_ON,
    (Side.TARGET, extensions.CURRENT_SESSION_ID): Verdict.ANNOUNCEMENT,
}

NOT_RELAYED = {
    "direct-tcpip": "port forwarding",
    "direct-streamlocal@openssh.com": "socket forwarding",
    "tun@openssh.com": "tunnel forwarding",
    "x11-req": "X11 forwarding",
    "auth-agent-req@openssh.com": "agent forwarding",
    "tcpip-forward": "remote port forwarding",
    "streamlocal-forward@openssh.com": "remote socket forwarding",
}
"""What people call the things that are not relayed, by channel type or request name."""


def not_relayed(what: str) -> str | None:
    """The public text for a thing of `NOT_RELAYED`; None for what nobody asks for by hand."""
    words = NOT_RELAYED.get(what)
    return f"{words} is not available through this gateway" if words else None
