"""The module ``qt``: PySide6's classes in one flat module, as PythonQt has them."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

PYSIDE_ONLY = {"QtMsgType", "QEnum", "QFlag", "QT_TR_NOOP", "QT_TR_NOOP_UTF8", "QT_TRANSLATE_NOOP"}
"""What the modules of PySide6 hold besides Qt's classes; Signal, Slot and Property do not start with Q."""

WITH_EXEC = (QtWidgets.QDialog, QtWidgets.QMenu, QtCore.QEventLoop, QtCore.QThread, QtCore.QCoreApplication)


class Settings(QtCore.QSettings):
    """QSettings without PySide6's third argument of ``value``, which Slicer does not know."""

    def value(self, key: str, default: Any = None) -> Any:
        return super().value(key, default)


Settings.__name__ = Settings.__qualname__ = "QSettings"


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
    for cls in WITH_EXEC:
        if not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
    return module
