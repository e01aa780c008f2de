"""Widgets for segmentation nodes."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import qt_property, stored
from .ctk_basics import ctkMenuButton
from .nodes import qMRMLNodeComboBox, qMRMLWidget
from .parts import Observers, hear, row_layout

SEGMENT_ID = QtCore.Qt.ItemDataRole.UserRole
VISIBLE, COLOR, OPACITY, NAME = range(4)
EXTENDED = QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection.value
SEGMENT_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


def segment_ids(node: Any) -> list[str]:
    """Identifiers of a node's segments, in their order; none of None."""
    return list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []


def observe_segments(observers: Observers, node: Any, method: str) -> None:
    """Call a widget's method when a segment of the node comes, goes or changes."""
    observers.clear()
    if node is not None:
        segmentation = node.GetSegmentation()
        for name in SEGMENT_EVENTS:
            observers.add(segmentation, getattr(segmentation, name), method)


class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes closed surfaces and shows or hides them."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observers = Observers(self)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        hear(self.clicked, self._clicked)

    def _lock_changed(self) -> None:
        self._update()

    locked = stored(bool, "locked", False, "_lock_changed")

    def setLocked(self, locked: bool) -> None:
        self.locked = locked

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        observe_segments(self._observers, node, "_update")
        if node is not None:
            self._observers.add(node, node.DisplayModifiedEvent, "_update")
        self._update()

    def _surface_name(self) -> str:
        return vtk_segmentation_converter().GetSegmentationClosedSurfaceRepresentationName()

    def _update(self) -> None:
        node = self._node
        self.setEnabled(node is not None and bool(segment_ids(node)) and not self.locked)
        shown = False
        if node is not None and node.GetDisplayNode() is not None:
            shown = node.GetSegmentation().ContainsRepresentation(self._surface_name())
            shown = shown and bool(node.GetDisplayNode().GetVisibility3D())
        self.blockSignals(True)
        self.setChecked(shown)
        self.blockSignals(False)

    def _clicked(self, checked: bool) -> None:
        if self._node is None:
            return
        if checked:
            self._node.CreateClosedSurfaceRepresentation()
        display = self._node.GetDisplayNode()
        if display is not None:
            display.SetVisibility3D(checked)
        self._update()


def vtk_segmentation_converter() -> Any:
    """The class with the names of representations."""
    import slicer

    return slicer.vtkSegmentationConverter


