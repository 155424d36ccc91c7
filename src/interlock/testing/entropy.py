"""Randomness that every run of a test sees alike."""

import hashlib


class FakeEntropy:
    """`ports.Entropy` with countable UUIDs and reproducible bytes: never for real secrets."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._count = 0

    def uuid(self) -> str:
        """UUIDs that count up: ``SSSSSSSS-0000-4000-8000-00000000000N``, with the seed in front."""
        self._count += 1
        return f"{self._seed:08x}-0000-4000-8000-{self._count:012x}"

    def token(self, size: int) -> bytes:
        """``size`` bytes that depend on the seed and on how often something was asked for."""
        self._count += 1
        start = f"{self._seed}:{self._count}".encode()
        return hashlib.shake_256(start).digest(size)
