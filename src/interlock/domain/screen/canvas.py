"""What is on a terminal's screen, and the operations that its language consists of.

As xterm does them, for programs are written for what it does. Memory is bounded by the largest size. Titles, the
palette, reports and everything else that is not on the screen have no effect; scrollback is not kept.
"""

from dataclasses import dataclass, field, replace

from interlock.domain.screen.page import Page, width
from interlock.domain.screen.pen import Pens, background

MAX_COLS = 1000
MAX_ROWS = 400
"""Largest size that is modelled; the client names its own size, and each page has as many cells."""

TAB = 8
KEPT_MODES = frozenset({"1", "5", "7", "9", "25", "1000", "1002", "1003", "1005", "1006", "1015", "2004"})
"""DEC modes that a person's terminal must share: keys, reverse video, autowrap, mouse, cursor, bracketed paste."""

INITIAL_MODES = frozenset({"7", "25"})
_ALTERNATE = ("47", "1047", "1049")
_LINE_DRAWING = {
    ord(char): shown for char, shown in zip("`afgjklmnopqrstuvwxyz{|}~", "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·", strict=True)
}


@dataclass(slots=True)
class Cursor:
    """Where writing goes on, and how: all that DECSC saves."""

    row: int = 0
    col: int = 0
    wraps: bool = False  # the last column was written: the next character goes to the next line
    pen: str = ""
    origin: bool = False  # rows count from the top margin
    charsets: tuple[str, str] = ("B", "B")  # G0 and G1
    shift: int = 0  # which of them is used


@dataclass(slots=True)
class Side:
    """A page with the cursor that was saved on it."""

    page: Page
    saved: Cursor = field(default_factory=Cursor)


