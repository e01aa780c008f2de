"""CTK's buttons and message box."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..dialogs import shown
from ..properties import qt_property, stored
from .parts import hear, override

ICON_SPACE_PX = 4
WANTED = "visibilityToParent"
"""The dynamic property in which CTK keeps whether a child was hidden by somebody else."""
KNOWN = "isKnown"


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows and hides what is laid out below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None, *more: Any) -> None:
        text = parent if isinstance(parent, str) else ""
        super().__init__(*(more if text else (parent,)))
        self._folded = self._forcing = self._made = False
        self._highest = self.maximumHeight()
        override(self, "sizeHint", self._size_hint)
        override(self, "minimumSizeHint", self._minimum_size_hint)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Minimum, policy.Preferred)
        self.setContentsMargins(0, self._header().height(), 0, 0)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        hear(self.toggled, self._toggled)

    def _collapsed(self) -> bool:
        return self._folded

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = qt_property(bool, _collapsed, _set_collapsed)
    flat = stored(bool, "flat", False, "update")
    collapsedHeight = stored(int, "collapsedHeight", 14, "updateGeometry")

    def _header(self) -> QtCore.QSize:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        metrics = QtWidgets.QStyle.PixelMetric
        width, height, space = (
            self.style().pixelMetric(metric, option, self)
            for metric in (metrics.PM_IndicatorWidth, metrics.PM_IndicatorHeight, metrics.PM_CheckBoxLabelSpacing)
        )
        text = self.fontMetrics().size(QtCore.Qt.TextFlag.TextShowMnemonic, self.text() or "XXXX")
        size = QtCore.QSize(width + space + bool(self.text()) * text.width(), max(height, text.height()))
        return self.style().sizeFromContents(QtWidgets.QStyle.ContentsType.CT_PushButton, option, size, self)

    def _size_hint(self) -> QtCore.QSize:
        closed = self._header() + QtCore.QSize(0, self.collapsedHeight)
        return closed if self._folded else QtWidgets.QAbstractButton.sizeHint(self).expandedTo(closed)

    def _minimum_size_hint(self) -> QtCore.QSize:
        header = self._header()
        if self._folded:
            return header + QtCore.QSize(0, self.collapsedHeight)
        return QtWidgets.QAbstractButton.minimumSizeHint(self).expandedTo(header)

    def _children(self) -> list[QtWidgets.QWidget]:
        """The children; of a new one it is noted whether somebody has hidden it before."""
        attributes = QtCore.Qt.WidgetAttribute
        options = QtCore.Qt.FindChildOption.FindDirectChildrenOnly
        children = self.findChildren(QtWidgets.QWidget, options=options)
        for child in children:
            if not child.property(KNOWN):
                child.setProperty(KNOWN, True)
                if child.testAttribute(attributes.WA_WState_ExplicitShowHide) and child.isHidden():
                    child.setProperty(WANTED, False)
        return children

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        attributes = QtCore.Qt.WidgetAttribute
        if not self.testAttribute(attributes.WA_WState_Created):
            return
        self._forcing = True
        hidden = child.property(WANTED) is False
        visible = not self._folded and not hidden
        if child.testAttribute(attributes.WA_WState_Created) or not visible:
            child.setVisible(visible)
        if not hidden:
            child.setAttribute(attributes.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def _toggled(self, expanded: bool) -> None:
        if expanded != self._folded:
            return
        self._folded = not expanded
        if expanded:
            self.setMaximumHeight(self._highest)
        else:
            self._highest = self.maximumHeight()
            self.setMaximumHeight(self._size_hint().height())
        for child in self._children():
            self._show_child(child)
        parent = self.parentWidget()
        if expanded and (parent is None or parent.layout() is None):
            self.resize(self._size_hint())
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def setVisible(self, visible: bool) -> None:
        children = self._children()
        self._forcing = True
        super().setVisible(visible)
        self._forcing = False
        if not self._made and self.testAttribute(QtCore.Qt.WidgetAttribute.WA_WState_Created):
            self._made = True
            for child in children:
                self._show_child(child)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        # Not as soon as it is added, as CTK does it: PySide6 would take a child that is being made for a QObject.
        if event.type() == QtCore.QEvent.Type.ChildPolished and isinstance(event.child(), QtWidgets.QWidget):
            self._children()
            self._show_child(event.child())

    def _told(self, child: QtWidgets.QWidget, visible: bool) -> None:
        """Somebody has shown or hidden a child."""
        if not self._forcing:
            child.setProperty(WANTED, visible)
            if visible:
                self._show_child(child)

    def changeEvent(self, event: QtCore.QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QtCore.QEvent.Type.StyleChange, QtCore.QEvent.Type.FontChange):
            self.setContentsMargins(0, self._header().height(), 0, 0)
            if self._folded:
                self.setMaximumHeight(self._size_hint().height())

    def hitButton(self, pos: QtCore.QPoint) -> bool:
        return 0 <= pos.y() < self._header().height()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, height = QtWidgets.QStylePainter(self), self._header().height()
        header = QtWidgets.QStyleOptionButton()
        header.initFrom(self)
        header.rect = QtCore.QRect(0, 0, self.width(), height)
        header.state |= QtWidgets.QStyle.StateFlag.State_Raised
        if not self.flat:
            painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, header)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(5, (height - 12) // 2, 12, 12)
        elements = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(elements.PE_IndicatorArrowDown if self._folded else elements.PE_IndicatorArrowUp, arrow)
        room = QtCore.QRect(24, 0, self.width() - 28, height)
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextShowMnemonic
        role = QtGui.QPalette.ColorRole.ButtonText
        painter.drawItemText(room, flags, self.palette(), self.isEnabled(), self.text(), role)


def tell_sections() -> None:
    """Have sections told when a child is shown or hidden. CTK uses an event filter, which would be slow in Python."""
    for name, visible in (("setVisible", None), ("setHidden", None), ("show", True), ("hide", False)):
        setattr(QtWidgets.QWidget, name, _telling(getattr(QtWidgets.QWidget, name), name == "setHidden", visible))


def _telling(plain: Any, inverted: bool, visible: bool | None) -> Any:
    def call(self: QtWidgets.QWidget, *args: bool) -> None:
        plain(self, *args)
        section = self.parentWidget()
        if isinstance(section, ctkCollapsibleButton):
            section._told(self, bool(args[0]) != inverted if visible is None else visible)

    return call


class ctkPushButton(QtWidgets.QPushButton):
    """A button whose text is elided where there is no room for it."""

    elideMode = stored(object, "elideMode", QtCore.Qt.TextElideMode.ElideNone, "updateGeometry")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        override(self, "sizeHint", self._size_hint)
        override(self, "minimumSizeHint", self._minimum_size_hint)

    def _size_hint(self) -> QtCore.QSize:
        return self._hint(self.text() or "XXXX")

    def _minimum_size_hint(self) -> QtCore.QSize:
        return self._size_hint() if self.elideMode == QtCore.Qt.TextElideMode.ElideNone else self._hint("...")

    def _hint(self, text: str) -> QtCore.QSize:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        shown, icon = self.fontMetrics().size(QtCore.Qt.TextFlag.TextShowMnemonic, text), self.iconSize()
        size = QtCore.QSize(icon.width() + ICON_SPACE_PX + shown.width(), max(icon.height(), shown.height()))
        return self.style().sizeFromContents(QtWidgets.QStyle.ContentsType.CT_PushButton, option, size, self)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        self.initStyleOption(option)
        beside = self.iconSize().width() + 4 * ICON_SPACE_PX
        option.text = self.fontMetrics().elidedText(self.text(), self.elideMode, self.width() - beside)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)


class ctkMessageBox(QtWidgets.QMessageBox):
    """What slicer.util's functions show; it never opens. Not showing it again is left away."""

    def exec_(self) -> Any:
        return shown(self)
