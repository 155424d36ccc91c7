"""Narrow protocols: what people do in browsers."""

from datetime import datetime
from typing import Protocol

from interlock.domain.browser import BrowserSignIn, Confirmation, Errand, Link, Verdict


class LinkStore(Protocol):
    """Links by which people get in once; digests, never secrets."""

    async def put_link(self, link: Link) -> None:
        """Store it in the place of any other of the same user."""
        ...

    async def link(self, digest: bytes) -> Link | None:
        """The link, an expired one included; None if there is none, or it was used."""
        ...

    async def spend_link(self, digest: bytes) -> bool:
        """Take it away, atomically; False if somebody was faster."""
        ...


class BrowserSignInStore(Protocol):
    """Sign-ins in browsers."""

    async def put_sign_in(self, sign_in: BrowserSignIn, *, most: int) -> None:
        """Store a new one; of the user's others only the newest stay, so that there are ``most``."""
        ...

    async def sign_in(self, digest: bytes) -> BrowserSignIn | None:
        """One, an expired one included."""
        ...

    async def touch_sign_in(self, digest: bytes, *, used: datetime, proved: datetime) -> None:
        """Note that it was used."""
        ...

    async def remove_sign_in(self, digest: bytes) -> None:
        """End it; harmless if it has ended."""
        ...

    async def remove_sign_ins(self, user: str) -> int:
        """End all of a user; how many."""
        ...


class ErrandStore(Protocol):
    """What browsers have begun."""

    async def put_errand(self, errand: Errand, *, now: datetime, most: int, of_source: int) -> bool:
        """Store it, in the place of one with this digest; False if there are too many, in all or of its source.

        Expired ones are forgotten.
        """
        ...

    async def take_errand(self, digest: bytes, kind: str) -> Errand | None:
        """Take it away, atomically; None if there is none of this kind."""
        ...


class ConfirmationStore(Protocol):
    """Sign-ins elsewhere that wait for a browser."""

    async def put_confirmation(
        self, confirmation: Confirmation, *, now: datetime, most: int, of_source: int
    ) -> bool:
        """Store a new one; False if too many wait, in all or of its source. Expired ones are forgotten."""
        ...

    async def confirmation(self, confirmation_id: str) -> Confirmation | None:
        """For whoever waits."""
        ...

    async def confirmation_of(self, digest: bytes) -> Confirmation | None:
        """For whoever has the code."""
        ...

    async def decide(self, confirmation_id: str, verdict: Verdict, *, by: str, method: str, device: str) -> bool:
        """Confirm or refuse it; False if that was done already."""
        ...

    async def spend_confirmation(self, confirmation_id: str) -> bool:
        """Let one sign-in come of it; False if one has, or it is not confirmed."""
        ...
