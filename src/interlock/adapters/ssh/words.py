"""What the system says about a failed connection, for people."""

import os


def words(error: OSError) -> str:
    """The system's words for it; asyncio puts the address, in Python's notation, in their place."""
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
