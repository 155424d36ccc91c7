"""Paints a screen: sequences which make a terminal of the same size, in whatever state, show the same.

Only what `domain.terminal` lets through to a joined person's terminal is used. After characters whose width
terminals do not agree on the cursor is placed anew, so that one of them never shifts the rest of its line.
"""

from interlock.domain.screen.canvas import INITIAL_MODES, KEPT_MODES, MAX_COLS, TAB, Canvas, Cursor
from interlock.domain.screen.page import Page, Row

_OFF = ";".join(sorted(KEPT_MODES, key=int))
_FRESH = f"\x0f\x1b[?1049l\x1b[!p\x1b(B\x1b)B\x1b[0m\x1b[20l\x1b[?{_OFF}l\x1b[?7h\x1b[2J\x1b[H"


def paint(screen: Canvas) -> bytes:
    """The sequences, as UTF-8."""
    out = [_FRESH]
    if screen.tabs != set(range(TAB, MAX_COLS, TAB)):
        out.append("\x1b[3g" + "".join(f"\x1b[1;{at + 1}H\x1bH" for at in sorted(screen.tabs) if at < screen.cols))
    _paint_page(out, screen.main.page)
    if screen.on_alternate and screen.alternate is not None:
        _save(out, screen.main.page, screen.main.saved)
        out.append("\x1b[?1049h\x1b[?6l\x1b[0m\x1b(B\x1b)B\x0f\x1b[H")
        _paint_page(out, screen.alternate.page)
    _save(out, screen.page, screen.shown.saved, then_save=True)
    if (screen.top, screen.bottom) != (0, screen.rows - 1):
        out.append(f"\x1b[{screen.top + 1};{screen.bottom + 1}r")
    _place(out, screen.page, screen.cursor, top=screen.top)
    out.append("\x1b[4h" * screen.inserts + "\x1b[20h" * screen.newline + ("\x1b=" if screen.keypad else "\x1b>"))
    out.append(f"\x1b[{screen.shape} q" if screen.shape else "")
    changed = sorted(screen.modes ^ INITIAL_MODES, key=int)
    out += [f"\x1b[?{mode}{'h' if mode in screen.modes else 'l'}" for mode in changed if mode != "25"]
    out.append("\x1b[?25h" if "25" in screen.modes else "")
    return "".join(out).encode()


def _paint_page(out: list[str], page: Page) -> None:
    for number, row in enumerate(page.rows, 1):
        end = _end(row)
        if end:
            out.append(f"\x1b[{number};1H")
            _paint_row(out, row, end)


def _end(row: Row) -> int:
    """How many columns differ from an empty line."""
    end = len(row.chars)
    while end and row.chars[end - 1] == " " and not row.pens[end - 1]:
        end -= 1
    return end


def _paint_row(out: list[str], row: Row, end: int) -> None:
    pen = ""
    for at in range(end):
        char = row.chars[at]
        if row.pens[at] != pen and char:
            pen = row.pens[at]
            out.append(f"\x1b[0;{pen}m" if pen else "\x1b[0m")
        out.append(char)
        if not char.isascii() or not char:
            out.append(f"\x1b[{at + 2}G" if at + 1 < end and row.chars[at + 1] else "")
    out.append("\x1b[0m" if pen else "")


def _save(out: list[str], page: Page, cursor: Cursor, *, then_save: bool = False) -> None:
    """Bring the terminal's cursor into the state that was saved; the margins are still those of the whole page."""
    if cursor == Cursor():
        out.append("\x1b[H")
        return
    _place(out, page, cursor)
    if then_save:
        out.append("\x1b7\x1b[?6l\x1b[0m\x1b(B\x1b)B\x0f")


def _place(out: list[str], page: Page, cursor: Cursor, *, top: int = 0) -> None:
    """Position and attributes. A cursor that is about to wrap gets there by writing its last character again."""
    first_row = top if cursor.origin else 0
    out.append("\x1b[?6h" * cursor.origin)
    at, again = cursor.col, ""
    if cursor.wraps:
        row = page.rows[cursor.row]
        at -= page.cols > 1 and not row.chars[-1]
        again = (f"\x1b[0;{row.pens[at]}m" if row.pens[at] else "") + row.chars[at]
    out.append(f"\x1b[{cursor.row - first_row + 1};{at + 1}H{again}")
    out.append(f"\x1b[0;{cursor.pen}m" if cursor.pen else "\x1b[0m")
    first, second = cursor.charsets
    out.append(f"\x1b({first}" * (first != "B") + f"\x1b){second}" * (second != "B") + "\x0e" * cursor.shift)
