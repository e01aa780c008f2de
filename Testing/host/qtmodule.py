"""The module ``qt``: PySide6's classes in one flat module, as PythonQt has them."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .signals import connect

PYSIDE_ONLY = {"QtMsgType", "QEnum", "QFlag", "QT_TR_NOOP", "QT_TR_NOOP_UTF8", "QT_TRANSLATE_NOOP"}
"""What the modules of PySide6 hold besides Qt's classes; Signal, Slot and Property do not start with Q."""

WITH_EXEC = (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop, QtCore.QThread, QtCore.QCoreApplication)


class Settings(QtCore.QSettings):
    """QSettings without PySide6's third argument of ``value``, which Slicer does not know."""

    def value(self, key: str, default: Any = None) -> Any:
        return super().value(key, default)


Settings.__name__ = Settings.__qualname__ = "QSettings"


def rich_tool_tip(text: str) -> str:
    """As Slicer's application makes it of each tool tip that a widget gets: a paragraph of HTML, which is wrapped."""
    plain = text and not QtGui.Qt.mightBeRichText(text)
    return QtGui.Qt.convertFromPlainText(text, QtCore.Qt.WhiteSpaceMode.WhiteSpaceNormal) if plain else text


def wrap_tool_tips() -> None:
    """Of all widgets. Slicer does it in an event filter of the application, which would be slow in Python."""
    plain_setter = QtWidgets.QWidget.setToolTip

    def setToolTip(self: QtWidgets.QWidget, text: str) -> None:
        plain_setter(self, rich_tool_tip(text))

    QtWidgets.QWidget.setToolTip = setToolTip  # type: ignore[method-assign, assignment]


def single_shot(msec: int, receiverOrCallable: Any, member: str | None = None) -> None:
    """Slicer's ``qt.QTimer.singleShot``: its timer lives until Slicer ends, and what it has called lives as long."""
    import slicer

    timer = QtCore.QTimer(slicer.app.moduleManager())
    timer.setSingleShot(True)
    more = () if callable(receiverOrCallable) else (member,)
    connect(timer, "timeout()", receiverOrCallable, *more)
    timer.start(msec)


def make() -> types.ModuleType:
    """The module; unknown names raise AttributeError as in any module."""
    module = types.ModuleType("qt", "Qt's classes, as Slicer's module qt has them.")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            value = getattr(source, name)
            if name.startswith("Q") and isinstance(value, type) and name not in PYSIDE_ONLY:
                setattr(module, name, value)
    module.Qt = QtCore.Qt  # type: ignore[attr-defined]
    module.QSettings = Settings  # type: ignore[attr-defined]
    QtCore.QTimer.singleShot = staticmethod(single_shot)  # type: ignore[method-assign, assignment]
    wrap_tool_tips()
    for cls in WITH_EXEC:
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
    return module
