"""Narrow protocols: requests for access."""

from typing import Protocol

from interlock.domain.request import AccessRequest


class RequestSource(Protocol):
    """Requests as decisions look them up."""

    async def request(self, request_id: str) -> AccessRequest:
        """One request; NotFound if there is none, or it cannot be read."""
        ...


class RequestStore(RequestSource, Protocol):
    """Requests as people make and decide them."""

    async def requests(self, *, user: str | None = None, limit: int) -> list[AccessRequest]:
        """The newest, of one user or of all."""
        ...

    async def add_request(self, request: AccessRequest) -> None:
        """Store it, and forget what was over long ago; Denied if too many of the user's wait."""
        ...

    async def replace_request(self, before: AccessRequest, after: AccessRequest) -> bool:
        """Replace it; False if somebody else was faster."""
        ...

    async def remove_request(self, request_id: str) -> None:
        """Forget it; NotFound if there is none."""
        ...
