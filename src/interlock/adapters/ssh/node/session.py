"""One session channel of the node: between what the client asks for and the process with its recording.

It only connects: the process is `child`'s, the wire `seams`', the recording's life `sessions.sessions`'. Output is
recorded before it is sent, so nothing is seen that was not kept.
"""

from collections.abc import Callable, Mapping, Sequence

from interlock.adapters.ssh.node import signals
from interlock.adapters.ssh.node import terminal as tty
from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.child import Child, Children, Ended
from interlock.adapters.ssh.node.environment import SessionFacts
from interlock.adapters.ssh.node.forwarding.session import SessionForwards
from interlock.adapters.ssh.node.live import Announcement, Live
from interlock.adapters.ssh.node.plan import Plan, planned
from interlock.adapters.ssh.node.refusals import Refusals
from interlock.adapters.ssh.node.room import PIECE, room
from interlock.adapters.ssh.node.wanted import Wanted
from interlock.adapters.ssh.seams.node import NodeChannel, NodeConnection, NodeSession
from interlock.core.channel_requests import NO_TERMINAL
from interlock.core.errors import Denied, InterlockError, RecordingError
from interlock.core.extensions import CLIENT_LEFT, CURRENT_SESSION_ID
from interlock.core.sides import Side
from interlock.core.wire import boolean, string, uint32
from interlock.domain.recording import Stream
from interlock.domain.session import Exit, SessionKind, Start, Window

ENDED_BY_GATEWAY = 254
"""Exit status of a session that we refused to run or ended; ssh itself uses 255."""

WRITE_QUEUE = 256 * 1024
"""Bytes of notices, and of what somebody looks at in passing, that may wait for a slow client before it gets none.
Other output is not even read while it would have to wait."""


