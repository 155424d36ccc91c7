"""Auth as a proxy apart from it sees it: what every daemon asks (`AuthClient`), and what only proxies may.

Implements `standing.StandingSource` and `TrustedSource`, `ports.TargetIssuer`, `LeafIssuer`, `TargetLookup`,
`TrackerLookup`, `SessionLookup` and `TwinStore` as far as a proxy needs it, and passwords and portal.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc import proxy_messages as p
from interlock.adapters.rpc.calling import subscribe
from interlock.adapters.rpc.client import AuthClient
from interlock.core import portal as wire
from interlock.core.errors import LocalProtocolError, NotFound, RemoteProtocolError, Rule, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.cluster import LeafPass, TrustedCluster
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.domain.twin import Twin
from interlock.ports import Clock, TargetCredential
from interlock.services.access.caller import Caller
from interlock.services.access.standing import Standing
from interlock.services.fleet.signing import ForTarget
from interlock.services.portal.playback import Download
from interlock.services.signin.confirming import Asked, Collected
from interlock.services.signin.signin import Confirmation, Judgement, SignInResult

STRANGE_S = 10.0
"""Seconds for which a key is taken for nobody's: so long may one that was just enrolled not count yet."""

MAX_STRANGE = 10_000
"""Such keys; the longest unseen is forgotten first."""

MAX_TICKETS = 10_000
"""People whose tickets are kept; they are good for minutes. Whoever signed in longest ago is forgotten first."""

MAX_ENDED = 1000
"""Sessions of which it is remembered that they have ended, for the text of a refusal."""


