"""CTK's fields for files and folders. Dialogs are not opened: ``host.answers`` holds the path."""

from __future__ import annotations

import re
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..dialogs import answered
from ..properties import handed_on, qt_property, stored
from ..qtmodule import Settings
from .ctk_basics import ctkPushButton
from .parts import hear, override, row_layout

HISTORY = 5
Policy = QtWidgets.QSizePolicy.Policy


def name_pattern(filters: list[str]) -> str:
    """What a path must match for name filters such as ``Images (*.png *.jpg)``; without endings anything but nothing.

    As in CTK the last letter of an ending is optional, capitals matter, and ``*`` among others allows nothing more.
    """
    found = [re.match(r".*\*\.(\w+)", part) for text in filters for part in re.sub(r".*\(|\).*", "", text).split()]
    endings = [rf".*\.{match.group(1)}?" for match in found if match]
    return f"({'|'.join(endings)})" if endings else ".+"


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a history and a button that opens a dialog."""

    validInputChanged = QtCore.Signal(bool)
    currentPathChanged = QtCore.Signal(str)

    Dirs = QtCore.QDir.Filter.Dirs
    Files = QtCore.QDir.Filter.Files
    Readable = QtCore.QDir.Filter.Readable
    Writable = QtCore.QDir.Filter.Writable
    Executable = QtCore.QDir.Filter.Executable
    Hidden = QtCore.QDir.Filter.Hidden
    NoDotAndDotDot = QtCore.QDir.Filter.NoDotAndDotDot

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._valid = False
        self._hints: dict[bool, QtCore.QSize] = {}
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._edit = self._box.lineEdit()
        self._edit.setValidator(QtGui.QRegularExpressionValidator(self))
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        self._button.setSizePolicy(Policy.Fixed, Policy.Ignored)
        row_layout(self, self._box, self._button).setSpacing(0)
        self.setSizePolicy(Policy.Expanding, Policy.Fixed)
        override(self, "sizeHint", self._size_hint)
        override(self, "minimumSizeHint", self._minimum_size_hint)
        self._filter()
        self.retrieveHistory()
        hear(self._button.clicked, self.browse)
        hear(self._edit.textChanged, self._edited)

    def _filter(self) -> None:
        self._edit.validator().setRegularExpression(QtCore.QRegularExpression(name_pattern(self.nameFilters)))

    def _edited(self, text: str) -> None:
        before, self._valid = self._valid, self._edit.hasAcceptableInput()
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def _path(self) -> str:
        return self._edit.text()

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    currentPath = qt_property(str, _path, setCurrentPath)
    filters = stored(object, "filters", QtCore.QDir.Filter.AllEntries)
    nameFilters = stored(list, "nameFilters", [], "_filter")
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "", "retrieveHistory")
    minimumContentsLength = stored(int, "minimumContentsLength", 0)

    def browse(self) -> None:
        caption = "Open a file" if self.filters & self.Files else "Select a directory..."
        answer = answered(caption, "file")
        if answer:
            self.setCurrentPath(str(answer))

    def _history_key(self) -> str:
        return "ctkPathLineEdit/" + (self.settingKey or self.objectName())

    def _history(self) -> list[str]:
        found = Settings().value(self._history_key()) or []
        return [found] if isinstance(found, str) else list(found)

    def retrieveHistory(self) -> None:
        """Nobody is told, though the path is the last one of the history where there was none."""
        path = self._path()
        blocked = self.blockSignals(True)
        self._box.clear()
        self._box.addItems(self._history()[:HISTORY])
        if path:
            self.setCurrentPath(path)
        self.blockSignals(blocked)

    def addCurrentPathToHistory(self) -> None:
        """The entries are moved with their signals: other paths may be announced on the way."""
        path = self._path()
        if not path:
            return
        Settings().setValue(self._history_key(), [path, *(other for other in self._history() if other != path)])
        if self._box.findText(path) >= 0:
            self._box.removeItem(self._box.findText(path))
        while self._box.count() >= HISTORY:
            self._box.removeItem(self._box.count() - 1)
        self._box.insertItem(0, path)
        self._box.setCurrentIndex(0)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._box

    def _size_hint(self) -> QtCore.QSize:
        return self._hint(least=False)

    def _minimum_size_hint(self) -> QtCore.QSize:
        return self._hint(least=True)

    def _hint(self, least: bool) -> QtCore.QSize:
        """Worked out once, from the path that is there when it is asked for first."""
        if least not in self._hints:
            style, option = self._box.style(), QtWidgets.QStyleOptionComboBox()
            arrow = style.subControlRect(
                QtWidgets.QStyle.ComplexControl.CC_ComboBox,
                option,
                QtWidgets.QStyle.SubControl.SC_ComboBoxArrow,
                self._box,
            )
            metrics, text, letters = self._edit.fontMetrics(), self._path(), self.minimumContentsLength
            width = 0
            if not (least and letters):
                width = metrics.boundingRect(text).width() + 8 if text else 7 * metrics.horizontalAdvance("x")
            width = max(width, letters * metrics.horizontalAdvance("X"))
            width += arrow.width() + 2 + 6 + 1 + self._button.minimumSizeHint().width()
            self._hints[least] = QtCore.QSize(width, self._box.minimumSizeHint().height())
        return self._hints[least]


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and opens a dialog."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = QtCore.QDir()
        self._button = ctkPushButton(self)
        self._button.elideMode = QtCore.Qt.TextElideMode.ElideMiddle
        self._button.setSizePolicy(Policy.Expanding, Policy.Fixed)
        self._button.setIcon(self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon))
        row_layout(self, self._button)
        self.setSizePolicy(Policy.Expanding, Policy.Fixed)
        hear(self._button.clicked, self.browse)
        self._show()

    def _show(self) -> None:
        self._button.setText(self.text or self._directory.absolutePath())

    def _get(self) -> str:
        return self._directory.path()

    def _set(self, folder: str) -> None:
        new = QtCore.QDir(folder)
        changed = new != self._directory
        if changed:
            self._directory.setPath(new.absolutePath())
            self._show()
        self.directorySelected.emit(new.absolutePath())
        if changed:
            self.directoryChanged.emit(new.absolutePath())

    def _elide(self) -> Any:
        return self._button.elideMode

    def _set_elide(self, mode: Any) -> None:
        self._button.elideMode = mode
        shrinks = mode != QtCore.Qt.TextElideMode.ElideNone
        self._button.setSizePolicy(Policy.Expanding if shrinks else Policy.MinimumExpanding, Policy.Fixed)

    directory = qt_property(str, _get, _set)
    text = stored(str, "text", "", "_show")
    caption = stored(str, "caption", "")
    elideMode = qt_property(object, _elide, _set_elide)
    icon = handed_on(QtGui.QIcon, "_button", "icon")

    def browse(self) -> str:
        answer = answered(self.caption or self.toolTip() or "Choose a folder", "file")
        if answer:
            self._set(str(answer))
        return str(answer or "")