class ShellSession(NodeSession):
    """Shell, command or sftp on one channel."""

    def __init__(
        self,
        connection: NodeConnection,
        live: Live,
        account: Account,
        facts: SessionFacts,
        *,
        children: Children,
        refusals: Refusals,
        announcement: Announcement,
        forwards: SessionForwards,
        on_over: Callable[["ShellSession"], None],
    ) -> None:
        self._connection = connection
        self._live = live
        self._account = account
        self._children = children
        self._refusals = refusals
        self._announcement = announcement
        self._forwards = forwards
        self._on_over = on_over
        self._channel: NodeChannel | None = None  # from the confirmation of the open to the close
        self._child: Child | None = None  # once started
        self._wanted = Wanted(account, facts)
        self._start_seen = False  # a second shell, exec or subsystem is refused
        self._start_answered = False
        self._started = False  # the recording runs
        self._exit_told = False
        self._over = False
        self._tx = self._rx = 0  # bytes from and to the client
        self._plan: Plan | None = None  # once something was asked for
        self._paused = False  # a moderator is missing
        self._client_full = False  # too much waits for the client already
        self._no_room = False  # output would have to wait for the client
        self._child_full = False  # the process takes no more for now
        live.parties.host = self
        live.on_failure = self._recording_failed
        live.on_forbidden = lambda denied: self.terminate(f"Session terminated: {denied.public}")
        live.on_lock = self._locked
        live.traffic = lambda: (self._tx, self._rx)

    @property
    def activity(self) -> int:
        """Bytes by which something has moved: what the person sent, and without a terminal also what came."""
        return self._tx if self._wanted.terminal is not None else self._tx + self._rx

    def belongs_to(self, connection: NodeConnection) -> bool:
        """Whether it is a session of this connection."""
        return self._connection is connection

    # the channel

    def connection_made(self, chan: object) -> None:
        """The channel is confirmed: name the session, before any reply can overtake it."""
        if isinstance(chan, NodeChannel):
            self._channel = chan
            chan.set_write_buffer_limits(high=WRITE_QUEUE, low=WRITE_QUEUE // 4)
            if self._announcement.at_open:
                chan.announce(CURRENT_SESSION_ID, self._live.sid.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone, with the connection or alone."""
        self._channel = None
        told = self._connection.farewell if self._connection.forwarded else ""
        self._end(told or (CLIENT_LEFT if exc else "the client closed the channel"))

    def finished(self) -> None:
        """Everything was sent."""
        self._end("")

    # requests

    def pty_requested(self, term_type: str, term_size: tty.Size, term_modes: Mapping[int, int]) -> bool:
        """Remember the terminal; it is opened when something is started on it."""
        if self._start_seen:
            return False
        if not self._live.ctx.access.pty:
            return self._refuse("pty-req", NO_TERMINAL, NO_TERMINAL)
        self._wanted.note_terminal(term_type, term_size, term_modes)
        return True

    def env_requested(self, name: bytes, value: bytes) -> bool:
        """Take a variable, if it comes in time and is on the list, or is for us."""
        return not self._start_seen and self._wanted.note_variable(name, value)

    def start_requested(self, kind: str, argument: bytes) -> bool:
        """Start once per channel (R19)."""
        if self._start_seen:
            return self._refuse(kind, "a channel runs one command only", f"a second start: {kind}")
        if b"\0" in argument:
            public = "a command cannot contain a NUL character"
            return self._refuse(kind, public, f"{kind} with a NUL in {len(argument)} bytes")
        forced = self._live.ctx.access.command
        if (plan := planned(kind, argument, forced)) is None:
            name = argument[:64].decode("utf-8", "backslashreplace")
            return self._refuse(kind, f"this host does not serve the subsystem {name}", f"subsystem {name}")
        self._start_seen = True
        self._connection.run(self._start(self._wanted.describe(SessionKind(kind), argument).forced(forced), plan))
        return True

    def forwarding_requested(self, what: str, data: bytes) -> bool:
        """X11 or the agent, before something is started that would look for it."""
        if self._start_seen:
            return self._refuse(what, "it was asked for too late", f"{what} after the start")
        try:
            self._forwards.request(what, data)
        except InterlockError as error:
            return self._refuse(what, error.public, error.reason)
        return True

    def _refuse(self, what: str, public: str, reason: str) -> bool:
        """Tell the audit log; False, the answer to the request. After the end there is no session to tell of."""
        if not self._over:
            self._refusals.within_session(self._live, what, Denied(public, reason=reason))
        return False

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The person's window changed."""
        if self._wanted.terminal is None or self._child is None or self._child.terminal_fd is None:
            return
        tty.resize(self._child.terminal_fd, (width, height, pixwidth, pixheight))
        window = Window(width, height)
        if width and height and window != self._wanted.window:
            self._wanted.window = window
            self._live.resize(window)

    def signal_received(self, signal: str) -> None:
        """Deliver to the process group (RFC 4254 §6.9)."""
        if signal in signals.NAMES and self._child is not None and not self._paused:
            self._child.signal(signals.number(signal))

    def break_received(self, msec: int) -> bool:
        """RFC 4335; meaningless without a terminal."""
        del msec
        if self._child is None or self._child.terminal_fd is None or self._paused:
            return False
        tty.send_break(self._child.terminal_fd)
        return True

    # from the client to the process

    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        """Input. What the process does not take stops the channel's window."""
        del datatype
        self._tx += len(data)
        if self._paused or self._live.parties.waiting:
            self._live.parties.typed_while_held(bytes(data))
        elif self._child is not None:
            self._live.input(data)
            if self._live.transfers is not None:
                data = self._live.transfers.passing(Side.CLIENT, bytes(data))
            self._feed(self._child, data)

    def eof_received(self) -> bool:
        """No more input; our direction stays open."""
        if self._child is not None:
            self._child.feed_eof()
        return True

    def child_hungry(self) -> None:
        """The process took everything."""
        self._child_full = False
        if self._channel is not None:
            self._channel.resume_reading()
        self._live.parties.hungry()

    def _feed(self, child: Child, data: bytes | memoryview) -> None:
        if not child.feed(data):
            self._child_full = True
            if self._channel is not None:
                self._channel.pause_reading()

    # from the process to the client

    def child_room(self, stream: Stream) -> Sequence[memoryview]:
        """As much as would leave at once: the rest stays with the process."""
        if self._channel is None:
            return room(PIECE, PIECE)  # it will be dropped
        size = self._channel.want_room()
        if not size:
            self._no_room = True
            self._read_child()
            return ()
        largest = self._channel.largest
        return room(size if stream is Stream.STDOUT else min(size, PIECE), largest)

    def has_room(self) -> None:
        """What the process has written may be read again."""
        self._no_room = False
        self._read_child()

    def child_output(self, stream: Stream, pieces: Sequence[memoryview]) -> None:
        """Record, then send."""
        for piece in pieces:
            self._rx += len(piece)
            self._live.output(stream, piece)
        if self._channel is None:
            return
        if self._live.transfers is not None and stream is Stream.STDOUT:
            self._channel.send(self._live.transfers.passing(Side.TARGET, b"".join(pieces)))
        else:
            self._channel.send_pieces(pieces, stderr=stream is Stream.STDERR)

    def pause_writing(self) -> None:
        """The client does not keep up: leave the output with the process."""
        self._client_full = True
        self._read_child()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._client_full = False
        self._read_child()

    def _read_child(self) -> None:
        """Read the process's output unless there is a reason to leave it there."""
        if self._child is not None:
            waits = self._client_full or self._no_room or self._paused
            (self._child.pause if waits else self._child.resume)()

    def child_ended(self, ended: Ended) -> None:
        """All output was told: now how it ended (RFC 4254 §6.10)."""
        if ended.signal is None:
            status = ended.status or 0
            self._exited(Exit(status=status))
            self._finish(b"exit-status", uint32(status))
        else:
            name = signals.name(ended.signal)
            self._exited(Exit(signal=name))
            payload = string(name) + boolean(ended.core) + string("") + string("")
            self._finish(b"exit-signal", payload)

    # what the parties want (services.sessions.parties.Host)

    def hold(self) -> None:
        """Nothing runs before `begin`."""

    def begin(self) -> None:
        """Enough moderators are there."""
        if self._plan is not None:
            self._connection.run(self._launch(self._plan))

    def type(self, data: bytes) -> int:
        """A peer typed."""
        if self._child is None or self._child_full or self._paused:
            return 0
        self._feed(self._child, data)
        return len(data)

    def tell(self, data: bytes) -> None:
        """Show the owner a notice; not while they do not keep up."""
        if self._channel is not None and self._wanted.terminal is not None and not self._client_full:
            self._channel.send(data)

    def pause(self) -> None:
        """Neither input nor output passes: the process waits when its terminal is full."""
        self._paused = True
        self._read_child()

    def resume(self) -> None:
        """Both pass again."""
        self._paused = False
        self._read_child()
        self._live.parties.hungry()

    # life

    def terminate(self, text: str, *, reason: str = "") -> None:
        """End the session from our side; the person reads ``text``, the audit log ``reason``."""
        if not self._over:
            self._say(text)
            self._end(reason or text)
            self._finish(b"exit-status", uint32(ENDED_BY_GATEWAY))

    async def _start(self, start: Start, plan: Plan) -> None:
        if self._over:
            return
        self._plan = plan
        try:
            await self._live.ready()
            if self._is_over():  # the client has left meanwhile
                return
            self._live.start(start)
        except InterlockError as error:
            self._fail_start(error.public)
            return
        self._started = True
        self._forwards.began()
        if self._live.parties.waiting:
            self._answer_start()  # so that the client shows what we say
        else:
            await self._launch(plan)

    async def _launch(self, plan: Plan) -> None:
        if self._over:
            return
        try:
            child = await self._children.start(lambda: self._wanted.spawn(plan, self._forwards.variables), self)
        except InterlockError as error:
            self._fail_start(error.public)
            return
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._fail_start(f"cannot start {self._account.shell}: {cause}")
            return
        if self._channel is None or self._over:
            child.abandon()
            return
        self._child = child
        self._answer_start()
        self._read_child()
        self._live.parties.hungry()

    def _answer_start(self) -> None:
        if self._start_answered or self._channel is None:
            return
        self._start_answered = True
        self._channel.answer(True)
        if self._announcement.at_start and self._channel is not None:
            self._channel.announce(CURRENT_SESSION_ID, self._live.sid.encode())

    def _is_over(self) -> bool:
        return self._over

    def _fail_start(self, text: str) -> None:
        """The request is granted and a process that only says why is played: ssh shows no text with a refusal."""
        if self._channel is not None and not self._start_answered:
            self._channel.answer(True)
        self.terminate(text)

    def _say(self, text: str) -> None:
        line_end = "\r\n" if self._wanted.terminal is not None else "\n"
        if self._channel is not None:
            self._channel.send(f"{line_end}{text}{line_end}".encode(), stderr=True)

    def _locked(self, lock: Denied) -> None:
        self.terminate(lock.public, reason=lock.reason)

    def _recording_failed(self, error: RecordingError) -> None:
        del error  # its reason is in the log and the events of services.sessions.sessions
        self.terminate("Session terminated: recording failed")

    def _exited(self, ended: Exit) -> None:
        if self._started and not self._exit_told:
            self._exit_told = True
            self._live.exited(ended)

    def _finish(self, request: bytes, payload: bytes) -> None:
        if self._channel is not None:
            self._channel.finish(request, payload)

    def _end(self, reason: str) -> None:
        """Once, whoever comes first: the process, the client or the gateway."""
        if self._over:
            return
        self._over = True
        self._forwards.close()
        if self._child is not None:
            self._child.abandon()
        self._exited(Exit(error=reason))
        self._live.end(tx=self._tx, rx=self._rx, reason=reason)
        self._on_over(self)
