"""What the messages of the portal have in common."""

from typing import Annotated

import msgspec

MAX_LISTED = 1000
"""Most sessions, recordings or requests that one reply lists."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)]

Cursor = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""An event's place in the audit log."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What a user may ask."""


class Reply(msgspec.Struct, frozen=True, tag_field="type"):
    """What the gateway answers."""
