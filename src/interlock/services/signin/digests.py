"""Secrets that people carry (links, cookies, codes): made here, and stored as digests only."""

import hashlib
from base64 import urlsafe_b64encode

from interlock.ports import Entropy

SECRET_BYTES = 32
"""256 bits: nobody guesses one, however often they try."""


def new_secret(entropy: Entropy) -> str:
    """A new one, 43 characters that need no quoting in a URL, a cookie or a shell."""
    return urlsafe_b64encode(entropy.token(SECRET_BYTES)).rstrip(b"=").decode()


def digest_of(*parts: str) -> bytes:
    """What is stored of a secret; with several parts, of the secret for one purpose."""
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).digest()
