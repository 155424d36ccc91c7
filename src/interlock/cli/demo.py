"""``interlock demo``: hand over to the test kit, which drives all our command lines from outside.

The kit is above the CLIs in the order of imports, so it is started, not imported.
"""

import os
import sys
from typing import Annotated

import typer

Keep = Annotated[bool, typer.Option("--keep", help="Leave the cluster running until Ctrl-C.")]


def demo(*, keep: Keep = False) -> None:
    """Show on this machine that a session has one ID everywhere: starts, drives and stops a cluster."""
    arguments = ["--keep"] if keep else []
    os.execv(sys.executable, [sys.executable, "-m", "interlock.testing.demo", *arguments])  # noqa: S606 no shell
