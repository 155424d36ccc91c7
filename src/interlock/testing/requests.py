"""Requests for access in memory."""

from interlock.core.errors import Denied, NotFound
from interlock.domain.request import KEPT_FOR, MAX_PENDING, AccessRequest, RequestState


class MemoryRequests:
    """`ports.RequestStore`."""

    def __init__(self) -> None:
        self.stored: dict[str, AccessRequest] = {}

    async def request(self, request_id: str) -> AccessRequest:
        """One request; NotFound if there is none."""
        if request_id not in self.stored:
            raise NotFound(f"there is no access request {request_id}")
        return self.stored[request_id]

    async def requests(self, *, user: str | None = None, limit: int) -> list[AccessRequest]:
        """The newest, of one user or of all."""
        found = [each for each in self.stored.values() if user in (None, each.user)]
        by_id = sorted(found, key=lambda each: each.id)
        return sorted(by_id, key=lambda each: each.created, reverse=True)[:limit]

    async def add_request(self, request: AccessRequest) -> None:
        """Store it, and forget what was over long ago; Denied if too many of the user's wait."""
        kept = {key: each for key, each in self.stored.items() if each.created >= request.created - KEPT_FOR}
        waiting = [
            each
            for each in kept.values()
            if each.user == request.user and each.state(request.created) is RequestState.PENDING
        ]
        if len(waiting) >= MAX_PENDING:
            raise Denied(f"{MAX_PENDING} of your requests wait already: cancel some (ilsh request cancel ID)")
        self.stored = kept | {request.id: request}

    async def replace_request(self, before: AccessRequest, after: AccessRequest) -> bool:
        """Replace it; False if somebody else was faster."""
        if self.stored.get(before.id) != before:
            return False
        self.stored[before.id] = after
        return True

    async def remove_request(self, request_id: str) -> None:
        """Forget it; NotFound if there is none."""
        await self.request(request_id)
        del self.stored[request_id]