class qMRMLSegmentsTableView(qMRMLWidget):
    """A table of segments: visible or not, colour, opacity, name."""

    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = QtCore.Signal(str)

    selectionMode = stored(
        int, "selectionMode", QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection.value, "_layout"
    )
    headerVisible = stored(bool, "headerVisible", True, "_layout")
    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True, "_layout")
    colorColumnVisible = stored(bool, "colorColumnVisible", True, "_layout")
    opacityColumnVisible = stored(bool, "opacityColumnVisible", False, "_layout")
    statusColumnVisible = stored(bool, "statusColumnVisible", False)
    layerColumnVisible = stored(bool, "layerColumnVisible", False)
    readOnly = stored(bool, "readOnly", False, "_fill")
    filterBarVisible = stored(bool, "filterBarVisible", False, "_layout")
    textFilter = stored(str, "textFilter", "", "_fill")
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    useTerminologySelector = stored(bool, "useTerminologySelector", True)
    segmentCount = qt_property(int, lambda self: len(segment_ids(self._node)))

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._hidden: list[str] = []
        self._observers = Observers(self)
        self._filter = QtWidgets.QLineEdit(self)
        self._filter.setPlaceholderText("Filter segments by name...")
        hear(self._filter.textChanged, self.setTextFilter)
        self._table = QtWidgets.QTableWidget(0, 4, self)
        self._table.setHorizontalHeaderLabels(["", "", "Opacity", "Name"])
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.verticalHeader().hide()
        header = self._table.horizontalHeader()
        for column in (VISIBLE, COLOR, OPACITY):
            header.setSectionResizeMode(column, QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._filter)
        layout.addWidget(self._table)
        hear(self._table.itemChanged, self._edited)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        self._layout()

    def _layout(self) -> None:
        self._filter.setVisible(self.filterBarVisible)
        self._table.horizontalHeader().setVisible(self.headerVisible)
        self._table.setColumnHidden(VISIBLE, not self.visibilityColumnVisible)
        self._table.setColumnHidden(COLOR, not self.colorColumnVisible)
        self._table.setColumnHidden(OPACITY, not self.opacityColumnVisible)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(self.selectionMode))

    def setSelectionMode(self, mode: int) -> None:
        self.selectionMode = mode

    def setHeaderVisible(self, visible: bool) -> None:
        self.headerVisible = visible

    def setVisibilityColumnVisible(self, visible: bool) -> None:
        self.visibilityColumnVisible = visible

    def setColorColumnVisible(self, visible: bool) -> None:
        self.colorColumnVisible = visible

    def setOpacityColumnVisible(self, visible: bool) -> None:
        self.opacityColumnVisible = visible

    def setStatusColumnVisible(self, visible: bool) -> None:
        self.statusColumnVisible = visible

    def setLayerColumnVisible(self, visible: bool) -> None:
        self.layerColumnVisible = visible

    def setReadOnly(self, read_only: bool) -> None:
        self.readOnly = read_only

    def setFilterBarVisible(self, visible: bool) -> None:
        self.filterBarVisible = visible

    def setTextFilter(self, text: str) -> None:
        self.textFilter = text

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node if node is not None and node.IsA("vtkMRMLSegmentationNode") else None
        observe_segments(self._observers, self._node, "_fill")
        if self._node is not None:
            self._observers.add(self._node, self._node.DisplayModifiedEvent, "_fill")
        self._fill()

    def displayedSegmentIDs(self) -> list[str]:
        shown = []
        for segment_id in segment_ids(self._node):
            name = self._node.GetSegmentation().GetSegment(segment_id).GetName() or ""
            if segment_id not in self._hidden and self.textFilter.lower() in name.lower():
                shown.append(segment_id)
        return shown

    def _fill(self) -> None:
        selected = self.selectedSegmentIDs()
        self._table.blockSignals(True)
        shown = self.displayedSegmentIDs()
        self._table.setRowCount(len(shown))
        for row, segment_id in enumerate(shown):
            self._fill_row(row, segment_id)
        self._table.blockSignals(False)
        self.setSelectedSegmentIDs([segment_id for segment_id in selected if segment_id in shown])

    def _fill_row(self, row: int, segment_id: str) -> None:
        flags = QtCore.Qt.ItemFlag
        fixed = flags.ItemIsEnabled | flags.ItemIsSelectable
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        items = [QtWidgets.QTableWidgetItem() for _ in range(4)]
        visible = display is None or display.GetSegmentVisibility(segment_id)
        states = QtCore.Qt.CheckState
        items[VISIBLE].setCheckState(states.Checked if visible else states.Unchecked)
        items[COLOR].setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
        items[OPACITY].setText(f"{display.GetSegmentOpacity3D(segment_id):.2f}" if display is not None else "")
        items[NAME].setText(segment.GetName() or "")
        for column, item in enumerate(items):
            item.setData(SEGMENT_ID, segment_id)
            item.setFlags(fixed | (flags.ItemIsUserCheckable if column == VISIBLE else flags.NoItemFlags))
            self._table.setItem(row, column, item)
        if not self.readOnly:
            items[NAME].setFlags(fixed | flags.ItemIsEditable)

    def _edited(self, item: QtWidgets.QTableWidgetItem) -> None:
        segment_id = item.data(SEGMENT_ID)
        if item.column() == NAME:
            self.segmentAboutToBeModified.emit(segment_id)
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())
        elif item.column() == VISIBLE and self._node.GetDisplayNode() is not None:
            visible = item.checkState() == QtCore.Qt.CheckState.Checked
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, visible)

    def rowForSegmentID(self, segment_id: str) -> int:
        shown = self.displayedSegmentIDs()
        return shown.index(segment_id) if segment_id in shown else -1

    def segmentIDForRow(self, row: int) -> str:
        shown = self.displayedSegmentIDs()
        return shown[row] if 0 <= row < len(shown) else ""

    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted(index.row() for index in self._table.selectionModel().selectedRows(NAME))
        return [self._table.item(row, NAME).data(SEGMENT_ID) for row in rows if self._table.item(row, NAME)]

    def setSelectedSegmentIDs(self, wanted: list[str]) -> None:
        self._table.clearSelection()
        flags = QtCore.QItemSelectionModel.SelectionFlag
        for segment_id in wanted:
            index = self._table.model().index(self.rowForSegmentID(segment_id), NAME)
            self._table.selectionModel().select(index, flags.Select | flags.Rows)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def setHideSegments(self, hidden: list[str]) -> None:
        self._hidden = hidden
        self._fill()

    def hideSegments(self) -> list[str]:
        return self._hidden

    def showOnlySelectedSegments(self) -> None:
        chosen, display = self.selectedSegmentIDs(), self._node.GetDisplayNode() if self._node else None
        if chosen and display is not None:
            for segment_id in segment_ids(self._node):
                display.SetSegmentVisibility(segment_id, segment_id in chosen)

    def tableWidget(self) -> QtWidgets.QTableView:
        return self._table


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Chooses a segmentation and one of its segments."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal(list)
    nodeAboutToBeEdited = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = False
        self._nodes.removeEnabled = False
        self._segments = QtWidgets.QComboBox(self)
        self._chosen: list[str] = []
        self._observers = Observers(self)
        row_layout(self, self._nodes, self._segments)
        hear(self._nodes.currentNodeChanged[object], self._node_changed)
        hear(self._segments.currentIndexChanged, self._announce)

    def _scene_changed(self) -> None:
        self._nodes.setMRMLScene(self._scene)

    def _set_none(self) -> None:
        self._nodes.noneEnabled = self.noneEnabled
        self._fill()

    def _show_selector(self) -> None:
        self._nodes.setVisible(self.segmentationNodeSelectorVisible)

    noneEnabled = stored(bool, "noneEnabled", False, "_set_none")
    editEnabled = stored(bool, "editEnabled", False)
    segmentationNodeSelectorVisible = stored(bool, "segmentationNodeSelectorVisible", True, "_show_selector")
    multiSelection = stored(bool, "multiSelection", False)
    horizontalLayout = stored(bool, "horizontalLayout", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)

    def _node_changed(self, node: Any) -> None:
        observe_segments(self._observers, node, "_fill")
        self._fill()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)

    def _fill(self) -> None:
        chosen, node = self.currentSegmentID(), self.currentNode()
        self._segments.blockSignals(True)
        self._segments.clear()
        if self.noneEnabled:
            self._segments.addItem("None", "")
        for segment_id in segment_ids(node):
            self._segments.addItem(node.GetSegmentation().GetSegment(segment_id).GetName(), segment_id)
        index = self._segments.findData(chosen)
        self._segments.setCurrentIndex(index if index >= 0 else min(0, self._segments.count() - 1))
        self._segments.blockSignals(False)
        if self.currentSegmentID() != chosen:
            self._announce()

    def _announce(self) -> None:
        self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._nodes.setCurrentNodeID(node_id)

    def currentSegmentID(self) -> str:
        return self._segments.currentData() or ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._segments.setCurrentIndex(self._segments.findData(segment_id))

    def segmentIDs(self) -> list[str]:
        return segment_ids(self.currentNode())

    def selectedSegmentIDs(self) -> list[str]:
        if not self.multiSelection:
            return [self.currentSegmentID()] if self.currentSegmentID() else []
        return [segment_id for segment_id in self._chosen if segment_id in self.segmentIDs()]

    def setSelectedSegmentIDs(self, wanted: list[str]) -> None:
        self._chosen = [segment_id for segment_id in wanted if segment_id in self.segmentIDs()]
        self.segmentSelectionChanged.emit(self._chosen)
