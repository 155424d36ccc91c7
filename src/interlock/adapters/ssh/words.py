"""What the system says about a failed connection, for people."""

import os
import re

_NUMBER = re.compile(r"\[Errno (\d+)\]")


def words(error: OSError) -> str:
    """The system's words for it; asyncio puts addresses, in Python's notation, in their place.

    Of several addresses that were tried in vain, each kind of failure once.
    """
    known = [error.errno] if error.errno and error.errno > 0 else map(int, _NUMBER.findall(str(error)))
    said = ", ".join(dict.fromkeys(map(os.strerror, known)))
    return (said or error.strerror or str(error)).lower()  # names that cannot be resolved have no number
