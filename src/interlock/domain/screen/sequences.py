"""What escape and control sequences do to a screen, by their final characters (ECMA-48, DEC VT220, xterm)."""

from collections.abc import Callable

from interlock.domain.screen.canvas import MAX_COLS, Canvas
from interlock.domain.screen.pen import background

Numbers = list[int]  # at least one; 0 where nothing was said


def _count(numbers: Numbers) -> int:
    return max(1, numbers[0])


def _second(numbers: Numbers) -> int:
    return numbers[1] if len(numbers) > 1 else 0


def _pen(screen: Canvas) -> str:
    """What erased cells look like."""
    return background(screen.cursor.pen)


def _next_line(screen: Canvas) -> None:
    screen.line_feed()
    screen.cursor.col = 0


def _set_tab(screen: Canvas) -> None:
    screen.tabs.add(screen.cursor.col)


def _clear_tabs(screen: Canvas, numbers: Numbers) -> None:
    if numbers[0] == 0:
        screen.tabs.discard(screen.cursor.col)
    elif numbers[0] == 3:
        screen.tabs.clear()


def _keypad(*, on: bool) -> Callable[[Canvas], None]:
    def switch(screen: Canvas) -> None:
        screen.keypad = on

    return switch


def _position(screen: Canvas, numbers: Numbers) -> None:
    screen.move(_count(numbers) - 1, max(1, _second(numbers)) - 1)


def _down_to_start(screen: Canvas, numbers: Numbers) -> None:
    screen.move_by(rows=_count(numbers))
    screen.cursor.col = 0


def _up_to_start(screen: Canvas, numbers: Numbers) -> None:
    screen.move_by(rows=-_count(numbers))
    screen.cursor.col = 0


def _erase_display(screen: Canvas, numbers: Numbers) -> None:
    page, cursor, pen = screen.page, screen.cursor, _pen(screen)
    cursor.wraps = False
    match numbers[0]:
        case 0:
            page.rows[cursor.row].erase(cursor.col, screen.cols, pen)
            page.erase_rows(cursor.row + 1, screen.rows, pen)
        case 1:
            page.erase_rows(0, cursor.row, pen)
            page.rows[cursor.row].erase(0, cursor.col + 1, pen)
        case 2:
            page.erase_rows(0, screen.rows, pen)
        case _:
            pass


def _erase_line(screen: Canvas, numbers: Numbers) -> None:
    row, cursor, pen = screen.page.rows[screen.cursor.row], screen.cursor, _pen(screen)
    cursor.wraps = False
    match numbers[0]:
        case 0:
            row.erase(cursor.col, screen.cols, pen)
        case 1:
            row.erase(0, cursor.col + 1, pen)
        case 2:
            row.erase(0, screen.cols, pen)
        case _:
            pass


def _erase_characters(screen: Canvas, numbers: Numbers) -> None:
    cursor = screen.cursor
    cursor.wraps = False
    screen.page.rows[cursor.row].erase(cursor.col, cursor.col + _count(numbers), _pen(screen))


def _insert_characters(screen: Canvas, numbers: Numbers) -> None:
    cursor = screen.cursor
    cursor.wraps = False
    screen.page.rows[cursor.row].insert(cursor.col, _count(numbers), _pen(screen))


def _delete_characters(screen: Canvas, numbers: Numbers) -> None:
    cursor = screen.cursor
    cursor.wraps = False
    screen.page.rows[cursor.row].delete(cursor.col, _count(numbers), _pen(screen))


def _lines(direction: int) -> Callable[[Canvas, Numbers], None]:
    def shift(screen: Canvas, numbers: Numbers) -> None:
        cursor = screen.cursor
        if screen.top <= cursor.row <= screen.bottom:
            screen.page.scroll(cursor.row, screen.bottom, direction * _count(numbers), _pen(screen))
            cursor.col, cursor.wraps = 0, False

    return shift


def _scroll_down(screen: Canvas, numbers: Numbers) -> None:
    if len(numbers) == 1:  # with more it starts mouse tracking
        screen.scroll(-_count(numbers))


def _margins(screen: Canvas, numbers: Numbers) -> None:
    screen.set_margins(_count(numbers) - 1, (_second(numbers) or screen.rows) - 1)


def _repeat(screen: Canvas, numbers: Numbers) -> None:
    if screen.last:
        screen.write(screen.last * min(_count(numbers), MAX_COLS))


def _set_modes(*, on: bool) -> Callable[[Canvas, Numbers], None]:
    def switch(screen: Canvas, numbers: Numbers) -> None:
        if 4 in numbers:
            screen.inserts = on
        if 20 in numbers:
            screen.newline = on

    return switch


ESCAPES: dict[str, Callable[[Canvas], None]] = {
    "7": Canvas.save,
    "8": Canvas.restore,
    "D": Canvas.line_feed,
    "E": _next_line,
    "H": _set_tab,
    "M": Canvas.reverse_line_feed,
    "c": Canvas.reset,
    "=": _keypad(on=True),
    ">": _keypad(on=False),
}

SEQUENCES: dict[str, Callable[[Canvas, Numbers], None]] = {
    "@": _insert_characters,
    "A": lambda screen, numbers: screen.move_by(rows=-_count(numbers)),
    "B": lambda screen, numbers: screen.move_by(rows=_count(numbers)),
    "C": lambda screen, numbers: screen.move_by(cols=_count(numbers)),
    "D": lambda screen, numbers: screen.move_by(cols=-_count(numbers)),
    "E": _down_to_start,
    "F": _up_to_start,
    "G": lambda screen, numbers: screen.move(col=_count(numbers) - 1),
    "H": _position,
    "I": lambda screen, numbers: screen.tab(_count(numbers)),
    "J": _erase_display,
    "K": _erase_line,
    "L": _lines(-1),
    "M": _lines(1),
    "P": _delete_characters,
    "S": lambda screen, numbers: screen.scroll(_count(numbers)),
    "T": _scroll_down,
    "X": _erase_characters,
    "Z": lambda screen, numbers: screen.tab(-_count(numbers)),
    "`": lambda screen, numbers: screen.move(col=_count(numbers) - 1),
    "a": lambda screen, numbers: screen.move_by(cols=_count(numbers)),
    "b": _repeat,
    "d": lambda screen, numbers: screen.move(row=_count(numbers) - 1),
    "e": lambda screen, numbers: screen.move_by(rows=_count(numbers)),
    "f": _position,
    "g": _clear_tabs,
    "h": _set_modes(on=True),
    "l": _set_modes(on=False),
    "r": _margins,
    "s": lambda screen, _numbers: screen.save(),
    "u": lambda screen, _numbers: screen.restore(),
}
