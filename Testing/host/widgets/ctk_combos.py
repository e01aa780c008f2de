"""CTK's combo boxes."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import qt_property, stored
from .parts import ShownTextComboBox, hear


class ctkComboBox(ShownTextComboBox):
    """A combo box with a text for no choice."""

    returnRelease = QtCore.Signal()

    defaultText = stored(str, "defaultText", "", "update")
    defaultIcon = stored(QtGui.QIcon, "defaultIcon", QtGui.QIcon())
    forceDefault = stored(bool, "forceDefault", False, "update")

    def _shown_text(self) -> str:
        return self.defaultText if self.currentIndex() < 0 or self.forceDefault else self.currentText()

    def _user_data(self) -> str:
        return str(self.currentData() or "")

    def setCurrentUserDataAsString(self, text: str) -> None:
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = qt_property(str, _user_data, setCurrentUserDataAsString)


class ctkCheckableComboBox(ShownTextComboBox):
    """A combo box with a box to check in each entry."""

    checkedIndexesChanged = QtCore.Signal()
    returnRelease = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        hear(self.view().pressed, self._toggle)

    def _shown_text(self) -> str:
        return ", ".join(index.data() for index in self.checkedIndexes()) or self.currentText()

    def _indexes(self) -> list[QtCore.QModelIndex]:
        return [self.model().index(row, 0) for row in range(self.count())]

    def checkableModel(self) -> QtCore.QAbstractItemModel:
        return self.model()

    def checkState(self, index: QtCore.QModelIndex) -> Any:
        state = index.data(QtCore.Qt.ItemDataRole.CheckStateRole)
        return QtCore.Qt.CheckState.Unchecked if state is None else QtCore.Qt.CheckState(state)

    def setCheckState(self, index: QtCore.QModelIndex, state: Any) -> None:
        if state != self.checkState(index):
            self.model().setData(index, state, QtCore.Qt.ItemDataRole.CheckStateRole)
            self.update()
            self.checkedIndexesChanged.emit()

    def _toggle(self, index: QtCore.QModelIndex) -> None:
        states = QtCore.Qt.CheckState
        self.setCheckState(index, states.Unchecked if self.checkState(index) == states.Checked else states.Checked)

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        return [index for index in self._indexes() if self.checkState(index) == QtCore.Qt.CheckState.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()
