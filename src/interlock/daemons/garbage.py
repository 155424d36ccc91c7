"""When Python looks for garbage that reference counting does not free.

A full look visits every object there is. Most of them are modules, classes and functions that are there to stay,
so a look while a program starts finds nothing and costs a fifth of the start, and one in a daemon stops every
session for a tenth of a second to find nothing again.
"""

import gc

STARTING = 100_000
"""Containers made before the first look of a program that starts: more than its modules make."""

YOUNG = 10_000
"""Containers made by a daemon between two looks at the young: a session makes some hundreds that live on."""


def start_sooner() -> None:
    """Look for no garbage while modules are loaded. For entry points, before they import what they need."""
    gc.set_threshold(STARTING)


def settle() -> None:
    """Leave what has been loaded out of every look from now on. For daemons, once their modules are there."""
    gc.freeze()
    gc.set_threshold(YOUNG)
