"""What the gateway says on the terminal of somebody who uses it for something else at that moment."""

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MAX_NOTICE = 300
"""Characters; names and reasons in it are other people's words."""


def notice(text: str, *, full_screen: int = 0) -> bytes:
    """A line between the others. ``full_screen``: its columns, while a full-screen program runs; 0 if none does.

    Then its last line is used, cut off so that nothing scrolls, and the cursor stays. Other people's words in the
    text cannot act on the terminal (R24).
    """
    room = max(0, full_screen - 3) if full_screen else MAX_NOTICE
    shown = f"\x1b[0;7m {_CONTROLS.sub('?', text)[:room]} \x1b[0m"
    said = f"\x1b7\x1b[999;1H{shown}\x1b[K\x1b8" if full_screen else f"\r\n{shown}\r\n"
    return said.encode("utf-8", "replace")
