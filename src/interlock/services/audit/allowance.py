"""So much at once, and more as time passes."""


class Allowance:
    """Of one who takes. Times are seconds of any clock; one that goes backwards gives nothing."""

    __slots__ = ("_each_second", "_left", "_most", "_since")

    def __init__(self, at_once: float, each_second: float, *, now: float) -> None:
        self._most = self._left = at_once
        self._each_second = each_second
        self._since = now

    def take(self, amount: float = 1, *, now: float) -> bool:
        """Take so much if there is as much; whether there was."""
        passed = max(0.0, now - self._since)
        self._left, self._since = min(self._most, self._left + passed * self._each_second), now
        if self._left < amount:
            return False
        self._left -= amount
        return True

    def give_back(self, amount: float) -> None:
        """What was taken, and not used."""
        self._left = min(self._most, self._left + amount)
