"""The methods of auth's service that only proxies may call (`guard.MAY_CALL`): checked, passed on, answered."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc import proxy_messages as p
from interlock.adapters.rpc.codec import encode
from interlock.adapters.rpc.guard import SessionOwners, bounded
from interlock.adapters.rpc.serving import Service
from interlock.core import portal as wire
from interlock.core.errors import InterlockError
from interlock.domain.identity import Claims
from interlock.domain.target import Target
from interlock.ports import TargetCredential, TwinStore
from interlock.services.access.standing import Standing
from interlock.services.fleet.pacing import Pacing
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.shown import Shown
from interlock.services.fleet.signing import ForLeaf
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.portal.playback import Download
from interlock.services.portal.portal import refusal
from interlock.services.signin.signin import Confirmation


class ProxyHandlers:
    """Method by method."""

    def __init__(self, proxies: Proxies, owners: SessionOwners, twins: TwinStore, pacing: Pacing) -> None:
        self._proxies = proxies
        self._owners = owners
        self._twins = twins
        self._pacing = pacing

    def add_to(self, service: Service[HostIdentity]) -> None:
        """Serve them."""
        service.unary(p.STANDING, self._standing)
        service.unary(p.FIND, self._find)
        service.unary(p.TARGET, self._target)
        service.unary(p.TRUSTED, self._trusted)
        service.unary(p.TRACKED, self._tracked)
        service.unary(p.CLAIM, self._claim)
        service.unary(p.PUT_TWIN, self._put_twin)
        service.unary(p.SIGN_FOR_TARGET, self._sign_for_target)
        service.unary(p.SIGN_FOR_LEAF, self._sign_for_leaf)
        service.unary(p.SIGN_FOR_JUMP, self._sign_for_jump)
        service.unary(p.REPORT, self._report)
        service.unary(p.PEERS, self._peers)
        service.unary(p.BEACON, self._beacon)
        service.unary(p.PASSWORD, self._password)
        service.unary(p.ASK_BROWSER, self._ask_browser)
        service.unary(p.COLLECT_BROWSER, self._collect_browser)
        service.unary(p.ENROLLED, self._enrolled)
        service.unary(p.CONFIRM, self._confirm)
        service.stream(p.PORTAL, self._portal)

    async def _standing(self, caller: HostIdentity, request: p.Who) -> Standing:
        return await self._proxies.standings.standing(caller, request.certificate)

    async def _find(self, caller: HostIdentity, request: p.Find) -> Target:
        return await self._proxies.standings.find(caller, request.certificate, request.name)

    async def _target(self, caller: HostIdentity, request: p.Name) -> Target:
        return await self._proxies.lookups.target(caller, request.name)

    async def _trusted(self, _caller: HostIdentity, _request: m.Nothing) -> p.Trusted:
        return p.Trusted(await self._proxies.lookups.trusted())

    async def _tracked(self, caller: HostIdentity, request: p.Session) -> p.Tracked:
        return p.Tracked(*await self._proxies.lookups.tracker(caller, request.sid))

    async def _claim(self, caller: HostIdentity, request: p.Session) -> m.Nothing:
        """From now on the session is the caller's; Denied if it is another daemon's or has ended."""
        await self._pacing.events(caller, 1, len(request.sid))
        async with self._owners.speaking(caller, [request.sid]):
            await self._owners.check_not_over(caller, request.sid)
        return m.Nothing()

    async def _put_twin(self, caller: HostIdentity, request: p.PutTwin) -> m.Nothing:
        await self._pacing.events(caller, 1, len(encode(request)))
        async with self._owners.speaking(caller, [request.twin.sid]):
            await self._twins.put(request.twin)
        return m.Nothing()

    async def _sign_for_target(self, caller: HostIdentity, request: p.SignForTarget) -> TargetCredential:
        shown = Shown(request.certificate, request.proof, request.ticket)
        return await self._proxies.targets.sign(caller, shown, request.wanted)

    async def _sign_for_leaf(self, caller: HostIdentity, request: p.SignForLeaf) -> TargetCredential:
        shown = Shown(request.certificate, request.proof, request.ticket)
        wanted = ForLeaf(
            login=request.login,
            node=request.node,
            leaf=request.leaf,
            public_key=request.public_key,
            offers=request.offers,
            client_addr=request.client_addr,
        )
        return await self._proxies.leaves.sign(caller, shown, wanted)

    async def _enrolled(self, caller: HostIdentity, request: p.Who) -> Claims:
        return await self._proxies.people.enrolled(caller, request.certificate, bounds=request.bounds)

    async def _confirm(self, caller: HostIdentity, request: p.Confirm) -> Confirmation:
        return await self._proxies.factors.confirm(
            caller, request.certificate, request.code, source=request.source, session=request.session
        )

    async def _sign_for_jump(self, caller: HostIdentity, request: p.SignForJump) -> p.HostCertificate:
        return p.HostCertificate(await self._proxies.jumps.sign(caller, request.public_key, request.names))

    async def _report(self, caller: HostIdentity, request: p.Report) -> m.Nothing:
        await self._proxies.members.report(
            caller, peer=request.peer, tunnels=request.tunnels, ttl=bounded(request.ttl_s)
        )
        return m.Nothing()

    async def _peers(self, caller: HostIdentity, request: p.AskPeers) -> p.Peers:
        found = [p.Peer(each.id, each.peer, each.tunnels) for each in await self._proxies.members.peers(caller)]
        digest = hashlib.sha256(encode(found)).digest()
        return p.Peers(digest, None if digest == request.known else tuple(found))

    async def _beacon(self, caller: HostIdentity, request: p.AskBeacon) -> p.Beacon:
        return p.Beacon(await self._proxies.members.beacon(caller, request.host_key))

    async def _password(self, caller: HostIdentity, request: p.Password) -> p.Judged:
        result, ticket = await self._proxies.sign_ins.by_password(
            caller, request.user, request.password, source=request.source, new=request.new, code=request.code
        )
        return p.Judged(result.value, ticket)

    async def _ask_browser(self, caller: HostIdentity, request: p.AskBrowser) -> p.Asked:
        asked = await self._proxies.sign_ins.ask_browser(caller, request.user, source=request.source)
        return p.Asked(asked.id, asked.code, asked.url)

    async def _collect_browser(self, caller: HostIdentity, request: p.CollectBrowser) -> p.Collected:
        found, ticket = await self._proxies.sign_ins.collect_browser(caller, request.id)
        return p.Collected("", "", b"") if found is None else p.Collected(found.user, found.device, ticket)

    async def _portal(self, caller: HostIdentity, request: p.AskPortal) -> AsyncGenerator[p.Piece, None]:
        try:
            reply = await self._proxies.portal.answer(
                caller,
                request.shown,
                request.request,
                by_ticket=request.by_ticket,
                methods=request.methods,
                source=request.source,
                proof=request.proof,
            )
        except InterlockError as error:  # as `Portal.answer` would put it
            reply = refusal(error)
        if not isinstance(reply, Download):
            yield p.Piece(reply=wire.encode(reply))
            return
        yield p.Piece(reply=wire.encode(reply.head))
        async with aclosing(reply.pieces) as pieces:
            async for piece in pieces:
                for at in range(0, len(piece), m.CHUNK):
                    yield p.Piece(data=piece[at : at + m.CHUNK])
