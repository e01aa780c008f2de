"""Tables and plots of the scene."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import stored
from .nodes import qMRMLWidget
from .parts import Observers, SceneWidget, hear

MARGIN_PX = (64, 26, 12, 40)
"""Left, top, right, bottom of a plot's axes."""


class TableModel(QtCore.QAbstractTableModel):
    """The cells of a vtkMRMLTableNode."""

    node: Any = None

    def rowCount(self, parent: Any = None) -> int:
        return self.node.GetNumberOfRows() if self.node is not None else 0

    def columnCount(self, parent: Any = None) -> int:
        return self.node.GetNumberOfColumns() if self.node is not None else 0

    def data(self, index: Any, role: int = QtCore.Qt.ItemDataRole.DisplayRole) -> Any:
        shown = role in (QtCore.Qt.ItemDataRole.DisplayRole, QtCore.Qt.ItemDataRole.EditRole)
        return self.node.GetCellText(index.row(), index.column()) if shown and self.node is not None else None

    def headerData(self, section: int, orientation: Any, role: int = QtCore.Qt.ItemDataRole.DisplayRole) -> Any:
        if role != QtCore.Qt.ItemDataRole.DisplayRole or self.node is None:
            return None
        is_column = orientation == QtCore.Qt.Orientation.Horizontal
        return self.node.GetColumnName(section) if is_column else str(section + 1)

    def setData(self, index: Any, value: Any, role: int = QtCore.Qt.ItemDataRole.EditRole) -> bool:
        return bool(self.node.SetCellText(index.row(), index.column(), str(value)))

    def flags(self, index: Any) -> Any:
        flags = super().flags(index)
        locked = self.node is None or self.node.GetLocked()
        return flags if locked else flags | QtCore.Qt.ItemFlag.ItemIsEditable


class qMRMLTableView(SceneWidget, QtWidgets.QTableView):
    """Shows a table node."""

    mrmlSceneChanged = QtCore.Signal(object)
    selectionChanged = QtCore.Signal()

    transposed = stored(bool, "transposed", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)
    firstColumnLocked = stored(bool, "firstColumnLocked", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = TableModel(self)
        self._observers = Observers(self)
        self.setModel(self._model)
        hear(self.selectionModel().selectionChanged, self._selected)

    def _selected(self) -> None:
        self.selectionChanged.emit()

    def mrmlTableNode(self) -> Any:
        return self._model.node

    def setMRMLTableNode(self, node: Any) -> None:
        self._observers.clear()
        self._model.node = node
        if node is not None:
            self._observers.add(node, "ModifiedEvent", "_reset")
        self._reset()

    def _reset(self) -> None:
        self._model.beginResetModel()
        self._model.endResetModel()

    def insertRow(self) -> None:
        self._model.node.AddEmptyRow()

    def deleteRow(self) -> None:
        for row in sorted({index.row() for index in self.selectedIndexes()}, reverse=True):
            self._model.node.RemoveRow(row)

    def copySelection(self) -> None:
        indexes = sorted(self.selectedIndexes(), key=lambda index: (index.row(), index.column()))
        rows: dict[int, list[str]] = {}
        for index in indexes:
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(cells) for cells in rows.values()))


class ctkVTKChartView(QtWidgets.QWidget):
    """A chart."""

    title = stored(str, "title", "", "update")


