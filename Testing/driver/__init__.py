"""What a person does with the panel, for tests: the same calls in a real Slicer and over what stands in for it.

A test file that shows the panel begins with::

    import driver

    driver.require()

and says ``driver.click(button)``, ``driver.pump(until)``, ``driver.messages`` and whatever else
:class:`~driver.base.Driver` has. Which of its two kinds answers is found out at the first call.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

CHOICE = "AHNET_DRIVER"
"""Environment variable; ``slicer``: what drives a real Slicer is tried over the stand-in."""

IN_SLICER = "PythonQt" in sys.modules
"""Whether this Python is that of a real Slicer."""


def require() -> None:
    """Skips the test file where there is neither Slicer nor what is needed to stand in for it."""
    if not IN_SLICER:
        import pytest

        pytest.importorskip("PySide6", reason="needs PySide6")
        pytest.importorskip("trame_slicer", reason="needs slicer-core and trame-slicer")


@cache
def current() -> Any:
    """The :class:`~driver.base.Driver` of this process."""
    if IN_SLICER or os.environ.get(CHOICE) == "slicer":
        from .slicer_driver import SlicerDriver

        return SlicerDriver()
    from .host_driver import HostDriver

    return HostDriver()


def noted_errors() -> list[BaseException]:
    """What was raised in slots, timers and observers and nobody has looked at, whether or not a driver is in use."""
    if current.cache_info().currsize:
        return current().errors
    return sys.modules["host"].errors if "host" in sys.modules else []


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(current(), name)
