"""Makes recorded output safe to show: a person who watches a session must not be attacked by it (R24).

A terminal obeys what it is sent. It answers queries as if the person had typed, sets its title, writes to the
clipboard, prints, and turns text into links. Filters read its language (ECMA-48 and what xterm made of it):

* `screen` lets through what draws, moves and colours, from a list of what is allowed;
* `party_screen` lets through what decides how keys, mouse and pastes are sent as well;
* `plain_text` keeps the words and line ends only.

Both take output in any pieces and give the same result. Neither is a terminal emulator.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol

MAX_SEQUENCE = 64
"""Characters of one control sequence; a longer one is dropped. The longest colour setting has 40."""

MAX_STRING = 4096
"""Characters of an OSC, DCS, APC, PM or SOS string. What follows counts as text, so that an unfinished string
does not hide the rest of a session from the person who watches it."""

MAX_LINE = 4096
"""Characters that plain text holds back until the line is complete, because they may still be edited."""

RESTORE = "\x0f\x1b[!p\x1b[?5l\x1b[?7h\x1b[?25h\x1b[?2026l\x1b[?1047l\x1b[0m"
"""Undoes, when a playback ends, what `screen` may have let through and the session did not undo itself."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STRING_END = re.compile(r"[\x07\x18\x1a\x1b\x9c]")
_SEQUENCE = re.compile(r"([<=>?]?)([0-9;:]*)([ !\"#$%&'()*+,\-./]*)([@-~])")
_WHOLE_SEQUENCE = re.compile(r"\x1b\[([<=>?]?)([0-9;:]{0,62})([ !\"#$%&'()*+,\-./]?)([@-~])")
"""The same with its CSI, if it came in one piece and is not remarkable: read at once instead of step by step."""
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")  # they reorder what a person reads (CVE-2021-42574)
_STRING_OPENERS = "PX]^_k"  # DCS SOS OSC PM APC, and the title string of screen and tmux
_C1_STRING_OPENERS = "\x90\x98\x9d\x9e\x9f"
_C1_SEQUENCE = "\x9b"

_FAR = 99_999  # no count may be larger: a terminal repeats a character as often as it is told
_FINALS = frozenset("@ABCDEFGHIJKLMPSXZ`abdefgm")
_MODES = {
    "": frozenset({"4", "20"}),
    "?": frozenset({"5", "6", "7", "12", "25", "47", "1047", "1048", "1049", "2026"}),
}
_INPUT_MODES = frozenset({"1", "9", "1000", "1002", "1003", "1005", "1006", "1015", "2004"})
_ESCAPES = frozenset({"7", "8", "D", "E", "H", "M", "(0", "(A", "(B", ")0", ")A", ")B"})
_CONTROLS = frozenset("\a\b\t\n\v\f\r\x0e\x0f")
_FULL_RESET = "\x1b[!p\x1b[2J\x1b[H"  # for ESC c, which would wipe the person's scrollback too


class Policy(Protocol):
    """What is shown of each element of a terminal's language."""

    def text(self, text: str) -> str:
        """Characters without controls."""
        ...

    def control(self, char: str) -> str:
        """A C0 control that is no part of a sequence, or DEL."""
        ...

    def escape(self, rest: str) -> str:
        """An escape sequence, without its ESC."""
        ...

    def sequence(self, prefix: str, params: str, between: str, final: str) -> str:
        """A control sequence, without its CSI."""
        ...

    def end(self) -> str:
        """Whatever was held back."""
        ...


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()  # after ESC
    SEQUENCE = auto()  # after CSI
    STRING = auto()
    STRING_ESCAPE = auto()  # after an ESC inside a string