class ProxyClient(AuthClient):
    """Remote ports of one proxy."""

    async def standing(self, certificate: bytes) -> Standing:
        """`standing.StandingSource`."""
        return await self._ask(p.STANDING, p.Who(certificate))

    async def find_target(self, certificate: bytes, name: str) -> Target:
        """The target that a person means."""
        return await self._ask(p.FIND, p.Find(certificate, name))

    async def target(self, name: str) -> Target:
        """`ports.TargetLookup`."""
        return await self._ask(p.TARGET, p.Name(name))

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """`standing.TrustedSource`."""
        return (await self._ask(p.TRUSTED, m.Nothing())).clusters

    async def tracked(self, sid: SessionId) -> tuple[Tracker | None, bool]:
        """A session's tracker if it lives, and whether there was such a session."""
        answer = await self._ask(p.TRACKED, p.Session(sid))
        return answer.tracker, answer.known

    async def claim(self, sid: SessionId) -> None:
        """The session is ours from now on; Denied if it is another daemon's."""
        await self._ask(p.CLAIM, p.Session(sid))

    async def issue_for_target(
        self, permit: Permit, public_key: str, *, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """`ports.TargetIssuer`: auth decides anew, by the person's certificate."""
        wanted = ForTarget(permit.login, permit.target.id, public_key, records, client_addr, permit.joining)
        presence = permit.presence
        return await self._ask(
            p.SIGN_FOR_TARGET, p.SignForTarget(permit.certificate, wanted, presence.proof, presence.ticket)
        )

    async def issue_for_leaf(
        self, granted: LeafPass, public_key: str, *, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """`ports.LeafIssuer`: the same."""
        wanted = p.SignForLeaf(
            granted.certificate,
            granted.login,
            granted.node,
            granted.leaf.name,
            public_key,
            offers,
            client_addr,
            granted.presence.proof,
            granted.presence.ticket,
        )
        return await self._ask(p.SIGN_FOR_LEAF, wanted)

    async def issue_for_jump(self, public_key: str, names: tuple[str, ...]) -> str:
        """A host certificate for these names of a target."""
        return (await self._ask(p.SIGN_FOR_JUMP, p.SignForJump(public_key, names))).line

    async def report(self, peer: str, tunnels: tuple[DaemonId, ...], ttl_s: float) -> None:
        """We live, and are reached there; Denied if we were removed."""
        await self._ask(p.REPORT, p.Report(peer, tunnels, ttl_s))

    async def beacon(self, host_key: str) -> bytes:
        """What our next connections are to carry; Denied if auth knows us by another host key."""
        return (await self._ask(p.BEACON, p.AskBeacon(host_key))).value

    async def peers(self, known: bytes) -> p.Peers:
        """The other proxies."""
        return await self._ask(p.PEERS, p.AskPeers(known))

    async def judge(self, wanted: p.Password) -> p.Judged:
        """Sign-in by password."""
        return await self._ask(p.PASSWORD, wanted)

    async def ask_browser(self, user: str, *, source: str) -> p.Asked:
        """Let somebody confirm a sign-in in a browser."""
        return await self._ask(p.ASK_BROWSER, p.AskBrowser(user, source))

    async def collect_browser(self, asked_id: str) -> p.Collected:
        """Who has confirmed it."""
        return await self._ask(p.COLLECT_BROWSER, p.CollectBrowser(asked_id))

    async def enrolled(self, blob: bytes) -> Claims:
        """Whose a plain key is."""
        return await self._ask(p.ENROLLED, p.Who(blob, bounds=True))

    async def confirm(self, wanted: p.Confirm) -> Confirmation:
        """A second factor of somebody who has proved a certificate."""
        return await self._ask(p.CONFIRM, wanted)

    async def put_twin(self, twin: Twin) -> None:
        """Expect a node's twin of our session."""
        await self._ask(p.PUT_TWIN, p.PutTwin(twin))

    def ask_portal(self, request: p.AskPortal) -> AsyncGenerator[p.Piece, None]:
        """A person's request."""
        return subscribe(self._channel, p.PORTAL, request, self._streams)


class FarStandings:
    """`standing.StandingSource`, of which the client has one method under another name."""

    def __init__(self, client: ProxyClient) -> None:
        self._client = client

    async def standing(self, certificate: bytes) -> Standing:
        """See `StandingSource`."""
        return await self._client.standing(certificate)

    async def find(self, certificate: bytes, name: str) -> Target:
        """See `StandingSource`."""
        return await self._client.find_target(certificate, name)


class FarKeys:
    """`ports.KeyReader`. It remembers for a while which keys are nobody's: people offer theirs each time.

    Of those that are somebody's it remembers nothing, so what is removed counts no more at once.
    """

    def __init__(self, client: ProxyClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._strange: OrderedDict[bytes, float] = OrderedDict()  # until when, by digest

    async def claims(self, blob: bytes) -> Claims:
        """See `ports.KeyReader`."""
        now, digest = self._clock.monotonic(), sha256(blob).digest()
        if self._strange.get(digest, now) > now:
            raise NotFound("nobody has enrolled this key")
        try:
            claims = await self._client.enrolled(blob)
        except NotFound:
            self._strange[digest] = now + STRANGE_S
            self._strange.move_to_end(digest)
            if len(self._strange) > MAX_STRANGE:
                self._strange.popitem(last=False)
            raise
        return replace(claims, certificate=blob)


class FarSessions:
    """`ports.TrackerLookup` and `SessionLookup` for whoever looks for a session to join."""

    def __init__(self, client: ProxyClient) -> None:
        self._client = client
        self._ended: OrderedDict[SessionId, None] = OrderedDict()

    async def find(self, sid: SessionId) -> Tracker | None:
        """The session's tracker if it lives."""
        tracker, known = await self._client.tracked(sid)
        if tracker is None and known:
            self._ended[sid] = None
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        return tracker

    def knows(self, sid: SessionId) -> bool:
        """Whether `find` has heard that there was such a session."""
        return sid in self._ended


class FarTwins:
    """`ports.TwinStore`, of which a proxy has one direction."""

    def __init__(self, client: ProxyClient) -> None:
        self._client = client

    async def put(self, twin: Twin) -> None:
        """See `ports.TwinStore`."""
        await self._client.put_twin(twin)

    async def folded(self, among: Iterable[SessionId]) -> dict[SessionId, SessionId]:
        """Auth's: LocalProtocolError."""
        raise LocalProtocolError("a proxy cannot read twins", reason=f"asked for {len(list(among))} twins")

    async def one(self, sid: SessionId) -> SessionId:
        """Auth's: LocalProtocolError."""
        raise LocalProtocolError("a proxy cannot read twins", reason=f"asked for the twin of {sid}")


class FarPortal:
    """Passwords and the portal's requests, which auth judges and answers; it keeps the tickets between the two."""

    def __init__(self, client: ProxyClient) -> None:
        self._client = client
        self._tickets: OrderedDict[str, bytes] = OrderedDict()  # by user

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """See `PasswordCheck`. The device is in the ticket, for auth alone."""
        return self._keep(user, await self._client.judge(p.Password(user, password, source, None, code)))

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """See `PasswordCheck`."""
        return self._keep(user, await self._client.judge(p.Password(user, old, source, new, code)))

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """See `PasswordCheck`: auth reads in the certificate who that is."""
        del user
        return await self._client.confirm(p.Confirm(certificate, code, source, session))

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """See `portal.Portal.answer`; StoreError if auth cannot be reached."""
        by_ticket = caller.claims is None
        shown = self._tickets.get(caller.user, b"") if caller.claims is None else caller.claims.certificate
        proof = caller.claims.presence.proof if caller.claims is not None else None
        asked = p.AskPortal(shown, by_ticket, caller.methods, caller.source, wire.encode(request), proof)
        told = self._client.ask_portal(asked)
        first = await anext(told, None)
        if first is None:
            raise StoreError("auth did not answer")
        reply = wire.parse_reply(first.reply)
        if isinstance(reply, wire.Stream):
            return Download(reply, _data(told))
        await told.aclose()
        return reply

    async def ask(self, user: str, *, source: str) -> Asked:
        """See `browser.Confirming`."""
        asked = await self._client.ask_browser(user, source=source)
        return Asked(asked.id, asked.code, asked.url)

    async def collect(self, asked_id: str) -> Collected | None:
        """See `browser.Confirming`."""
        found = await self._client.collect_browser(asked_id)
        if not found.ticket:
            return None
        self._put(found.user, found.ticket)
        return Collected(found.user, found.device)

    @property
    def offered(self) -> bool:
        """Not known before it is asked for: auth's configuration is not ours."""
        return False

    def _put(self, user: str, ticket: bytes) -> None:
        self._tickets[user] = ticket
        self._tickets.move_to_end(user)
        if len(self._tickets) > MAX_TICKETS:
            self._tickets.popitem(last=False)

    def _keep(self, user: str, judged: p.Judged) -> Judgement:
        if judged.ticket:
            self._put(user, judged.ticket)
        try:
            return Judgement(SignInResult(judged.result))
        except ValueError:
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"sign-in: {judged.result[:64]!r}") from None


async def _data(told: AsyncGenerator[p.Piece, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(told) as pieces:
        async for piece in pieces:
            yield piece.data
