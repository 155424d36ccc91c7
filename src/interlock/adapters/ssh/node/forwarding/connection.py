"""The forwards of one client's connection to the node: judged by its roles, made here, told to the audit log."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from typing import Protocol

import asyncssh

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.forwarding import as_login
from interlock.adapters.ssh.node.forwarding.agent import open_agent
from interlock.adapters.ssh.node.forwarding.display import DisplayRequest, open_display
from interlock.adapters.ssh.node.forwarding.ends import ClientEnd, Ends
from interlock.adapters.ssh.node.forwarding.listener import Listener, OpenChannel
from interlock.adapters.ssh.node.forwarding.reach import Protected, connect_port
from interlock.adapters.ssh.pipe import link
from interlock.adapters.ssh.record import ConnectionRecord
from interlock.core.address import format_address
from interlock.core.effects import ForwardClosed, ForwardEffect, ForwardFailed, ForwardOpened, Granted, ListenBegan
from interlock.core.errors import Denied, InterlockError
from interlock.core.forward import LISTEN_PORT, LISTEN_SOCKET, RULES, Kind, not_allowed
from interlock.core.limits import MAX_FORWARD_ADDRESS, MAX_FORWARDS, MAX_LISTENERS
from interlock.domain.access import Access

_PRIVILEGED = 1024
_LAST_PORT = 65535
_LOOPBACK = ("127.0.0.1", "::1")
"""Where ports listen for clients, whatever address they ask for: as sshd without GatewayPorts."""

_TOO_MANY = Denied(f"too many forwarded connections at once (at most {MAX_FORWARDS})")
_TOO_MANY_LISTENERS = Denied(f"too many remote forwardings (at most {MAX_LISTENERS})")


class Client(Protocol):
    """The client's connection."""

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` in a task that the connection owns."""
        ...

    async def open_port(self, end: ClientEnd, host: str, port: int, origin: str, origin_port: int) -> None:
        """Open a forwarded-tcpip channel; ChannelOpenError."""
        ...

    async def open_socket(self, end: ClientEnd, path: str) -> None:
        """Open a forwarded-streamlocal channel; ChannelOpenError."""
        ...

    async def open_x11(self, end: ClientEnd, origin: str, origin_port: int) -> None:
        """Open an x11 channel; ChannelOpenError."""
        ...

    async def open_agent(self, end: ClientEnd) -> None:
        """Open a channel to the client's key agent; ChannelOpenError."""
        ...


class NodeForwards:
    """Forwards of one connection. ``record``: None if a forwarder tells of them."""

    def __init__(self, client: Client, *, record: ConnectionRecord | None, ours: Protected) -> None:
        self._client = client
        self._record = record
        self._ours = ours
        self._ids = count()
        self._open = 0
        self._moving: dict[int, Ends] = {}
        self._moved = 0  # by forwards that have ended, each at least one
        self._told: set[int] = set()  # forwards that were told as open and not yet as closed
        self._listeners: set[Listener] = set()

    def run(self, work: Coroutine[None, None, None]) -> None:
        """`listener.Owner`: in a task of the connection."""
        self._client.run(work)

    @property
    def activity(self) -> int:
        """A number that changes whenever something moves in a forward, or one opens or ends."""
        now = sum(ends.sent + ends.received + 1 for ends in self._moving.values())
        return self._moved + now

    # --- from the client ----------------------------------------------------------------------------

    async def to_port(self, access: Access, host: str, port: int, origin: str) -> ClientEnd:
        """``direct-tcpip``. InterlockError if it may not be or fails, told by then."""
        address = format_address(host, port)
        connect = partial(connect_port, host=host, port=port, ours=self._ours)
        return await self._to(Kind.PORT, access, address, origin, lambda ends: connect(ends.socket))

    async def to_socket(self, access: Access, account: Account, path: str) -> ClientEnd:
        """``direct-streamlocal``, with the login's rights. InterlockError if it may not be or fails."""

        async def connect(ends: Ends) -> None:
            _check_path(path)
            made = await asyncio.to_thread(as_login.connect, account, path)
            await asyncio.get_running_loop().create_unix_connection(lambda: ends.socket, sock=made)

        return await self._to(Kind.SOCKET, access, path, "", connect)

    async def _to(
        self,
        kind: Kind,
        access: Access,
        address: str,
        origin: str,
        connect: Callable[[Ends], Coroutine[None, None, None]],
    ) -> ClientEnd:
        ends = Ends(self._ended_untold)
        self._open += 1
        try:
            if self._open > MAX_FORWARDS:
                raise _TOO_MANY
            self._check(kind, access)
            await connect(ends)
        except OSError as error:
            self._open -= 1
            words = error.strerror or "Connection refused"
            self._tell(ForwardFailed(kind.value, _short(address), words, f"{address}: {error!r}"))
            raise InterlockError(words) from None
        except InterlockError as error:
            self._open -= 1
            self._tell(ForwardFailed(kind.value, _short(address), error.public, error.reason))
            raise
        link(ends.channel, ends.socket)
        self._opened(ends, kind, address, origin)
        return ends.channel

    def _check(self, kind: Kind, access: Access) -> None:
        rules = RULES[kind]
        if not getattr(access, f"{rules.grant}_forwarding"):
            raise Denied(not_allowed(rules.words))

    # --- to the client ------------------------------------------------------------------------------

    async def listen_port(self, access: Access, account: Account, host: str, port: int) -> Listener | None:
        """``tcpip-forward``: on the loopback; None if it may not be or fails, told by then."""

        async def listen() -> Listener:
            if port > _LAST_PORT:
                raise Denied(f"there is no port {port}")
            if port and port < _PRIVILEGED and account.uid != 0:
                raise Denied(f"only root may listen on port {port}")
            sockets = _listen_on_loopback(port)
            actual = sockets[0].getsockname()[1]

            async def open_channel(ends: Ends, origin: str, origin_port: int) -> None:
                await self._client.open_port(ends.channel, host, actual, origin, origin_port)
                address = format_address(host, actual)
                self._opened(ends, Kind.FROM_PORT, address, format_address(origin, origin_port))

            return self._listener(sockets, open_channel)

        def address(actual: int) -> str:
            return format_address(host, actual or port)

        return await self._listen(Kind.FROM_PORT, LISTEN_PORT, access, address, listen)

    async def listen_socket(self, access: Access, account: Account, path: str) -> Listener | None:
        """``streamlocal-forward``, with the login's rights; None if it may not be or fails, told by then."""

        async def listen() -> Listener:
            _check_path(path)
            made = await asyncio.to_thread(as_login.listen, account, path)

            async def open_channel(ends: Ends, _origin: str, _port: int) -> None:
                await self._client.open_socket(ends.channel, path)
                self._opened(ends, Kind.FROM_SOCKET, path, "")

            listener = self._listener([made], open_channel)
            gone = listener.on_close

            def remove() -> None:
                gone()
                self._client.run(_remove(account, path))

            listener.on_close = remove
            return listener

        return await self._listen(Kind.FROM_SOCKET, LISTEN_SOCKET, access, lambda _: path, listen)

    async def _listen(
        self,
        kind: Kind,
        request: str,
        access: Access,
        address: Callable[[int], str],
        listen: Callable[[], Coroutine[None, None, Listener]],
    ) -> Listener | None:
        try:
            self._check(kind, access)
            if len(self._listeners) >= MAX_LISTENERS:
                raise _TOO_MANY_LISTENERS
            listener = await listen()
        except OSError as error:
            words = error.strerror or "it cannot be listened on"
            self._tell(ForwardFailed(request, _short(address(0)), words, repr(error)))
            return None
        except InterlockError as error:
            self._tell(ForwardFailed(request, _short(address(0)), error.public, error.reason))
            return None
        await listener.start()
        self._tell(ListenBegan(request, _short(address(listener.get_port()))))
        return listener

    def display(self, account: Account, request: DisplayRequest, session: int) -> tuple[Listener, dict[str, str]]:
        """An X display for a session, and the variables that name it; OSError if there is none."""
        made = open_display(request, account)

        async def open_channel(ends: Ends, origin: str, origin_port: int) -> None:
            await self._client.open_x11(ends.channel, origin, origin_port)
            self._opened(ends, Kind.X11, "X11 display", format_address(origin, origin_port), session)

        return self._for_session([made.listener], open_channel, made.close, single=request.single), made.variables

    def agent(self, account: Account, session: int) -> tuple[Listener, dict[str, str]]:
        """A way to the client's key agent for a session, and the variables that name it; OSError."""
        made = open_agent(account)

        async def open_channel(ends: Ends, _origin: str, _port: int) -> None:
            await self._client.open_agent(ends.channel)
            self._opened(ends, Kind.AGENT, "key agent", "", session)

        return self._for_session([made.listener], open_channel, made.close), made.variables

    def session_began(self) -> None:
        """A session of the connection runs now."""
        if self._record is not None:
            self._record.session_began()

    def granted(self, what: str, session: int) -> None:
        """X11 or the agent was granted to a session."""
        if self._record is not None:
            self._record.granted(Granted(what, session))

    def _for_session(
        self,
        sockets: list[socket.socket],
        open_channel: OpenChannel,
        clean_up: Callable[[], None],
        *,
        single: bool = False,
    ) -> Listener:
        listener = self._listener(sockets, open_channel, single=single)
        gone = listener.on_close

        def close() -> None:
            gone()
            clean_up()

        listener.on_close = close
        self._client.run(listener.start())
        return listener

    def _listener(
        self, sockets: list[socket.socket], open_channel: OpenChannel, *, single: bool = False
    ) -> Listener:
        listener = Listener(self, sockets, open_channel, single=single)
        listener.on_close = partial(self._listeners.discard, listener)
        self._listeners.add(listener)
        return listener

    def admit(self, origin: str) -> Ends | None:
        """`listener.Owner`: a connection was accepted."""
        del origin
        if self._open >= MAX_FORWARDS:
            return None
        self._open += 1
        return Ends(self._ended_untold)

    def dropped(self, ends: Ends, error: asyncssh.ChannelOpenError) -> None:
        """`listener.Owner`: the client refused the channel, so it was never told as open."""
        self._open -= 1
        self._tell(ForwardFailed("forwarded channel", "", error.reason, f"the client refused it: {error.reason}"))
        ends.on_end = lambda _sent, _received: None

    # --- told ----------------------------------------------------------------------------------------

    def _opened(self, ends: Ends, kind: Kind, address: str, origin: str, session: int | None = None) -> None:
        forward = next(self._ids)
        self._told.add(forward)
        self._moving[forward] = ends
        self._tell(ForwardOpened(forward, kind.value, _short(address), _short(origin), session))
        ends.on_end = partial(self._ended, forward)

    def _ended(self, forward: int, sent: int, received: int) -> None:
        self._open -= 1
        self._moved += sent + received + 2
        self._moving.pop(forward, None)
        if forward in self._told:
            self._told.discard(forward)
            self._tell(ForwardClosed(forward, sent, received))

    def _ended_untold(self, _sent: int, _received: int) -> None:
        self._open -= 1

    def _tell(self, effect: ForwardEffect) -> None:
        if self._record is not None:
            self._record.perform(effect)

    def close(self) -> None:
        """The connection is over, and with it whatever was on its way."""
        for listener in list(self._listeners):
            listener.close()
        for forward in sorted(self._told):
            self._tell(ForwardClosed(forward, 0, 0))
        self._told.clear()


def _short(text: str) -> str:
    return text[:MAX_FORWARD_ADDRESS]


def _check_path(path: str) -> None:
    """Denied for what is no path: names that begin with NUL are in no directory, and so unguarded (unix(7))."""
    if "\0" in path:
        raise Denied("a socket's path cannot contain a NUL character")


def _listen_on_loopback(port: int) -> list[socket.socket]:
    """On every loopback address that this machine has, with one port number; OSError if it is taken."""
    made: list[socket.socket] = []
    try:
        for address in _LOOPBACK:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if made and not _has(family, address):
                continue
            listener = socket.socket(family)
            made.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, port or (made[0].getsockname()[1] if len(made) > 1 else 0)))
            listener.listen(as_login.BACKLOG)
            listener.setblocking(False)
    except OSError:
        for each in made:
            each.close()
        raise
    return made


def _has(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


async def _remove(account: Account, path: str) -> None:
    """The socket's file goes with its listener, as far as the login may remove it."""
    try:
        await asyncio.to_thread(as_login.remove, account, path)
    except OSError:
        return
