"""The event loop, a person's mouse, and pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtTest, QtWidgets

PAUSE_MS = 5


def pump(until: Callable[[], bool] = lambda: False, timeout_s: float = 0.05) -> bool:
    """Run the event loop until something holds; False if it does not within the time."""
    loop = QtCore.QEventLoop()
    timer = QtCore.QTimer()
    timer.setInterval(PAUSE_MS)
    end = time.monotonic() + timeout_s
    timer.timeout.connect(lambda: loop.quit() if until() or time.monotonic() > end else None)
    timer.start()
    if not until():
        loop.exec()
    timer.stop()
    return bool(until())


def click(button: QtWidgets.QWidget) -> bool:
    """Click with the mouse as a person does; nothing happens on a button that is hidden or disabled.

    Returns:
        Whether it could be clicked.
    """
    if not _reachable(button):
        return False
    place = button.rect().center()
    if isinstance(button, QtWidgets.QCheckBox):
        place = QtCore.QPoint(10, button.height() // 2)
    elif type(button).__name__ in ("ctkCollapsibleButton", "qMRMLCollapsibleButton"):
        place = QtCore.QPoint(40, 10)
    QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier, place)
    QtWidgets.QApplication.processEvents()
    return True


def _reachable(widget: QtWidgets.QWidget) -> bool:
    """Whether a person can reach a widget once its window is shown; shows it."""
    window = widget.window()
    if not widget.isEnabled() or (widget is not window and not widget.isVisibleTo(window)):
        return False
    window.show()
    QtWidgets.QApplication.processEvents()
    return True


def choose(combo: QtWidgets.QWidget, text: str) -> bool:
    """Choose the entry with a text in a combo box or node selector, as a person does.

    Returns:
        Whether it could be chosen: the box is shown and enabled, and has this entry.
    """
    box = combo if isinstance(combo, QtWidgets.QComboBox) else combo.findChild(QtWidgets.QComboBox)
    index = box.findText(text)
    if index < 0 or not _reachable(box):
        return False
    box.setCurrentIndex(index)
    box.activated.emit(index)
    QtWidgets.QApplication.processEvents()
    return True


class Gaps:
    """How long the event loop stood still."""

    def __init__(self) -> None:
        self.largest_ms = 0.0
        self._last = time.perf_counter()

    def tick(self) -> None:
        """The event loop has turned."""
        now = time.perf_counter()
        self.largest_ms = max(self.largest_ms, 1000 * (now - self._last))
        self._last = now


@contextmanager
def event_loop_gaps() -> Iterator[Gaps]:
    """Measures, while it is open, the longest time between two turns of the event loop: ``gaps.largest_ms``."""
    gaps = Gaps()
    timer = QtCore.QTimer()
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.setInterval(PAUSE_MS)
    timer.timeout.connect(gaps.tick)
    timer.start()
    try:
        yield gaps
    finally:
        gaps.tick()
        timer.stop()


def grab(widget: QtWidgets.QWidget, path: Path | str, width: int = 0) -> Path:
    """Save a picture of a widget as PNG, ``width`` pixels wide and as high as it wants to be if given.

    Raises:
        OSError: the picture cannot be written.
    """
    window: Any = widget
    if width:
        window.resize(width, max(window.sizeHint().height(), window.heightForWidth(width)))
    window.show()
    for _ in range(3):
        QtWidgets.QApplication.processEvents()
    if width:
        window.resize(width, window.sizeHint().height())
        QtWidgets.QApplication.processEvents()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not window.grab().save(str(path)):
        raise OSError(f"The picture {path} cannot be written")
    return path
