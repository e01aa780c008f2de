"""A process that gives way to others: Slicer stays quick while a model is trained on all of its processors."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

NICENESS = 10
BELOW_NORMAL_PRIORITY_CLASS = 0x4000
"""Of Windows' SetPriorityClass."""


def give_way() -> None:
    """Lowers this process's priority, once and for good; harmless where the system does not let it."""
    with suppress(OSError, AttributeError):
        if sys.platform == "win32":
            import ctypes

            kernel = ctypes.windll.kernel32
            kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
        else:
            os.nice(max(0, NICENESS - os.nice(0)))
