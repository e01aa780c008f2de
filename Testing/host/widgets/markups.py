"""Places markups."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import qt_property, stored
from .ctk_basics import ctkCollapsibleButton
from .parts import Observers, SceneWidget, hear, row_layout


class qSlicerWidget(SceneWidget, QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)


class qMRMLCollapsibleButton(SceneWidget, ctkCollapsibleButton):
    """A collapsible button that hands the scene on."""

    mrmlSceneChanged = QtCore.Signal(object)


class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """Buttons that begin placing a markup and delete its points. Nobody places points here: tests do."""

    activeMarkupsPlaceModeChanged = QtCore.Signal(bool)
    activeMarkupsFiducialPlaceModeChanged = QtCore.Signal(bool)

    ShowPlaceMultipleMarkupsOption = 0
    HidePlaceMultipleMarkupsOption = 1
    ForcePlaceSingleMarkup = 2
    ForcePlaceMultipleMarkups = 3

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers = Observers(self)
        self._place, self._delete = QtWidgets.QToolButton(self), QtWidgets.QToolButton(self)
        self._place.setText("Place")
        self._place.setCheckable(True)
        self._delete.setText("Delete")
        row_layout(self, self._place, self._delete).addStretch(1)
        hear(self._place.toggled, self.setPlaceModeEnabled)
        hear(self._delete.clicked, self.deleteAllPoints)
        self.setEnabled(False)

    def _show_buttons(self) -> None:
        self._place.setVisible(self.buttonsVisible)
        self._delete.setVisible(self.buttonsVisible)

    buttonsVisible = stored(bool, "buttonsVisible", True, "_show_buttons")
    deleteAllControlPointsOptionVisible = stored(bool, "deleteAllControlPointsOptionVisible", True)
    deleteAllMarkupsOptionVisible = stored(bool, "deleteAllMarkupsOptionVisible", True)
    unsetLastControlPointOptionVisible = stored(bool, "unsetLastControlPointOptionVisible", False)
    unsetAllControlPointsOptionVisible = stored(bool, "unsetAllControlPointsOptionVisible", False)
    placeMultipleMarkups = stored(int, "placeMultipleMarkups", 0)
    defaultNodeColor = stored(QtGui.QColor, "defaultNodeColor", QtGui.QColor())
    placeModePersistency = stored(bool, "placeModePersistency", False)

    def setButtonsVisible(self, visible: bool) -> None:
        self.buttonsVisible = visible

    def setPlaceMultipleMarkups(self, option: int) -> None:
        self.placeMultipleMarkups = option

    def setPlaceModePersistency(self, persistent: bool) -> None:
        self.placeModePersistency = persistent

    def setDefaultNodeColor(self, color: QtGui.QColor) -> None:
        self.defaultNodeColor = color

    def setDeleteAllMarkupsOptionVisible(self, visible: bool) -> None:
        self.deleteAllMarkupsOptionVisible = visible

    def setDeleteAllControlPointsOptionVisible(self, visible: bool) -> None:
        self.deleteAllControlPointsOptionVisible = visible

    def currentNode(self) -> Any:
        return self._node

    def currentMarkupsNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if node is not self._node:
            self._is_placing() and self.setPlaceModeEnabled(False)
        self._node = node if node is not None and node.IsA("vtkMRMLMarkupsNode") else None
        self._observers.clear()
        for observed in (self._node, self.interactionNode(), self.selectionNode()):
            if observed is not None:
                self._observers.add(observed, "ModifiedEvent", "_update")
        self._update()

    def _singleton(self, kind: str) -> Any:
        return self._scene.GetSingletonNode("Singleton", kind) if self._scene is not None else None

    def interactionNode(self) -> Any:
        return self._singleton("vtkMRMLInteractionNode")

    def selectionNode(self) -> Any:
        return self._singleton("vtkMRMLSelectionNode")

    def _is_active(self) -> bool:
        selection = self.selectionNode()
        return (
            self._node is not None and selection is not None and selection.GetActivePlaceNodeID() == self._node.GetID()
        )

    def setCurrentNodeActive(self, active: bool) -> None:
        if self.selectionNode() is not None and self._node is not None:
            self.selectionNode().SetReferenceActivePlaceNodeClassName(self._node.GetClassName() if active else None)
            self.selectionNode().SetActivePlaceNodeID(self._node.GetID() if active else None)

    def _is_placing(self) -> bool:
        interaction = self.interactionNode()
        return (
            self._is_active()
            and interaction is not None
            and interaction.GetCurrentInteractionMode() == interaction.Place
        )

    def setPlaceModeEnabled(self, enabled: bool) -> None:
        interaction = self.interactionNode()
        if interaction is None or self._node is None or enabled == self._is_placing():
            self._update()
            return
        if enabled:
            self.setCurrentNodeActive(True)
        interaction.SetPlaceModePersistence(self.placeModePersistency)
        interaction.SetCurrentInteractionMode(interaction.Place if enabled else interaction.ViewTransform)
        self._update()
        self.activeMarkupsPlaceModeChanged.emit(enabled)
        self.activeMarkupsFiducialPlaceModeChanged.emit(enabled)

    currentNodeActive = qt_property(bool, _is_active, setCurrentNodeActive)
    placeModeEnabled = qt_property(bool, _is_placing, setPlaceModeEnabled)

    def _color(self) -> QtGui.QColor:
        display = self._node.GetDisplayNode() if self._node is not None else None
        return QtGui.QColor.fromRgbF(*display.GetSelectedColor()) if display is not None else self.defaultNodeColor

    def setNodeColor(self, color: QtGui.QColor) -> None:
        if self._node is not None:
            self._node.CreateDefaultDisplayNodes()
            self._node.GetDisplayNode().SetSelectedColor(color.redF(), color.greenF(), color.blueF())

    nodeColor = qt_property(QtGui.QColor, _color, setNodeColor)

    def _update(self) -> None:
        self.setEnabled(self._node is not None and self._scene is not None)
        self._place.blockSignals(True)
        self._place.setChecked(self._is_placing())
        self._place.blockSignals(False)

    def placeButton(self) -> QtWidgets.QToolButton:
        return self._place

    def deleteButton(self) -> QtWidgets.QToolButton:
        return self._delete

    def deleteAllPoints(self) -> None:
        if self._node is not None:
            self._node.RemoveAllControlPoints()

    def deleteLastPoint(self) -> None:
        if self._node is not None and self._node.GetNumberOfControlPoints():
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)
