"""One client's connection to the node: who it is, whether it may be here, and which channels it gets.

Two kinds of refusal, because the person must learn the reason. A certificate that proves nothing ends the
authentication, with a banner. A genuine one whose owner may not come in passes, and every channel is then refused
with the reason: ssh shows that text, while "Permission denied (publickey)" would explain nothing.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from itertools import count

import asyncssh

from interlock.adapters.ssh.node.beside import Beside, closing, prohibited
from interlock.adapters.ssh.node.environment import SessionFacts
from interlock.adapters.ssh.node.forwarding.session import SessionForwards
from interlock.adapters.ssh.node.house import House
from interlock.adapters.ssh.node.judgement import Guest, Judgement
from interlock.adapters.ssh.node.live import Live
from interlock.adapters.ssh.node.packets import NodePackets
from interlock.adapters.ssh.node.refusals import Refusals
from interlock.adapters.ssh.node.stay import Occupant, Stay
from interlock.adapters.ssh.seams.inplace import Packets
from interlock.adapters.ssh.seams.node import NodeConnection, NodeHooks, NodeSession
from interlock.core.address import format_address
from interlock.core.certificate import wanted_flags
from interlock.core.errors import Denied, InterlockError, LimitReached, Locked, RemoteProtocolError
from interlock.core.extensions import SessionParams
from interlock.core.ids import SessionId
from interlock.core.limits import MAX_CHANNELS
from interlock.domain.access import NOTHING_SPECIAL, HardwareKey
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.duties import NODE_DUTIES
from interlock.domain.identity import Claims, Joining
from interlock.domain.modes import mode_at_node
from interlock.domain.session import SessionContext

MAX_AUTH_FAILURES = 20
"""Keys that one connection may offer in vain: an agent full of keys passes, guessing does not."""

_TOO_MANY = f"too many channels on one connection (at most {MAX_CHANNELS})"


class Visitor(NodeHooks):
    """Owner of one `NodeConnection`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._connection: NodeConnection | None = None
        self._judged: tuple[bytes, Claims] | None = None  # the last genuine certificate; proves nothing by itself
        self._claims: Claims | None = None  # set by proven, and only there
        self._login = ""
        self._failures = 0
        self._refusals = Refusals(house)
        self._told: set[str] = set()  # banners sent
        self._peer = self._local = ("", 0)  # set by connection_made
        self._client = self._peer  # where the person is; the same as _peer until a forwarder's word is proven
        self._decided = asyncio.Event()
        self._judgement: Judgement | None = None  # set when authentication is over
        self._stay = Stay(house.tenures, lambda: house.target, self._occupants, self._activity)
        self._reported: Denied | None = None  # the last verdict that became an event
        self._keys = count()
        self._sessions: dict[int, Live] = {}  # those of this connection that are not over
        self._served = False  # whether there was one
        self._beside = Beside(
            live=self._sessions,
            emits=lambda guest: self._context_of(guest).duties.emits,
            begin=self._begin_record,
            on_lost=self._lost_record,
            ours=lambda: house.protected,
        )
        self._failure = ""  # why the connection ends, if the client did not just leave

    @property
    def decided(self) -> bool:
        """Whether authentication is over."""
        return self._decided.is_set()

    @property
    def connection(self) -> NodeConnection | None:
        """The connection while it lasts."""
        return self._connection

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """The client is there; nothing is known of it yet."""
        if isinstance(conn, NodeConnection):
            self._connection = conn
            self._peer = self._client = _address(conn, "peername")
            self._local = _address(conn, "sockname")
            if not self._house.arrived(self):
                conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        del exc
        self._connection = None
        self._stay.leave()
        quiet = not (self._served or self._joins or self._refusals.told or self._failure)
        self._beside.end(failure=self._failure or self._stay.ended_because, quiet=quiet)
        self._decided.set()
        self._house.left(self)

    # who it is

    def begin_auth(self, username: str) -> bool:
        """Nobody comes in without authentication."""
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        """Certificates travel as public keys (RFC 4252 §7)."""
        return True

    def judge(self, user: str, certificate: bytes) -> int | None:
        """Whether the certificate is genuine, valid now and usable from here."""
        try:
            claims = self._house.claims.read(certificate, now=self._house.clock.now())
        except Denied as error:
            self._turned_away(user, error)
            return None
        client, _ = self._person(claims)
        if not claims.allows_source(client):
            public = "your certificate may not be used from this address"
            reason = f"certificate {claims.serial} is bound to {', '.join(claims.source_networks)}, not {client}"
            self._turned_away(user, Denied(public, reason=reason))
            return None
        self._judged = (certificate, claims)
        return wanted_flags(verified=claims.verified, untouched=claims.untouched)

    def proven(self, user: str, certificate: bytes) -> None:
        """The client holds the certificate's key: from here on its claims count (R12, R13)."""
        if self._judged is not None and self._judged[0] == certificate:
            flags = self._connection.signed_flags if self._connection is not None else None
            self._claims = self._judged[1].signed_with(HardwareKey.shown_by(flags))
            self._login = user
            self._client = self._person(self._claims)
            if self._connection is not None:
                self._connection.forwarded = self._claims.forwarded is not None

    def _person(self, claims: Claims) -> tuple[str, int]:
        """Where the person is: by the forwarder's word, which auth has signed, or else at the other end."""
        forwarded = self._house.forwarded(claims)
        return (forwarded.client_address if forwarded is not None else None) or self._peer

    async def auth_completed(self) -> None:
        """Decide whether it may be here. Channels that are opened meanwhile wait for the verdict."""
        try:
            if self._claims is not None:
                self._judgement = Judgement(self._house, self._claims, self._login, self._client[0])
            verdict = await self._verdict()
            if isinstance(verdict, Guest) and self._connection is not None:
                verdict = await self._stay.begin(self._connection, verdict) or verdict
            elif isinstance(verdict, Denied) and self._connection is not None:
                self._stay.linger(self._connection, verdict)
            if isinstance(verdict, Denied):
                self._reported = verdict
                self._report_refusal(verdict)
            elif self._connection is not None:
                self._connection.run(self._watch())
        finally:
            self._decided.set()

    async def _verdict(self) -> Guest | Denied:
        if self._judgement is None:
            return Denied("access denied", reason="authentication ended without a proven certificate")
        return self._stay.refusal or await self._judgement.verdict()

    def _report_refusal(self, error: Denied) -> None:
        """Who is who he says, and may come in, but not now, was rejected and has not failed."""
        if isinstance(error, Locked | LimitReached) and self._judgement is not None:
            self._refusals.before_session(self._context(self._judgement.claims, self._judgement.login), error)
        else:
            self._report_failure(self._login, error)

    def _turned_away(self, user: str, error: Denied) -> None:
        connection = self._connection
        if connection is None:
            return
        if error.public not in self._told:
            self._told.add(error.public)
            connection.send_auth_banner(f"{self._house.target.hostname}: {error.public}\r\n")
            self._report_failure(user, error)
        self._failures += 1
        if self._failures > MAX_AUTH_FAILURES:
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "too many authentication failures")

    def _report_failure(self, user: str, error: Denied) -> None:
        target = self._house.target
        fields: dict[str, JsonValue] = {
            "login": user,
            "success": False,
            "error": error.reason,
            "message": error.public,
            "server_id": target.id,
            "server_hostname": target.hostname,
            "addr.remote": format_address(*self._client),
            "addr.local": format_address(*self._local),
            "proto": "ssh",
        }
        if self._judged is not None:
            fields["user"] = self._judged[1].identity.user
        self._house.report(Kind.AUTH_FAILURE, fields)

    # what it gets

    async def answer(self, request: str) -> bool | str:
        """Queries about session IDs. Whoever may not stay is told so, if this is what the client asks first."""
        await self._decided.wait()
        verdict = await self._verdict()
        return verdict.public if isinstance(verdict, Denied) else self._house.answers(request)

    def session_open(self, connection: NodeConnection, extra: bytes) -> Coroutine[None, None, NodeSession]:
        """A session channel."""
        return self._open(connection, extra)

    def make_packets(self, connection: NodeConnection) -> Packets:
        """In place."""
        return NodePackets(connection)

    async def _open(self, connection: NodeConnection, extra: bytes) -> NodeSession:
        too_many = connection.open_channels > MAX_CHANNELS
        if too_many and not self.decided:
            raise prohibited(_TOO_MANY)
        guest = await self._admitted()
        if self._connection is None:
            raise closing()
        ctx = self._context_of(guest)
        try:
            params = SessionParams.decode(extra)
        except RemoteProtocolError as error:
            malformed = InterlockError("malformed session parameters", reason=error.reason)
            self._refusals.before_session(ctx, malformed)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, malformed.public) from None
        try:
            if too_many:
                raise Denied(_TOO_MANY)
            joining = self._joining(guest.claims, params)
            if joining is not None:
                return self._house.join(connection, ctx, joining, params.join_mode)
            self._stay.open_session(guest)
            return self._begin(connection, ctx, guest, params)
        except InterlockError as error:
            self._refusals.before_session(ctx, error)
            raise prohibited(error.public) from None

    def _begin(
        self, connection: NodeConnection, ctx: SessionContext, guest: Guest, params: SessionParams
    ) -> NodeSession:
        live = self._house.agree(ctx)
        key = next(self._keys)
        self._sessions[key] = live
        self._served = True
        forwards = SessionForwards(self._beside.forwards(connection, guest), guest.access, guest.account, key)
        facts = self._facts(ctx, params)

        def over() -> None:
            self._sessions.pop(key, None)

        return self._house.begin(connection, live, guest.account, facts, self._refusals, forwards, over)

    def _joining(self, claims: Claims, params: SessionParams) -> Joining | None:
        """The session that is to be joined: by the certificate alone, and then nothing else may be opened."""
        forwarded = self._house.forwarded(claims)
        joining = forwarded.joining if forwarded is not None else None
        if joining is None and claims.forwarded is not None and claims.forwarded.joining is not None:
            raise Denied("this node cannot share sessions")
        if joining is None and params.join_session_id is not None:
            public = f"join sessions through the gateway: ssh join%{params.join_session_id}@GATEWAY"
            raise Denied(public, reason=f"wanted to join {params.join_session_id} without the gateway's word")
        if joining is not None and params.join_session_id != joining.sid:
            public = "this connection is good for joining one session only"
            raise Denied(public, reason=f"wanted {params.join_session_id}, may join {joining.sid}")
        return joining

    async def _admitted(self) -> Guest:
        """Whoever may be here now; ChannelOpenError if nobody. A change of mind is an event, once each time."""
        await self._decided.wait()
        verdict = await self._verdict()
        if isinstance(verdict, Guest) and self._connection is not None:
            # who was refused at first has no place yet, and no lock would end what is opened
            verdict = await self._stay.begin(self._connection, verdict) or verdict
        if isinstance(verdict, Guest):
            self._stay.judged_again(verdict)
            return verdict
        if self._judgement is not None and verdict is not self._reported:
            self._reported = verdict
            ctx = self._context(self._judgement.claims, self._judgement.login)
            self._refusals.before_session(ctx, verdict)
        raise prohibited(verdict.public)

    def _occupants(self) -> Sequence[Occupant]:
        return self._house.occupants(self._connection) if self._connection is not None else ()

    def _activity(self) -> int:
        return self._beside.activity

    def _context_of(self, guest: Guest) -> SessionContext:
        return self._context(guest.claims, guest.account.name, guest)

    def _context(self, claims: Claims, login: str, guest: Guest | None = None) -> SessionContext:
        """``guest``: whoever was let in; None if nobody was."""
        forwarded = self._house.forwarded(claims)
        relieved = forwarded is not None and forwarded.records
        mode = mode_at_node(None, relieved=relieved) if guest is None else guest.mode
        if not relieved:
            mode = mode.at_node
        return SessionContext(
            sid=SessionId(self._house.entropy.uuid()),
            identity=claims.identity,
            login=login,
            target=self._house.target,
            mode=mode,
            duties=NODE_DUTIES[mode, relieved],
            daemon_id=self._house.target.id,
            client_addr=format_address(*self._client),
            local_addr=format_address(*self._local),
            access=NOTHING_SPECIAL if guest is None else guest.access,
        )

    def _facts(self, ctx: SessionContext, params: SessionParams) -> SessionFacts:
        return SessionFacts(
            sid=ctx.sid,
            user=ctx.identity.user,
            cluster=self._house.cluster,
            host_uuid=ctx.target.id,
            client=self._client,
            server=self._local,
            web_proxy_addr=params.web_proxy_addr,
            words=params.words,
        )

    def session_requested(self) -> bool:
        """Never asked: sessions come through `session_open`."""
        return False

    # what it has forwarded

    def _begin_record(self, guest: Guest) -> Live:
        record = self._house.agree(self._context_of(guest))
        record.on_lock = self._stay.end
        return record

    def _lost_record(self, error: InterlockError) -> None:
        """What is forwarded here cannot be told: the connection ends, as a session would."""
        self._failure = error.public
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, error.public)

    def _quiet(self) -> bool:
        return not (self._served or self._joins) and self._connection is not None

    @property
    def _joins(self) -> bool:
        """Whether it came to take part in a session, whose events tell of it."""
        return (
            self._claims is not None
            and self._claims.forwarded is not None
            and bool(self._claims.forwarded.joining)
        )

    async def _watch(self) -> None:
        verdict = await self._verdict()
        if isinstance(verdict, Guest) and self._connection is not None:
            self._beside.watch(self._connection, verdict, self._quiet)

    async def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> asyncssh.SSHTCPSession[bytes]:
        """-L, -D, -W and -J to somewhere behind this host."""
        guest = await self._admitted()
        dest, origin = (dest_host, dest_port), (orig_host, orig_port)
        return await self._beside.to_port(self._connection, guest, dest, origin)

    async def unix_connection_requested(self, dest_path: str) -> asyncssh.SSHUNIXSession[bytes]:
        """-L to a socket in the file system."""
        return await self._beside.to_socket(self._connection, await self._admitted(), dest_path)

    async def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """-R from a port of this host."""
        with contextlib.suppress(asyncssh.ChannelOpenError):
            guest = await self._admitted()
            forwards = self._beside.forwards(self._connection, guest)
            return await forwards.listen_port(guest.access, guest.account, listen_host, listen_port) or False
        return False

    async def unix_server_requested(self, listen_path: str) -> asyncssh.SSHListener | bool:
        """-R from a socket of this host."""
        with contextlib.suppress(asyncssh.ChannelOpenError):
            guest = await self._admitted()
            forwards = self._beside.forwards(self._connection, guest)
            return await forwards.listen_socket(guest.access, guest.account, listen_path) or False
        return False


def _address(connection: NodeConnection, which: str) -> tuple[str, int]:
    found = connection.get_extra_info(which)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else ("", 0)
