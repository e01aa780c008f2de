"""CTK's fields for files and folders. Dialogs are not opened: ``host.answers`` holds the path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..dialogs import answered
from ..properties import qt_property, stored
from ..qtmodule import Settings
from .parts import hear, row_layout

HISTORY = 10
BESIDE_PX = 36
"""Of a folder button: its icon and margins."""


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
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        row_layout(self, self._box, self._button)
        hear(self._button.clicked, self.browse)
        hear(self._box.editTextChanged, self._edited)
        self._valid = False

    def _edited(self, text: str) -> None:
        valid = self._is_valid(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(text)

    def _is_valid(self, text: str) -> bool:
        path = Path(text)
        if not text or not path.exists():
            return bool(text) and not self.filters & self.Readable and path.parent.exists()
        return path.is_dir() if not self.filters & self.Files else True

    def _path(self) -> str:
        return self._box.currentText()

    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    currentPath = qt_property(str, _path, setCurrentPath)
    filters = stored(object, "filters", QtCore.QDir.Filter.AllEntries)
    nameFilters = stored(list, "nameFilters", [])
    options = stored(object, "options", 0)
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "", "retrieveHistory")
    minimumContentsLength = stored(int, "minimumContentsLength", 0)
    showBrowseButton = stored(bool, "showBrowseButton", True, "_show_buttons")
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def _show_buttons(self) -> None:
        self._button.setVisible(self.showBrowseButton)

    def browse(self) -> None:
        answer = answered(self.label or "Choose a path", "file")
        if answer:
            self.setCurrentPath(str(answer))
            self.addCurrentPathToHistory()

    def _history_key(self) -> str:
        return "ctkPathLineEdit/" + self.settingKey

    def retrieveHistory(self) -> None:
        path = self._path()
        found = Settings().value(self._history_key()) or []
        self._box.clear()
        self._box.addItems([found] if isinstance(found, str) else list(found))
        self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        if self.settingKey and self._path():
            found = Settings().value(self._history_key()) or []
            known = [found] if isinstance(found, str) else list(found)
            Settings().setValue(self._history_key(), [self._path(), *(p for p in known if p != self._path())][:HISTORY])
            self.retrieveHistory()

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._box


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and opens a dialog."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = str(Path.cwd())
        self._button = QtWidgets.QPushButton(self)
        self._button.setIcon(self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon))
        row_layout(self, self._button)
        hear(self._button.clicked, self.browse)
        self._show()

    def _show(self) -> None:
        shown, whole = self.text or self._directory, self.elideMode == QtCore.Qt.TextElideMode.ElideNone
        policy = QtWidgets.QSizePolicy.Policy.Minimum if whole else QtWidgets.QSizePolicy.Policy.Ignored
        self._button.setSizePolicy(policy, QtWidgets.QSizePolicy.Policy.Fixed)
        self._button.setText(self.fontMetrics().elidedText(shown, self.elideMode, self._button.width() - BESIDE_PX))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._show()

    def _get(self) -> str:
        return self._directory

    def _set(self, folder: str) -> None:
        absolute = str(Path(folder).absolute())
        if absolute != self._directory:
            self._directory = absolute
            self._show()
            self.directoryChanged.emit(absolute)

    directory = qt_property(str, _get, _set)
    text = stored(str, "text", "", "_show")
    caption = stored(str, "caption", "")
    elideMode = stored(object, "elideMode", QtCore.Qt.TextElideMode.ElideNone, "_show")
    icon = stored(QtGui.QIcon, "icon", QtGui.QIcon())
    options = stored(object, "options", 0)

    def browse(self) -> str:
        answer = answered(self.caption or "Choose a folder", "file")
        if answer:
            self._set(str(answer))
            self.directorySelected.emit(self._directory)
        return self._directory
