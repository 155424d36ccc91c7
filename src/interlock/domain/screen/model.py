"""The screen of a terminal: fed a session's output, it says what a person sees.

Reads the language by `domain.terminal.TerminalFilter`, so the pieces in which output comes make no difference, and
an unfinished sequence holds no more than that one keeps.
"""

from interlock.domain.screen.canvas import MAX_COLS, Canvas
from interlock.domain.screen.painting import paint
from interlock.domain.screen.sequences import ESCAPES, SEQUENCES
from interlock.domain.terminal import BIDI, TerminalFilter


class Screen:
    """One terminal. Sizes beyond what is modelled are clamped."""

    def __init__(self, cols: int, rows: int) -> None:
        self._canvas = Canvas(cols, rows)
        self.reader = TerminalFilter(_Language(self._canvas))  # for others to `follow`

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self._canvas.cols, self._canvas.rows

    @property
    def lines(self) -> list[str]:
        """The text of the page that is shown, without the blanks at the end of lines."""
        return ["".join(row.chars).rstrip() for row in self._canvas.page.rows]

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column at which writing goes on, from 0."""
        return self._canvas.cursor.row, self._canvas.cursor.col

    @property
    def on_alternate(self) -> bool:
        """Whether a full-screen program has the alternate page."""
        return self._canvas.on_alternate

    def feed(self, data: bytes) -> None:
        """The next bytes of the output."""
        self.reader.feed(data)

    def resize(self, cols: int, rows: int) -> None:
        """The terminal has another size."""
        self._canvas.resize(cols, rows)

    def snapshot(self) -> bytes:
        """Sequences that make any terminal of this size show the same: both pages, modes and cursor."""
        return paint(self._canvas)


class _Language:
    """Translates the elements of the language into calls; shows nothing."""

    def __init__(self, canvas: Canvas) -> None:
        self._screen = canvas

    def text(self, text: str) -> str:
        if shown := BIDI.sub("", text):
            self._screen.write(shown)
        return ""

    def control(self, char: str) -> str:
        screen, cursor = self._screen, self._screen.cursor
        match char:
            case "\n" | "\v" | "\f":
                screen.line_feed()
                if screen.newline:
                    cursor.col = 0
            case "\r":
                cursor.col, cursor.wraps = 0, False
            case "\b":
                screen.move_by(cols=-1)
            case "\t":
                screen.tab(1)
            case "\x0e" | "\x0f":
                cursor.shift = int(char == "\x0e")
            case _:
                pass
        return ""

    def escape(self, rest: str) -> str:
        if action := ESCAPES.get(rest):
            action(self._screen)
        elif len(rest) == 2 and rest[0] in "()":
            first, second = self._screen.cursor.charsets
            kind = "0" if rest[1] == "0" else "B"
            self._screen.cursor.charsets = (kind, second) if rest[0] == "(" else (first, kind)
        return ""

    def sequence(self, prefix: str, params: str, between: str, final: str) -> str:
        screen = self._screen
        if prefix == "?" and final in "hl" and not between:
            for number in params.split(";"):
                screen.set_mode(number, on=final == "h")
        elif final == "m" and not prefix and not between:
            screen.cursor.pen = screen.pens.change(screen.cursor.pen, params)
        elif (between, final) == (" ", "q") and not prefix:
            screen.shape = params if params in "123456" else ""
        elif (between, final) == ("!", "p"):
            screen.soft_reset()
        elif not prefix and not between and (action := SEQUENCES.get(final)):
            numbers = [min(int(number or 0), MAX_COLS) for number in params.replace(":", ";").split(";")[:16]]
            action(screen, numbers)
        return ""

    def end(self) -> str:
        return ""
