"""Calls that are made later, from the event loop.

``qt.QTimer.singleShot`` is not for this: Slicer replaces it by a function that never deletes its timer, which keeps
what it has called, and all that this holds, until Slicer ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


def later(delay_ms: int, call: Callable[[], Any]) -> Any:
    """Makes one call from the event loop, and lets go of it then.

    Args:
        delay_ms: not earlier; 0: in the next turn.
        call: what it returns is dropped.

    Returns:
        The ``QTimer``, which deletes itself when it has called; :func:`give_up` stops it before.
    """
    # Without a parent PythonQt would delete it at once, and the module manager goes before Slicer's Python does.
    timer = qt.QTimer(slicer.app.moduleManager())
    timer.setSingleShot(True)

    def fire() -> None:
        timer.deleteLater()
        call()

    timer.connect("timeout()", fire)
    timer.start(delay_ms)
    return timer


def give_up(timer: Any) -> None:
    """Has a timer that has not called yet never call."""
    timer.stop()
    timer.deleteLater()


class Once:
    """A call that is made once, a while after it was wanted, however often it is wanted meanwhile.

    There is a timer, which holds the call, only while it waits.

    Args:
        call: from the event loop; it may want itself again.
        delay_ms: how long it waits.
    """

    def __init__(self, call: Callable[[], Any], delay_ms: int = 0) -> None:
        self._call = call
        self._delay_ms = delay_ms
        self._timer: Any = None

    @property
    def waits(self) -> bool:
        """Whether the call is still to be made."""
        return self._timer is not None

    def want(self, delay_ms: int | None = None) -> None:
        """Has the call made, unless it is going to be; ``delay_ms`` stands for the usual delay this time."""
        if self._timer is None:
            self._timer = later(self._delay_ms if delay_ms is None else delay_ms, self._fire)

    def want_when_quiet(self) -> None:
        """Has the call made when it was not wanted for the time of the delay."""
        self.stop()
        self.want()

    def stop(self) -> None:
        """Has the call not made. Harmless when none waits."""
        timer, self._timer = self._timer, None
        if timer is not None:
            give_up(timer)

    def _fire(self) -> None:
        self._timer = None
        self._call()
