"""A model of a terminal's screen: fed a session's output, it can say at any time what a person sees."""

from interlock.domain.screen.canvas import MAX_COLS, MAX_ROWS
from interlock.domain.screen.model import Screen

__all__ = ["MAX_COLS", "MAX_ROWS", "Screen"]
