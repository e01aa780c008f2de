"""CTK's buttons, boxes and texts."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import qt_property, stored
from .parts import hear

HEADER_PX = 24


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows and hides what is laid out below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None, *more: Any) -> None:
        text = parent if isinstance(parent, str) else ""
        super().__init__(*(more if text else (parent,)))
        self._hidden_by_collapsing: list[QtWidgets.QWidget] = []
        self._highest = self.maximumHeight()
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Preferred)
        self.setContentsMargins(1, HEADER_PX, 1, 1)
        self.setMinimumHeight(HEADER_PX)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        hear(self.toggled, self._toggled)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = qt_property(bool, _collapsed, _set_collapsed)
    flat = stored(bool, "flat", False, "update")
    collapsedHeight = stored(int, "collapsedHeight", 14)
    contentsFrameShape = stored(object, "contentsFrameShape", QtWidgets.QFrame.Shape.NoFrame)
    contentsFrameShadow = stored(object, "contentsFrameShadow", QtWidgets.QFrame.Shadow.Plain)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)
    buttonTextAlignment = stored(object, "buttonTextAlignment", QtCore.Qt.AlignmentFlag.AlignLeft)
    indicatorAlignment = stored(object, "indicatorAlignment", QtCore.Qt.AlignmentFlag.AlignLeft)

    def _children(self) -> list[QtWidgets.QWidget]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget) and not child.isWindow()]

    def _toggled(self, expanded: bool) -> None:
        if expanded:
            self.setMaximumHeight(self._highest)
            for child in self._hidden_by_collapsing:
                child.setVisible(True)
            self._hidden_by_collapsing = []
        else:
            self._highest = self.maximumHeight()
            self._hidden_by_collapsing = [child for child in self._children() if not child.isHidden()]
            for child in self._hidden_by_collapsing:
                child.setVisible(False)
            self.setMaximumHeight(HEADER_PX)
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        child = event.child()
        is_new = event.type() == QtCore.QEvent.Type.ChildPolished and isinstance(child, QtWidgets.QWidget)
        if is_new and self._collapsed() and not child.isHidden():
            self._hidden_by_collapsing.append(child)
            child.setVisible(False)

    def hitButton(self, pos: QtCore.QPoint) -> bool:
        return pos.y() < HEADER_PX

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        header = QtWidgets.QStyleOptionButton()
        header.initFrom(self)
        header.rect = QtCore.QRect(0, 0, self.width(), HEADER_PX)
        header.state |= QtWidgets.QStyle.StateFlag.State_Raised
        if not self.flat:
            painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, header)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(5, (HEADER_PX - 12) // 2, 12, 12)
        elements = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            elements.PE_IndicatorArrowDown if self.isChecked() else elements.PE_IndicatorArrowRight, arrow
        )
        room = QtCore.QRect(24, 0, self.width() - 28, HEADER_PX)
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextShowMnemonic
        role = QtGui.QPalette.ColorRole.ButtonText
        painter.drawItemText(room, flags, self.palette(), self.isEnabled(), self.text(), role)


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box; its own icons are not drawn."""

    indicatorIcon = stored(QtGui.QIcon, "indicatorIcon", QtGui.QIcon())
    indicatorIconSize = stored(QtCore.QSize, "indicatorIconSize", QtCore.QSize())


class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu beside it."""


class ctkPushButton(QtWidgets.QPushButton):
    """A button whose text can be aligned; here it is not."""

    buttonTextAlignment = stored(object, "buttonTextAlignment", QtCore.Qt.AlignmentFlag.AlignCenter)
    iconAlignment = stored(object, "iconAlignment", QtCore.Qt.AlignmentFlag.AlignLeft)
    elideMode = stored(object, "elideMode", QtCore.Qt.TextElideMode.ElideNone)


class ctkCheckablePushButton(ctkPushButton):
    """A button with a check box inside."""

    checkBoxToggled = QtCore.Signal(bool)
    checkStateChanged = QtCore.Signal(object)

    def _changed(self) -> None:
        checked = self.checkState == QtCore.Qt.CheckState.Checked
        if self.checkBoxControlsButton:
            self.setCheckable(checked or self.isCheckable())
        self.checkStateChanged.emit(self.checkState)
        self.checkBoxToggled.emit(checked)

    checkState = stored(object, "checkState", QtCore.Qt.CheckState.Unchecked, "_changed")
    checkBoxControlsButton = stored(bool, "checkBoxControlsButton", True)
    checkBoxControlsButtonToggleState = stored(bool, "checkBoxControlsButtonToggleState", True)
    checkBoxUserCheckable = stored(bool, "checkBoxUserCheckable", True)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that may stay away the next time."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._again = QtWidgets.QCheckBox("Don't show this message again")
        self.setCheckBox(self._again)
        self._again.setVisible(False)

    def _is_checked(self) -> bool:
        return self._again.isChecked()

    def setDontShowAgain(self, checked: bool) -> None:
        self._again.setChecked(checked)

    def _is_visible(self) -> bool:
        return not self._again.isHidden()

    def _set_visible(self, visible: bool) -> None:
        self._again.setVisible(visible)

    def _key_changed(self) -> None:
        self._set_visible(bool(self.dontShowAgainSettingsKey))

    dontShowAgain = qt_property(bool, _is_checked, setDontShowAgain)
    dontShowAgainVisible = qt_property(bool, _is_visible, _set_visible)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "", "_key_changed")


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text that is as high as it needs, with a part that can be collapsed."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._collapsible: tuple[str, str] | None = None
        hear(self.document().documentLayout().documentSizeChanged, self._fit)
        self.setOpenLinks(False)
        hear(self.anchorClicked, self._clicked)

    def _fit(self, size: QtCore.QSizeF) -> None:
        self.setFixedHeight(int(size.height()) + 2 * self.frameWidth())

    def _clicked(self, url: QtCore.QUrl) -> None:
        if url.toString() in ("#show_details", "#hide_details"):
            self.collapsed = not self.collapsed

    def _show(self) -> None:
        if self._collapsible is None:
            return
        kind, text = self._collapsible
        marker = {"html": "<br>", "text": "\n"}[kind]
        teaser, found, rest = text.partition(marker)
        if kind == "text":
            teaser, rest = (part.replace("\n", "<br>") for part in (teaser, rest))
        if not found:
            self.setHtml(teaser)
        elif self.collapsed:
            self.setHtml(f'{teaser} <a href="#show_details">{self.showDetailsText}</a>')
        else:
            self.setHtml(f'{teaser}<br>{rest} <a href="#hide_details">{self.hideDetailsText}</a>')

    collapsed = stored(bool, "collapsed", True, "_show")
    showDetailsText = stored(str, "showDetailsText", "Show details...", "_show")
    hideDetailsText = stored(str, "hideDetailsText", "Hide details.", "_show")
    disableMouseScroll = stored(bool, "disableMouseScroll", False)

    def collapsibleText(self) -> str:
        return self._collapsible[1] if self._collapsible else ""

    def _set(self, kind: str, text: str) -> None:
        self._collapsible = (kind, text)
        self._show()

    def setCollapsibleText(self, text: str) -> None:
        self._set("html" if QtCore.Qt.mightBeRichText(text) else "text", text)

    def setCollapsibleHtml(self, text: str) -> None:
        self._set("html", text)

    def setCollapsiblePlainText(self, text: str) -> None:
        self._set("text", text)
