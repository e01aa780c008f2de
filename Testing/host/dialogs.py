"""Windows that wait for a person stay closed: what they say is noted, what a person would answer is in a queue."""

from __future__ import annotations

from collections import deque
from typing import Any

from PySide6 import QtWidgets

messages: list[tuple[str, str]] = []
"""(kind, text) of everything shown, oldest first; kind: ``error warning info question file``."""

answers: deque[Any] = deque()
"""What a person would answer to the next questions: True or False, a button, a path."""

Box = QtWidgets.QMessageBox.StandardButton
ACCEPTING = (Box.Yes, Box.Ok, Box.Retry)
ICONS = {
    QtWidgets.QMessageBox.Icon.Critical: "error",
    QtWidgets.QMessageBox.Icon.Warning: "warning",
    QtWidgets.QMessageBox.Icon.Information: "info",
    QtWidgets.QMessageBox.Icon.NoIcon: "info",
}


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


def shown(box: QtWidgets.QMessageBox) -> Any:
    """A message box that is executed: noted, and closed with Ok, or with the button of the answer.

    Raises:
        UnexpectedQuestion: it asks, and there is no answer.
    """
    buttons = box.standardButtons()
    if buttons == Box.Ok:
        messages.append((ICONS.get(box.icon(), "question"), box.text()))
        return Box.Ok
    answer = answered(box.text())
    if not isinstance(answer, bool):
        return answer
    return next(button for button in Box if button & buttons and (button in ACCEPTING) == answer)


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
