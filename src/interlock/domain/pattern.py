"""Patterns for values of labels and for denied logins: ``*`` for any characters, ``|`` between alternatives.

Matching takes time in proportion to pattern and text, whatever they are: no regular expressions.
"""

MAX_PATTERN = 512
"""Characters of a pattern that somebody writes down."""

MAX_ALTERNATIVES = 64
"""Alternatives in it."""

ANY, OR = "*", "|"


def matches(pattern: str, text: str) -> bool:
    """Whether one of the pattern's alternatives is the whole text; upper and lower case differ."""
    return any(_glob(each, text) for each in pattern.split(OR))


def is_literal(text: str) -> bool:
    """Whether the text as a pattern matches itself alone."""
    return ANY not in text and OR not in text


def check_pattern(pattern: str) -> str:
    """The pattern; ValueError if it is too long or has too many alternatives."""
    if len(pattern) > MAX_PATTERN or pattern.count(OR) >= MAX_ALTERNATIVES:
        msg = f"a pattern has at most {MAX_PATTERN} characters and {MAX_ALTERNATIVES} alternatives"
        raise ValueError(msg)
    return pattern


def _glob(pattern: str, text: str) -> bool:
    first, *middle = pattern.split(ANY)
    if not middle:
        return first == text
    last = middle.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:  # the leftmost place leaves the most room for the others
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