class qMRMLPlotView(SceneWidget, ctkVTKChartView):
    """Draws the lines of the view's chart: series with a table, a column for x and one for y."""

    mrmlSceneChanged = QtCore.Signal(object)
    dataSelected = QtCore.Signal(object, object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view_node: Any = None
        self._observers = Observers(self)
        self.setMinimumHeight(120)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view_node = node
        self._observe()

    def _observe(self) -> None:
        self._observers.clear()
        if self._view_node is not None:
            self._observers.add(self._view_node, "ModifiedEvent", "_observe")
        chart = self._chart()
        if chart is not None:
            # As in Slicer: a chart is modified when one of its series or their tables is.
            self._observers.add(chart, "ModifiedEvent", "update")
        self.update()

    def _chart(self) -> Any:
        return self._view_node.GetPlotChartNode() if self._view_node is not None else None

    def _series(self) -> list[Any]:
        chart = self._chart()
        count = chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0
        return [chart.GetNthPlotSeriesNode(index) for index in range(count)]

    def fitToContent(self) -> None:
        self.update()

    def saveAsSVG(self, file_name: str) -> None:
        raise NotImplementedError("qMRMLPlotView.saveAsSVG exists in Slicer; Testing/host does not have it yet")

    def _lines(self) -> list[tuple[Any, list[tuple[float, float]]]]:
        """(series, points) of the series with the columns of numbers that their type needs."""
        return [(series, _points(series)) for series in self._series() if series is not None]

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QtCore.Qt.GlobalColor.white)
        lines = [(series, points) for series, points in self._lines() if any(map(_is_good, points))]
        left, top, right, bottom = MARGIN_PX
        room = QtCore.QRectF(self.rect()).adjusted(left, top, -right, -bottom)
        painter.setPen(QtGui.QColor(90, 90, 90))
        painter.drawRect(room)
        chart = self._chart()
        if chart is not None:
            self._write(painter, room, chart)
        if not lines:
            return
        good = [point for _, points in lines for point in points if _is_good(point)]
        xs, ys = ([point[axis] for point in good] for axis in (0, 1))
        box = (min(xs), min(ys), (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0)
        self._label_axes(painter, room, box)
        for number, (series, points) in enumerate(lines):
            painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*series.GetColor()), 1.6))
            for piece in _unbroken(points):
                self._draw(painter, series, [_place(room, box, point) for point in piece])
            if chart.GetLegendVisibility():
                right = QtCore.QRectF(room.left(), room.top() + 4 + 14 * number, room.width() - 6, 14)
                painter.drawText(right, QtCore.Qt.AlignmentFlag.AlignRight, series.GetName() or "")

    def _draw(self, painter: QtGui.QPainter, series: Any, places: list[QtCore.QPointF]) -> None:
        if series.GetLineStyle() != series.LineStyleNone:
            painter.drawPolyline(places)
        if series.GetMarkerStyle() != series.MarkerStyleNone:
            for place in places:
                painter.drawEllipse(place, 2, 2)

    def _write(self, painter: QtGui.QPainter, room: QtCore.QRectF, chart: Any) -> None:
        flags = QtCore.Qt.AlignmentFlag.AlignCenter
        above = QtCore.QRectF(room.left(), 0, room.width(), room.top())
        below = QtCore.QRectF(room.left(), room.bottom() + 18, room.width(), 20)
        painter.drawText(above, flags, (chart.GetTitle() or "") if chart.GetTitleVisibility() else "")
        painter.drawText(below, flags, chart.GetXAxisTitle() or "")
        painter.save()
        painter.translate(12, room.center().y())
        painter.rotate(-90)
        painter.drawText(QtCore.QRectF(-80, -8, 160, 16), flags, chart.GetYAxisTitle() or "")
        painter.restore()

    def _label_axes(self, painter: QtGui.QPainter, room: QtCore.QRectF, box: tuple[float, ...]) -> None:
        flags = QtCore.Qt.AlignmentFlag
        for part in (0.0, 0.5, 1.0):
            x, y = room.left() + part * room.width(), room.bottom() - part * room.height()
            below = QtCore.QRectF(x - 30, room.bottom() + 3, 60, 14)
            beside = QtCore.QRectF(18, y - 7, room.left() - 22, 14)
            painter.drawText(below, flags.AlignHCenter, f"{box[0] + part * box[2]:.3g}")
            painter.drawText(beside, flags.AlignRight | flags.AlignVCenter, f"{box[1] + part * box[3]:.3g}")


def _points(series: Any) -> list[tuple[float, float]]:
    """The points of a series; none where a column that it needs is missing. Lines and bars ignore the column of x."""
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    if table is None:
        return []
    xs, ys = (table.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName()))
    needs_x = bool(series.IsXColumnRequired())
    if ys is None or (needs_x and xs is None):
        return []
    count = table.GetNumberOfRows()
    values = [xs.GetVariantValue(i).ToDouble() if needs_x else float(i) for i in range(count)]
    return [(x, ys.GetVariantValue(i).ToDouble()) for i, x in enumerate(values)]


def _is_good(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))


def _unbroken(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The pieces between points that are no numbers: VTK breaks a line there."""
    return [list(piece) for good, piece in groupby(points, _is_good) if good]


def _place(room: QtCore.QRectF, box: tuple[float, ...], point: tuple[float, float]) -> QtCore.QPointF:
    return QtCore.QPointF(
        room.left() + room.width() * (point[0] - box[0]) / box[2],
        room.bottom() - room.height() * (point[1] - box[1]) / box[3],
    )


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view; its bar of buttons is left away."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        self._node: Any = None
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def _scene_changed(self) -> None:
        self._view.setMRMLScene(self._scene)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._view.setMRMLPlotViewNode(node)

    setMRMLAbstractViewNode = setMRMLPlotViewNode

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    mrmlAbstractViewNode = mrmlPlotViewNode

    def plotView(self) -> Any:
        return self._view

    viewWidget = plotView
