"""CTK's combo boxes."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from ..properties import qt_property, stored
from .parts import ShownTextComboBox, hear, override


class ctkComboBox(ShownTextComboBox):
    """A combo box with a text for no choice."""

    returnRelease = QtCore.Signal()

    defaultText = stored(str, "defaultText", "", "_forget_hint")
    forceDefault = stored(bool, "forceDefault", False, "_forget_hint")
    elideMode = stored(object, "elideMode", QtCore.Qt.TextElideMode.ElideNone, "update")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._hints: dict[bool, QtCore.QSize] = {}
        override(self, "sizeHint", self._size_hint)
        override(self, "minimumSizeHint", self._minimum_size_hint)

    def _forget_hint(self) -> None:
        self._hints.pop(False, None)
        self.update()

    def _size_hint(self) -> QtCore.QSize:
        return self._hint(least=False)

    def _minimum_size_hint(self) -> QtCore.QSize:
        return self._hint(least=True)

    def _hint(self, least: bool) -> QtCore.QSize:
        """Worked out once, from the entries that are there when it is asked for first."""
        if least not in self._hints:
            policies, policy = QtWidgets.QComboBox.SizeAdjustPolicy, self.sizeAdjustPolicy()
            metrics, letters, width = self.fontMetrics(), self.minimumContentsLength(), 0
            fitting = policy in (policies.AdjustToContents, policies.AdjustToContentsOnFirstShow)
            if fitting and not (least and letters):
                texts = [self.itemText(index) for index in range(self.count())]
                if not texts or self.forceDefault:
                    texts.append(self.defaultText or 7 * "x")
                width = max(metrics.boundingRect(text).width() for text in texts)
            size = QtCore.QSize(max(width, letters * metrics.horizontalAdvance("x")), max(metrics.height(), 14) + 2)
            option = QtWidgets.QStyleOptionComboBox()
            self.initStyleOption(option)
            kind = QtWidgets.QStyle.ContentsType.CT_ComboBox
            self._hints[least] = self.style().sizeFromContents(kind, option, size, self)
        return self._hints[least]

    def changeEvent(self, event: QtCore.QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QtCore.QEvent.Type.StyleChange, QtCore.QEvent.Type.FontChange):
            self._hints.clear()

    def _shown_text(self) -> str:
        text = self.defaultText if self.currentIndex() < 0 or self.forceDefault else self.currentText()
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        parts = QtWidgets.QStyle.ComplexControl.CC_ComboBox, QtWidgets.QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(parts[0], option, parts[1], self)
        return self.fontMetrics().elidedText(text, self.elideMode, room.width())

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
        self._checked: list[QtCore.QPersistentModelIndex] = []
        hear(self.view().pressed, self._toggle)
        hear(self.model().dataChanged, self._compare)

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
        self.model().setData(index, state, QtCore.Qt.ItemDataRole.CheckStateRole)

    def _compare(self) -> None:
        checked = [QtCore.QPersistentModelIndex(index) for index in self.checkedIndexes()]
        if checked != self._checked:
            self._checked = checked
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
