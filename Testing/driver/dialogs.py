"""Slicer's windows that wait for a person, replaced by notes and answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

MESSAGES = {"infoDisplay": "info", "warningDisplay": "warning", "errorDisplay": "error", "delayDisplay": "info"}
"""Function of ``slicer.util`` to the kind of what it shows."""
QUESTIONS = ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay")
"""Functions of ``slicer.util`` that return whether the person agrees."""
FILES = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
"""Static methods of ``QFileDialog``."""


class UnexpectedQuestion(AssertionError):
    """A question was asked and nobody has an answer."""


def replace(messages: list[tuple[str, str]], answers: deque[Any]) -> None:
    """Replaces them in this process, for good.

    Args:
        messages: gets (kind, text) of all that would be shown.
        answers: what the person answers, taken from its left end.
    """
    import qt
    import slicer

    def answered(text: str, kind: str = "question") -> Any:
        messages.append((kind, text))
        if not answers:
            raise UnexpectedQuestion(f"Nobody expected to be asked: {text}")
        return answers.popleft()

    def message(kind: str) -> Callable[..., None]:
        return lambda text, *_more, **_options: messages.append((kind, text))

    def question(ask: Callable[..., bool]) -> Callable[..., bool]:
        """While testing Slicer asks nobody; what it answers then is its own affair."""

        def asked(text: str, *more: Any, **options: Any) -> bool:
            return ask(text, *more, **options) if slicer.app.testingEnabled() else bool(answered(text))

        return asked

    def box(text: str, parent: Any = None, **options: Any) -> Any:
        buttons = options.get("standardButtons", qt.QMessageBox.Ok)
        if buttons == qt.QMessageBox.Ok or slicer.app.testingEnabled():
            messages.append(("info", text))
            return qt.QMessageBox.Ok
        return answered(text)

    def status(text: str, *_more: Any) -> bool:
        if slicer.util.mainWindow() is None:
            return False
        messages.append(("status", text))
        return True

    def file(name: str) -> Callable[..., Any]:
        def chosen(_parent: Any = None, caption: str = "", *_more: Any) -> Any:
            answer = answered(caption, "file")
            return [str(path) for path in answer] if name.endswith("s") else str(answer)

        return chosen

    for name, kind in MESSAGES.items():
        setattr(slicer.util, name, message(kind))
    for name in QUESTIONS:
        setattr(slicer.util, name, question(getattr(slicer.util, name)))
    slicer.util.messageBox = box
    slicer.util.showStatusMessage = status
    for name in FILES:
        setattr(qt.QFileDialog, name, staticmethod(file(name)))
