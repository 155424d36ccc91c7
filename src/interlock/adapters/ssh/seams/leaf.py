"""One more use of asyncssh's private names, for a leaf cluster's proxy: a question before the leg takes over."""

import asyncio
from collections.abc import Awaitable

import asyncssh
from asyncssh.packet import Boolean, SSHPacket, String

from interlock.adapters.ssh.seams.relayed import TargetLegConnection
from interlock.core.wire import GLOBAL_REQUEST, REQUEST_FAILURE, REQUEST_SUCCESS


class LeafLegConnection(TargetLegConnection):
    """The root's connection to a leaf's proxy. It is frozen when the one question is answered, not before."""

    _question: "asyncio.Future[bytes | None] | None" = None

    def ask(self, request: bytes) -> "asyncio.Future[bytes | None]":
        """Send a global request: its answer is what SUCCESS carries, or None for a FAILURE (RFC 4254 §4)."""
        self._question = question = self._loop.create_future()
        self.send_packet(GLOBAL_REQUEST, String(request), Boolean(True))
        return question

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Take the answer; whatever follows it in the same read is the leg's."""
        if self._question is None or pkttype not in (REQUEST_SUCCESS, REQUEST_FAILURE):
            return super().process_packet(pkttype, pktid, packet)
        question, self._question = self._question, None
        self.freeze()
        if not question.done():
            question.set_result(packet.get_remaining_payload() if pkttype == REQUEST_SUCCESS else None)
        return True

    def unanswered(self, why: Exception | None) -> None:
        """There will be no answer: the connection has ended."""
        question, self._question = self._question, None
        if question is not None and not question.done():
            question.set_exception(why or asyncssh.ConnectionLost("it hung up"))
