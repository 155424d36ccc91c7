"""The cells of one of a terminal's two pages, the main or the alternate one, and what moves them about.

A row is two lists of equal length: characters and pens. A wide character is followed by an empty string, its
second half; a combining one is appended to the character that it belongs to. Rows and columns count from 0.
"""

from functools import lru_cache
from unicodedata import category, east_asian_width

MAX_COMBINING = 8
"""Characters in one cell. Unicode's own texts need four; without a bound one cell could grow for ever."""


@lru_cache(maxsize=4096)
def width(char: str) -> int:
    """Columns that a character takes: 0, 1 or 2."""
    kind = category(char)
    if kind in ("Mn", "Me", "Cf") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


class Row:
    """One line of cells."""

    __slots__ = ("chars", "pens")

    def __init__(self, cols: int, pen: str) -> None:
        self.chars = [" "] * cols
        self.pens = [pen] * cols

    def _mend(self, at: int) -> None:
        """What begins at this column is about to change: a wide character across its border loses both halves."""
        if 0 < at < len(self.chars) and not self.chars[at]:
            self.chars[at] = self.chars[at - 1] = " "

    def write(self, at: int, chars: list[str], pen: str) -> None:
        """Put characters; they must fit."""
        end = at + len(chars)
        self._mend(at)
        self._mend(end)
        self.chars[at:end] = chars
        self.pens[at:end] = [pen] * len(chars)

    def erase(self, at: int, end: int, pen: str) -> None:
        """Blank the columns from ``at`` to before ``end``."""
        end = min(end, len(self.chars))
        if at < end:
            self.write(at, [" "] * (end - at), pen)

    def insert(self, at: int, count: int, pen: str) -> None:
        """Blanks at a column; what is pushed over the edge is lost."""
        cols = len(self.chars)
        count = min(count, cols - at)
        self._mend(at)
        self._mend(cols - count)
        self.chars[at:] = [" "] * count + self.chars[at : cols - count]
        self.pens[at:] = [pen] * count + self.pens[at : cols - count]

    def delete(self, at: int, count: int, pen: str) -> None:
        """Close up; blanks come in from the edge."""
        count = min(count, len(self.chars) - at)
        self._mend(at)
        self._mend(at + count)
        self.chars[at:] = self.chars[at + count :] + [" "] * count
        self.pens[at:] = self.pens[at + count :] + [pen] * count

    def combine(self, at: int, char: str) -> None:
        """Add a character of no width to the one in this column."""
        if not self.chars[at] and at:
            at -= 1
        if len(self.chars[at]) < MAX_COMBINING:
            self.chars[at] += char

    def resize(self, cols: int) -> None:
        """Cut or extend at the right."""
        self._mend(cols)
        del self.chars[cols:], self.pens[cols:]
        missing = cols - len(self.chars)
        self.chars += [" "] * missing
        self.pens += [""] * missing


class Page:
    """A rectangle of cells."""

    def __init__(self, cols: int, rows: int) -> None:
        self.cols = cols
        self.rows = [Row(cols, "") for _ in range(rows)]

    def scroll(self, top: int, bottom: int, count: int, pen: str) -> None:
        """Move the rows from ``top`` to ``bottom``, both included, up by ``count``, or down if it is negative."""
        height = bottom - top + 1
        size = min(abs(count), height)
        blank = [Row(self.cols, pen) for _ in range(size)]
        if count > 0:
            self.rows[top : bottom + 1] = self.rows[top + size : bottom + 1] + blank
        else:
            self.rows[top : bottom + 1] = blank + self.rows[top : bottom + 1 - size]

    def erase_rows(self, top: int, end: int, pen: str) -> None:
        """Blank the rows from ``top`` to before ``end``."""
        for at in range(top, end):
            self.rows[at] = Row(self.cols, pen)

    def resize(self, cols: int, rows: int, cursor_row: int) -> int:
        """Take another size without reflowing; how many rows went out at the top to keep the cursor in sight."""
        gone = max(0, min(len(self.rows) - rows, cursor_row - rows + 1))
        del self.rows[:gone]
        del self.rows[rows:]
        for row in self.rows:
            row.resize(cols)
        self.cols = cols
        self.rows += [Row(cols, "") for _ in range(rows - len(self.rows))]
        return gone
