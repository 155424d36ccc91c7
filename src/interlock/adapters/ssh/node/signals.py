"""Signals by the names that SSH has for them (RFC 4254 §6.9, §6.10)."""

import signal

NAMES = ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
"""Those of RFC 4254 §6.10; others are not delivered, and are sent with our domain."""


def number(name: str) -> int:
    """The signal of one of these names."""
    return signal.Signals[f"SIG{name}"].value


def name(number: int) -> str:
    """What a signal is called that ended a process."""
    try:
        found = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        found = str(number)
    return found if found in NAMES else f"{found}@interlock.dev"