class Canvas:
    """See the module's docstring. Sizes are clamped to what is modelled."""

    def __init__(self, cols: int, rows: int) -> None:
        self.cols, self.rows = clamped(cols, rows)
        self.pens = Pens()
        self._reset()

    def _reset(self) -> None:
        self.main = Side(Page(self.cols, self.rows))
        self.alternate: Side | None = None  # once it was used
        self.shown = self.main
        self.cursor = Cursor()
        self.top, self.bottom = 0, self.rows - 1
        self.modes = set(INITIAL_MODES)
        self.inserts = False
        self.newline = False
        self.keypad = False
        self.shape = ""  # of the cursor (DECSCUSR)
        self.tabs = set(range(TAB, MAX_COLS, TAB))
        self.last = ""  # the last character written, for REP

    @property
    def page(self) -> Page:
        """What is shown."""
        return self.shown.page

    @property
    def on_alternate(self) -> bool:
        """Whether the alternate page is shown."""
        return self.shown is self.alternate

    def resize(self, cols: int, rows: int) -> None:
        """The terminal has another size."""
        cols, rows = clamped(cols, rows)
        for side in (self.main, self.alternate):
            if side is not None:
                row = self.cursor.row if side is self.shown else side.saved.row
                gone = side.page.resize(cols, rows, row)
                side.saved = _moved(side.saved, gone, cols, rows)
                if side is self.shown:
                    self.cursor = _moved(self.cursor, gone, cols, rows)
        self.cols, self.rows = cols, rows
        self.top, self.bottom = 0, rows - 1

    # --- writing ----------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Characters without controls."""
        cursor = self.cursor
        if cursor.charsets[cursor.shift] == "0":
            text = text.translate(_LINE_DRAWING)
        self.last = text[-1]
        if text.isascii():
            self._write_run(list(text))
            return
        run: list[str] = []
        for char in text:
            columns = width(char)
            if columns:
                run.append(char)
            if columns != 1:
                self._write_run(run, wide=columns == 2)
                run = []
                if columns == 0:
                    self._combine(char)
        self._write_run(run)

    def _write_run(self, chars: list[str], *, wide: bool = False) -> None:
        """Cells of one column each; if ``wide``, the last one takes two."""
        if wide:
            last = chars.pop()
            self._write_run(chars)
            if self.cols >= 2:
                self._room(2)
                self._put([last, ""])
            return
        at = 0
        while at < len(chars):
            self._room(1)
            piece = chars[at : at + self.cols - self.cursor.col]
            self._put(piece)
            at += len(piece)

    def _room(self, columns: int) -> None:
        """Go to the next line if so many columns do not fit; without autowrap, back to the last ones."""
        cursor = self.cursor
        if cursor.wraps or cursor.col + columns > self.cols:
            if "7" in self.modes:
                cursor.col = 0
                self.line_feed()
            else:
                cursor.col = self.cols - columns
            cursor.wraps = False

    def _put(self, cells: list[str]) -> None:
        cursor, row = self.cursor, self.page.rows[self.cursor.row]
        if self.inserts:
            row.insert(cursor.col, len(cells), background(cursor.pen))
        row.write(cursor.col, cells, cursor.pen)
        cursor.col += len(cells)
        if cursor.col >= self.cols:
            cursor.col, cursor.wraps = self.cols - 1, "7" in self.modes

    def _combine(self, char: str) -> None:
        cursor = self.cursor
        at = cursor.col if cursor.wraps else cursor.col - 1
        if at >= 0:
            self.page.rows[cursor.row].combine(at, char)

    def line_feed(self) -> None:
        """Down, scrolling at the bottom margin."""
        cursor = self.cursor
        cursor.wraps = False
        if cursor.row == self.bottom:
            self.scroll(1)
        elif cursor.row < self.rows - 1:
            cursor.row += 1

    def reverse_line_feed(self) -> None:
        """Up, scrolling at the top margin."""
        cursor = self.cursor
        cursor.wraps = False
        if cursor.row == self.top:
            self.scroll(-1)
        elif cursor.row > 0:
            cursor.row -= 1

    def scroll(self, count: int) -> None:
        """Move what is between the margins up, or down if negative."""
        self.page.scroll(self.top, self.bottom, count, background(self.cursor.pen))

    # --- moving -----------------------------------------------------------------------------------

    def move(self, row: int | None = None, col: int | None = None) -> None:
        """To an absolute place, as far as there is one; rows count from the top margin in origin mode."""
        cursor = self.cursor
        cursor.wraps = False
        if row is not None:
            first, last = (self.top, self.bottom) if cursor.origin else (0, self.rows - 1)
            cursor.row = max(first, min(first + row, last))
        if col is not None:
            cursor.col = max(0, min(col, self.cols - 1))

    def move_by(self, rows: int = 0, cols: int = 0) -> None:
        """By so many rows and columns; the margins stop what is between them."""
        cursor = self.cursor
        cursor.wraps = False
        if rows < 0:
            cursor.row = max(cursor.row + rows, self.top if cursor.row >= self.top else 0)
        elif rows > 0:
            cursor.row = min(cursor.row + rows, self.bottom if cursor.row <= self.bottom else self.rows - 1)
        cursor.col = max(0, min(cursor.col + cols, self.cols - 1))

    def tab(self, count: int) -> None:
        """To tab stops ahead, or behind if negative."""
        cursor = self.cursor
        if count > 0 and cursor.col == self.cols - 1:
            return  # nowhere to go, and so it stays about to wrap
        cursor.wraps = False
        for _ in range(min(abs(count), self.cols)):
            if count > 0:
                cursor.col = min((stop for stop in self.tabs if stop > cursor.col), default=self.cols - 1)
                cursor.col = min(cursor.col, self.cols - 1)
            else:
                cursor.col = max((stop for stop in self.tabs if stop < cursor.col), default=0)

    def save(self) -> None:
        """DECSC."""
        self.shown.saved = replace(self.cursor)

    def restore(self) -> None:
        """DECRC."""
        self.cursor = _moved(self.shown.saved, 0, self.cols, self.rows)

    def set_margins(self, top: int, bottom: int) -> None:
        """DECSTBM, rows from 0; ignored unless there are two rows between."""
        bottom = min(bottom, self.rows - 1)
        if 0 <= top < bottom:
            self.top, self.bottom = top, bottom
            self.move(0, 0)

    # --- modes ------------------------------------------------------------------------------------

    def set_mode(self, number: str, *, on: bool) -> None:
        """DECSET and DECRST."""
        if number in KEPT_MODES:
            (self.modes.add if on else self.modes.discard)(number)
            if number == "7" and not on:
                self.cursor.wraps = False
        elif number == "6":
            self.cursor.origin = on
            self.move(0, 0)
        elif number == "1048":
            self.save() if on else self.restore()
        elif number in _ALTERNATE and on != self.on_alternate:
            self._switch(number, on=on)

    def _switch(self, number: str, *, on: bool) -> None:
        if on:
            if number == "1049":
                self.save()
            if self.alternate is None or number == "1049":
                saved = self.alternate.saved if self.alternate else Cursor()
                self.alternate = Side(Page(self.cols, self.rows), saved)
            self.shown = self.alternate
        else:
            if number == "1047" and self.alternate is not None:
                self.alternate.page = Page(self.cols, self.rows)
            self.shown = self.main
            if number == "1049":
                self.restore()

    def reset(self) -> None:
        """RIS."""
        self._reset()

    def soft_reset(self) -> None:
        """DECSTR."""
        self.cursor = replace(self.cursor, pen="", origin=False, charsets=("B", "B"), shift=0, wraps=False)
        self.shown.saved = Cursor()
        self.top, self.bottom = 0, self.rows - 1
        self.modes |= INITIAL_MODES
        self.modes -= {"1"}
        self.inserts = self.keypad = False


def clamped(cols: int, rows: int) -> tuple[int, int]:
    """The nearest size that is modelled."""
    return max(1, min(cols, MAX_COLS)), max(1, min(rows, MAX_ROWS))


def _moved(cursor: Cursor, gone: int, cols: int, rows: int) -> Cursor:
    """A cursor after rows went out at the top, within a size."""
    col = min(cursor.col, cols - 1)
    row = max(0, min(cursor.row - gone, rows - 1))
    return replace(cursor, row=row, col=col, wraps=cursor.wraps and col == cols - 1)