class TerminalFilter:
    """One stream of output, read piece by piece. Any control inside a sequence ends it: none is shown in part."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._state = _State.TEXT
        self._held = ""  # of an escape or control sequence that has begun
        self._swallowed = 0  # characters of the string that we are in
        self._steps: dict[_State, Callable[[str], str]] = {
            _State.ESCAPE: self._escape,
            _State.SEQUENCE: self._sequence,
            _State.STRING_ESCAPE: self._string_escape,
        }

    def feed(self, data: bytes) -> str:
        """What may be shown of the next bytes."""
        return self._read(self._decoder.decode(data))

    def close(self) -> str:
        """What may be shown of what was held back; never a part of a sequence."""
        return self._read(self._decoder.decode(b"", True)) + self._policy.end()

    def follow(self, other: "TerminalFilter") -> None:
        """Go on where another filter stands in the same output, be it in the middle of a sequence."""
        decoder, self._state, self._held, self._swallowed = other.place()
        self._decoder.setstate(decoder)

    def place(self) -> tuple[tuple[bytes, int], _State, str, int]:
        """Where in the output the filter stands."""
        return self._decoder.getstate(), self._state, self._held, self._swallowed

    def _read(self, text: str) -> str:
        shown = []
        position = 0
        while position < len(text):
            if self._state is _State.TEXT:
                found = _CONTROL.search(text, position)
                end = found.start() if found else len(text)
                if end > position:
                    shown.append(self._policy.text(text[position:end]))
                if found and (whole := _WHOLE_SEQUENCE.match(text, end)):
                    shown.append(self._policy.sequence(whole[1], whole[2], whole[3], whole[4]))
                    position = whole.end()
                    continue
                if found:
                    shown.append(self._control(found[0]))
                position = end + 1
            elif self._state is _State.STRING:
                position = self._string(text, position)
            else:
                shown.append(self._steps[self._state](text[position]))
                position += 1
        return "".join(shown)

    def _control(self, char: str) -> str:
        if char == "\x1b":
            self._enter(_State.ESCAPE)
        elif char == _C1_SEQUENCE:
            self._enter(_State.SEQUENCE)
        elif char in _C1_STRING_OPENERS:
            self._enter(_State.STRING)
        else:
            self._enter(_State.TEXT)
            return self._policy.control(char) if char <= "\x7f" else ""
        return ""

    def _escape(self, char: str) -> str:
        if char == "[":
            self._enter(_State.SEQUENCE)
        elif not self._held and char in _STRING_OPENERS:
            self._enter(_State.STRING)
        elif " " <= char <= "/" and len(self._held) < MAX_SEQUENCE:
            self._held += char
        elif "0" <= char <= "~":
            rest = self._held + char
            self._enter(_State.TEXT)
            return self._policy.escape(rest)
        else:
            return self._plain(char)
        return ""

    def _sequence(self, char: str) -> str:
        if " " <= char <= "?" and len(self._held) < MAX_SEQUENCE:
            self._held += char
            return ""
        if not "@" <= char <= "~":
            return self._plain(char)
        found = _SEQUENCE.fullmatch(self._held + char)
        self._enter(_State.TEXT)
        return self._policy.sequence(found[1], found[2], found[3], found[4]) if found else ""

    def _string(self, text: str, position: int) -> int:
        limit = position + MAX_STRING - self._swallowed
        found = _STRING_END.search(text, position, limit)
        if found is None:
            self._swallowed += min(len(text), limit) - position
            if self._swallowed >= MAX_STRING:
                self._enter(_State.TEXT)
            return min(len(text), limit)
        self._enter(_State.STRING_ESCAPE if found[0] == "\x1b" else _State.TEXT)
        return found.end()

    def _string_escape(self, char: str) -> str:
        if char == "\\":
            self._enter(_State.TEXT)
            return ""
        self._enter(_State.ESCAPE)  # any other escape ends the string and begins something new
        return self._escape(char)

    def _plain(self, char: str) -> str:
        """A character that cannot be where it is: what came before it is dropped, the character is not."""
        self._enter(_State.TEXT)
        return self._control(char) if _CONTROL.match(char) else self._policy.text(char)

    def _enter(self, state: _State) -> None:
        self._state = state
        self._held = ""
        self._swallowed = 0


class _Screen:
    """Draws, moves and colours; nothing that makes a terminal answer, remember or act."""

    modes: Mapping[str, frozenset[str]] = _MODES
    escapes: frozenset[str] = _ESCAPES

    def text(self, text: str) -> str:
        return BIDI.sub("", text)

    def control(self, char: str) -> str:
        return char if char in _CONTROLS else ""

    def escape(self, rest: str) -> str:
        if rest == "c":
            return _FULL_RESET
        return f"\x1b{rest}" if rest in self.escapes else ""

    def sequence(self, prefix: str, params: str, between: str, final: str) -> str:
        numbers = [number for number in re.split("[;:]", params) if number]
        if any(len(number) > 5 or int(number) > _FAR for number in numbers):
            return ""
        if final in "hl" and prefix in self.modes and not between:
            modes = ";".join(number for number in numbers if number in self.modes[prefix])
            return f"\x1b[{prefix}{modes}{final}" if modes else ""
        if (between, final) in ((" ", "q"), ("!", "p")) and not prefix:
            return f"\x1b[{params}{between}{final}"
        if between or prefix:
            return ""
        if final == "J" and "3" in numbers:
            return ""  # the person's own scrollback
        # T with several parameters starts mouse tracking, s and u with any set margins or the keyboard.
        if final in _FINALS or (final in "Tr" and len(numbers) <= (1 if final == "T" else 2)):
            return f"\x1b[{params}{final}"
        return f"\x1b[{final}" if final in "su" and not params else ""

    def end(self) -> str:
        return ""


class _Shared(_Screen):
    """For a person who takes part: keys, mouse and pastes must arrive as the program expects them.

    Still nothing makes the terminal answer, since an answer would count as typed (R24).
    """

    modes: Mapping[str, frozenset[str]] = {"": _MODES[""], "?": _MODES["?"] | _INPUT_MODES}
    escapes = _ESCAPES | {"=", ">"}


class _PlainText:
    """Lines of words. Backspaces and a shell's line editing are applied; overwriting by a return is not."""

    def __init__(self) -> None:
        self._line = ""
        self._column = 0
        self._returned = False  # a carriage return, and nothing since

    def text(self, text: str) -> str:
        done = [self._finish()] if self._returned and self._line else []
        self._returned = False
        text = BIDI.sub("", text)
        while text:
            piece = text[: MAX_LINE - self._column]
            text = text[len(piece) :]
            self._line = self._line[: self._column] + piece + self._line[self._column + len(piece) :]
            self._column += len(piece)
            if self._column == MAX_LINE:
                done.append(self._line)
                self._line, self._column = "", 0
        return "".join(done)

    def control(self, char: str) -> str:
        match char:
            case "\n" | "\v" | "\f":
                return self._finish()
            case "\r":
                self._returned = True
            case "\b":
                self._column = max(0, self._column - 1)
            case "\t":
                return self.text("\t")
            case _:
                pass
        return ""

    def escape(self, rest: str) -> str:
        return self._finish() if rest in ("D", "E") else ""

    def sequence(self, prefix: str, params: str, between: str, final: str) -> str:
        if prefix or between or self._returned or not re.fullmatch(r"\d{0,4}", params):
            return ""
        line, column = self._line, self._column
        count = max(1, int(params or 1))
        match final:
            case "K":
                self._line = line[:column] if params in ("", "0") else line
            case "D":
                self._column = max(0, column - count)
            case "C":
                self._column = min(len(line), column + count)
            case "P":
                self._line = line[:column] + line[column + count :]
            case "@" if len(line) + count <= MAX_LINE:
                self._line = line[:column] + " " * count + line[column:]
            case _:
                pass
        return ""

    def end(self) -> str:
        line, self._line = self._line, ""
        return line

    def _finish(self) -> str:
        line, self._line = self._line, ""
        self._column, self._returned = 0, False
        return f"{line}\n"


PARTY_RESTORE = f"\x1b[?{';'.join(sorted(_INPUT_MODES, key=int))}l\x1b>" + RESTORE
"""The same for `party_screen`."""


def screen() -> TerminalFilter:
    """A filter for a person's terminal."""
    return TerminalFilter(_Screen())


def party_screen() -> TerminalFilter:
    """A filter for the terminal of somebody who takes part in a live session."""
    return TerminalFilter(_Shared())


def plain_text() -> TerminalFilter:
    """A filter for files and searches."""
    return TerminalFilter(_PlainText())
