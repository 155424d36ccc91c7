"""Text as terminals show it, always the same: listings in colour, logs, builds, a full screen, other scripts."""

import random
from collections.abc import Callable
from pathlib import Path

_TEXT = (
    "the gateway records every session once under one name while relay and target agree upon it before the client "
    "learns anything of what passes so that nothing is missing afterwards"
)
_WORDS = _TEXT.split()
_OTHER = (
    "Grüße aus Köln",
    "naïve café",
    "Ελληνικά",
    "Русский текст",
    "日本語の出力",
    "✓ done",
    "→ next",
    "├── src",
)
_SEED = 4711
_BLOCK = 1 << 20
"""Bytes that are made; the rest repeats them, since a recording compresses blocks far smaller than this."""


def write_screenfuls(path: Path, size: int) -> None:
    """A file of exactly ``size`` bytes."""
    block = screenfuls(_BLOCK)
    with path.open("wb") as file:
        for _ in range(size // _BLOCK):
            file.write(block)
        file.write(block[: size % _BLOCK])


def screenfuls(size: int) -> bytes:
    """Exactly ``size`` bytes of text; the last character may be cut."""
    chance = random.Random(_SEED)
    made = bytearray()
    while len(made) < size:
        kind = chance.choices(_KINDS, weights=(4, 4, 3, 1, 1))[0]
        for _ in range(chance.randint(5, 60)):
            made += kind(chance).encode() + b"\r\n"
    return bytes(made[:size])


def _listing(chance: random.Random) -> str:
    colour = chance.choice(("0", "01;34", "01;32", "01;36"))
    name = "-".join(chance.sample(_WORDS, 2)) + chance.choice(("", ".py", ".toml", ".log.gz"))
    day = f"{chance.choice(('Jan', 'May', 'Nov'))} {chance.randint(1, 28):2} {chance.randint(0, 23):02}:27"
    return f"-rw-r--r-- 1 deploy deploy {chance.randint(10, 10**7):9} {day} \x1b[{colour}m{name}\x1b[0m"


def _log(chance: random.Random) -> str:
    minute = f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}"
    when = f"2026-11-{chance.randint(1, 28):02}T{minute}:07.{chance.randint(0, 999):03}Z"
    address = ".".join(str(chance.randint(1, 254)) for _ in range(4))
    asked = f'"GET /{chance.choice(_WORDS)}" 200 {chance.randint(80, 99999)}'
    return f"{when} INFO web[{chance.randint(300, 9999)}]: {address} {asked}"


def _build(chance: random.Random) -> str:
    what = " ".join(chance.choices(_WORDS, k=9))
    return f"\x1b[1m[{chance.randint(1, 99):2}%]\x1b[0m \x1b[32mBuilding\x1b[0m {what}"


def _full_screen(chance: random.Random) -> str:
    return f"\x1b[{chance.randint(1, 24)};{chance.randint(1, 60)}H\x1b[7m{chance.choice(_WORDS)}\x1b[27m\x1b[K"


def _other_scripts(chance: random.Random) -> str:
    return " ".join(chance.choices(_OTHER, k=6))


_KINDS: tuple[Callable[[random.Random], str], ...] = (_listing, _log, _build, _full_screen, _other_scripts)
