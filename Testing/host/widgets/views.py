"""Plots of the scene, drawn by VTK's own charts."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from ..properties import qt_property
from .nodes import qMRMLWidget
from .parts import Observers, SceneWidget, override

AXES = (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.TOP, vtk.vtkAxis.LEFT, vtk.vtkAxis.RIGHT)
PENS = (
    vtk.vtkPen.NO_PEN,
    vtk.vtkPen.SOLID_LINE,
    vtk.vtkPen.DASH_LINE,
    vtk.vtkPen.DOT_LINE,
    vtk.vtkPen.DASH_DOT_LINE,
    vtk.vtkPen.DASH_DOT_DOT_LINE,
)
"""In the order of vtkMRMLPlotSeriesNode's line styles."""


class ctkVTKChartView(QtWidgets.QWidget):
    """A chart, rendered off screen whenever Qt paints it."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._chart = vtk.vtkChartXY()
        self._view: Any = None

    title = qt_property(str, lambda self: self._chart.GetTitle() or "", lambda self, text: self._chart.SetTitle(text))

    def chart(self) -> Any:
        return self._chart

    def _rendered(self) -> QtGui.QImage:
        if self._view is None:
            self._view = vtk.vtkContextView()
            self._view.GetRenderWindow().SetOffScreenRendering(1)
            self._view.GetScene().AddItem(self._chart)
        window = self._view.GetRenderWindow()
        window.SetSize(self.width(), self.height())
        self._view.GetScene().SetDirty(True)
        self._view.Render()
        source = vtk.vtkWindowToImageFilter()
        source.SetInput(window)
        source.ReadFrontBufferOff()
        writer = vtk.vtkPNGWriter()
        writer.SetInputConnection(source.GetOutputPort())
        writer.WriteToMemoryOn()
        writer.Write()
        return QtGui.QImage.fromData(bytes(memoryview(writer.GetResult())))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        QtGui.QPainter(self).drawImage(0, 0, self._rendered())


class qMRMLPlotView(SceneWidget, ctkVTKChartView):
    """Draws the lines of the view's chart: series with a table, a column for x and one for y."""

    mrmlSceneChanged = QtCore.Signal(object)
    dataSelected = QtCore.Signal(object, object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._plots: dict[str, Any] = {}
        self._observers = Observers(self)
        self._updating = False
        override(self, "sizeHint", self._size_hint)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding)

    def _size_hint(self) -> QtCore.QSize:
        return QtCore.QSize()

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        if node is not self._node:
            self._node = node
            self._observe()

    def _scene_changed(self) -> None:
        self._observe()

    def _observe(self) -> None:
        self._observers.clear()
        if self._node is not None:
            self._observers.add(self._node, "ModifiedEvent", "_observe")
        chart = self._chart_node()
        if chart is not None:
            # A chart is modified when one of its series or their tables is.
            self._observers.add(chart, "ModifiedEvent", "_show")
        self._show()

    def _chart_node(self) -> Any:
        if self._node is None or self._scene is None:
            return None
        return self._scene.GetNodeByID(self._node.GetPlotChartNodeID() or "")

    def _show(self) -> None:
        """Brings the plots in line with the nodes. Their axes are the ones of the first drawing."""
        if self._updating or self._node is None or self._scene is None:
            return
        self._updating = True
        node = self._chart_node()
        count = node.GetNumberOfPlotSeriesNodes() if node is not None else 0
        series = {found.GetID(): found for n in range(count) if (found := node.GetNthPlotSeriesNode(n)) is not None}
        for key in [key for key in self._plots if key not in series or _columns(series[key]) is None]:
            self._chart.RemovePlotInstance(self._plots.pop(key))
        for key, line in series.items():
            columns = _columns(line)
            if columns is not None:
                plot = self._plots.get(key) or vtk.vtkPlotLine()
                _dress(plot, line, columns)
                if key not in self._plots:
                    self._plots[key] = plot
                    self._chart.AddPlot(plot)
        if node is not None:
            self._dress_chart(node)
        self._updating = False
        self.update()

    def _dress_chart(self, node: Any) -> None:
        self._chart.SetTitle((node.GetTitle() or "") if node.GetTitleVisibility() else "")
        self._chart.SetShowLegend(bool(node.GetLegendVisibility()))
        for number in AXES:
            axis, letter = self._chart.GetAxis(number), "X" if number in AXES[:2] else "Y"
            visible = getattr(node, f"Get{letter}AxisTitleVisibility")()
            axis.SetTitle((getattr(node, f"Get{letter}AxisTitle")() or "") if visible else "")
            axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
            axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
            axis.SetGridVisible(bool(node.GetGridVisibility()))
            if getattr(node, f"Get{letter}AxisRangeAuto")():
                axis.SetBehavior(vtk.vtkAxis.AUTO)
            else:
                axis.SetBehavior(vtk.vtkAxis.FIXED)
                axis.SetUnscaledRange(*getattr(node, f"Get{letter}AxisRange")())

    def fitToContent(self) -> None:
        """Sets the axes, fixed ones too, and writes them into the chart's node."""
        bounds = [found for found in map(_bounds, self._plots.values()) if found is not None]
        if bounds:
            lows, highs = [min(b[i] for b in bounds) for i in (0, 2)], [max(b[i] for b in bounds) for i in (1, 3)]
            for axis, low, high in zip((vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT), lows, highs, strict=True):
                self._chart.GetAxis(axis).SetUnscaledRange(low, high)
                self._chart.GetAxis(axis).AutoScale()
        node = self._chart_node()
        if node is not None:
            for letter, axis in (("X", vtk.vtkAxis.BOTTOM), ("Y", vtk.vtkAxis.LEFT)):
                found = [0.0, 0.0]
                self._chart.GetAxis(axis).GetUnscaledRange(found)
                getattr(node, f"Set{letter}AxisRange")(found)
        self.update()


def _bounds(plot: Any) -> list[float] | None:
    found = [0.0] * 4
    plot.GetBounds(found)
    return found if found[0] <= found[1] else None


def _columns(series: Any) -> tuple[Any, str, str] | None:
    """Table and columns of x and y; None where one that the series needs is missing."""
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    names = (
        series.GetXColumnName() if series.IsXColumnRequired() else series.GetYColumnName(),
        series.GetYColumnName(),
    )
    if table is None or any(not name or table.GetColumnByName(name) is None for name in names):
        return None
    return (table, *names)


def _dress(plot: Any, series: Any, columns: tuple[Any, str, str]) -> None:
    plot.SetWidth(series.GetLineWidth())
    plot.SetColorF(*series.GetColor())
    plot.GetPen().SetLineType(PENS[series.GetLineStyle()])
    plot.SetMarkerStyle(series.GetMarkerStyle())
    plot.SetMarkerSize(series.GetMarkerSize())
    plot.SetUseIndexForXSeries(not series.IsXColumnRequired())
    plot.SetInputData(*columns)
    plot.SetLabel(series.GetName() or columns[2])


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view; its bar of buttons is left away."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def _scene_changed(self) -> None:
        self._view.setMRMLScene(self._scene)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self) -> Any:
        return self._view.mrmlPlotViewNode()

    def plotView(self) -> Any:
        return self._view
