"""Windows that wait for a person stay closed: what they say is noted, what a person would answer is in a queue."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from PySide6 import QtWidgets

messages: list[tuple[str, str]] = []
"""(kind, text) of everything shown, oldest first; kind: ``error warning info question status file``."""

answers: deque[Any] = deque()
"""What a person would answer to the next questions: True or False, a button, a path."""

Box = QtWidgets.QMessageBox.StandardButton


class UnexpectedQuestion(AssertionError):
    """A question was asked and ``host.answers`` is empty."""


def answered(text: str, kind: str = "question") -> Any:
    """Note a question and take its answer.

    Raises:
        UnexpectedQuestion: there is no answer.
    """
    messages.append((kind, text))
    if not answers:
        raise UnexpectedQuestion(f"Nobody expected to be asked: {text}")
    return answers.popleft()


def infoDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """slicer.util's; notes ``("info", text)``."""
    _show(logging.INFO, "info", text)


def warningDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """slicer.util's; notes ``("warning", text)``."""
    _show(logging.WARNING, "warning", text)


def errorDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """slicer.util's; notes ``("error", text)``."""
    _show(logging.ERROR, "error", text)


def _show(level: int, kind: str, text: str) -> None:
    logging.getLogger("host").log(level, text)
    messages.append((kind, text))


def _testing() -> bool:
    """Whether Slicer would run with ``--testing``; then nothing is asked."""
    import slicer

    return slicer.app.testingEnabled()


def confirmOkCancelDisplay(text, windowTitle=None, parent=None, **kwargs):
    """slicer.util's; asks ``host.answers``."""
    return True if _testing() else bool(answered(text))


def confirmYesNoDisplay(text, windowTitle=None, parent=None, **kwargs):
    """slicer.util's; asks ``host.answers``."""
    return True if _testing() else bool(answered(text))


def confirmRetryCloseDisplay(text, windowTitle=None, parent=None, **kwargs):
    """slicer.util's; asks ``host.answers``."""
    return False if _testing() else bool(answered(text))


def messageBox(text, parent=None, **kwargs):
    """slicer.util's; with more buttons than OK the answer comes from ``host.answers``."""
    buttons = kwargs.get("standardButtons", Box.Ok)
    if buttons == Box.Ok or _testing():
        _show(logging.INFO, "info", text)
        return Box.Ok
    return answered(text)


def showStatusMessage(message, duration=0):
    """slicer.util's; notes ``("status", text)`` and writes to the main window's status bar if there is one."""
    import slicer

    window = slicer.util.mainWindow()
    if window is None:
        return False
    messages.append(("status", message))
    window.statusBar().showMessage(message, duration)
    return True


def delayDisplay(message, autoCloseMsec=1000, parent=None, **kwargs):
    """slicer.util's; notes ``("info", text)``; a window that stays until it is clicked is noted all the same."""
    import slicer

    _show(logging.INFO, "info", message)
    slicer.app.processEvents()


DISPLAYS = (
    infoDisplay,
    warningDisplay,
    errorDisplay,
    confirmOkCancelDisplay,
    confirmYesNoDisplay,
    confirmRetryCloseDisplay,
    messageBox,
    showStatusMessage,
    delayDisplay,
)


def _message(kind: str) -> Any:
    def ask(parent: Any, title: str, text: str, buttons: Any = Box.Ok, default: Any = Box.NoButton) -> Any:
        if kind != "question" and buttons == Box.Ok:
            messages.append((kind, text))
            return Box.Ok
        return answered(text)

    return staticmethod(ask)


def _file(several: bool = False) -> Any:
    def ask(parent: Any = None, caption: str = "", directory: str = "", filter: str = "", *more: Any) -> Any:  # noqa: A002
        answer = answered(caption, "file")
        return [str(path) for path in answer] if several else str(answer)

    return staticmethod(ask)


def _value() -> Any:
    def ask(parent: Any, title: str, label: str, *more: Any) -> Any:
        return answered(label)

    return staticmethod(ask)


def replace_static_dialogs() -> None:
    """``QMessageBox.question`` and its like ask ``host.answers``; out-parameters are left away as in PythonQt."""
    for name, kind in (
        ("information", "info"),
        ("warning", "warning"),
        ("critical", "error"),
        ("question", "question"),
    ):
        setattr(QtWidgets.QMessageBox, name, _message(kind))
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, _file())
    QtWidgets.QFileDialog.getOpenFileNames = _file(several=True)
    for name in ("getText", "getInt", "getDouble", "getItem", "getMultiLineText"):
        setattr(QtWidgets.QInputDialog, name, _value())
