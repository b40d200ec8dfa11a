"""How often does Python look through all objects for those that nobody holds?

Imports make hundreds of thousands of objects that stay. By default Python looks through
all of them several times while it is still importing, which is a tenth of what a
command costs that imports much. Young objects, among which nearly all garbage is, are
looked through as often as ever.
"""

from __future__ import annotations

import gc

__all__ = ["look_at_old_objects_seldom"]

LOOKS_AT_YOUNGER = 100
"""Before the old objects are looked through again; 10 by default."""


def look_at_old_objects_seldom() -> None:
    """Set it for this process, which has to be ours: a command's, a worker's."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, LOOKS_AT_YOUNGER)
