"""What one session has forwarded for itself: an X display, and a way to the client's key agent."""

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.forwarding.connection import NodeForwards
from interlock.adapters.ssh.node.forwarding.display import DisplayRequest
from interlock.adapters.ssh.node.forwarding.listener import Listener
from interlock.core.errors import Denied, InterlockError
from interlock.core.forward import REQUEST_WORDS, X11_REQUEST, not_allowed
from interlock.domain.access import Access


class SessionForwards:
    """Of one session. ``key`` is its number on the connection."""

    def __init__(self, forwards: NodeForwards, access: Access, account: Account, key: int) -> None:
        self._forwards = forwards
        self._access = access
        self._account = account
        self._key = key
        self._listeners: dict[str, Listener] = {}  # by the request that asked for them
        self.variables: dict[str, str] = {}  # for the session's process

    def request(self, what: str, data: bytes) -> None:
        """``x11-req`` or ``auth-agent-req@openssh.com``. InterlockError if it may not be, or fails."""
        words = REQUEST_WORDS[what]
        allowed = self._access.x11_forwarding if what == X11_REQUEST else self._access.agent_forwarding
        if not allowed:
            raise Denied(not_allowed(words))
        if what in self._listeners:
            raise Denied(f"{words} was asked for already")
        try:
            listener, variables = self._open(what, data)
        except OSError as error:
            public = f"{words} is not possible on this host: {error.strerror}"
            raise InterlockError(public, reason=f"{public} ({error!r})") from None
        self._listeners[what] = listener
        self.variables |= variables
        self._forwards.granted(what, self._key)

    def _open(self, what: str, data: bytes) -> tuple[Listener, dict[str, str]]:
        if what != X11_REQUEST:
            return self._forwards.agent(self._account, self._key)
        request = DisplayRequest.decode(data)
        if request is None:
            raise Denied("a malformed request for X11 forwarding")
        return self._forwards.display(self._account, request, self._key)

    def began(self) -> None:
        """The session runs now: what the connection asked for before may belong to it."""
        self._forwards.session_began()

    def close(self) -> None:
        """The session is over."""
        for listener in self._listeners.values():
            listener.close()
