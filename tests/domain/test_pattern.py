"""Patterns: exact, stars, alternatives, and no pattern that takes long."""

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.domain.pattern import MAX_PATTERN, check_pattern, is_literal, matches


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("prod", "prod", True),
        ("prod", "Prod", False),
        ("prod", "prod1", False),
        ("*", "", True),
        ("", "", True),
        ("", "x", False),
        ("prod-*", "prod-", True),
        ("prod-*", "prod", False),
        ("*-db", "eu-db", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("prod|test", "test", True),
        ("prod|test", "prod|test", False),
        ("prod|", "", True),
        ("eu-*|us-*", "us-1", True),
        ("[a-z]?", "[a-z]?", True),
        ("[a-z]?", "ab", False),
    ],
)
def test_what_fits(pattern: str, text: str, fits: bool) -> None:
    """The whole text, by its letters."""
    assert matches(pattern, text) is fits


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_stars_mean_what_they_mean_elsewhere(pattern: str, text: str) -> None:
    """Compared with the standard library's, which knows further marks."""
    assert matches(pattern, text) is fnmatchcase(text, pattern)


@given(st.text(max_size=10))
def test_literals_fit_themselves_alone(text: str) -> None:
    """And everything else is a pattern."""
    assert not is_literal(text) or matches(text, text)
    assert is_literal(text) is not bool({"*", "|"} & set(text))


def test_no_pattern_takes_long() -> None:
    """The classic against backtracking."""
    began = time.perf_counter()
    assert not matches("a*" * (MAX_PATTERN // 2) + "b", "a" * 100_000)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("pattern", ["x" * (MAX_PATTERN + 1), "|" * 64])
def test_patterns_are_bounded(pattern: str) -> None:
    """In length and alternatives."""
    with pytest.raises(ValueError, match="at most"):
        check_pattern(pattern)
