"""A plot of the panel's own: nodes in no list and in no saved scene, and a view that no layout shows."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import qt
import slicer
import vtk

FONT_SIZE = 12
HEIGHT_PX = 220
FEWEST_ROWS = 2
"""VTK reports an error at every paint of a line of fewer points."""


class PlotNodes:
    """Tables, lines, a chart, a view, and the widget that shows it.

    Attributes:
        widget: None before the first :meth:`show`: a panel that draws nothing needs no graphics.
        legend: the label below it, which says what is drawn in which colour: a legend in the plot would hide lines.
        chart: None while there is none.

    Args:
        name: of the view, unique in Slicer.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._lines: list[Any] = []
        self._waiting: list[Any] = []
        self.widget: Any = None
        self.legend: Any = None
        self.chart: Any = None

    @property
    def are_there(self) -> bool:
        """Whether the nodes are in the scene, which may have been closed since they were made."""
        scene = slicer.mrmlScene
        return bool(self._nodes) and all(scene.GetNodeByID(node.GetID()) is node for node in self._nodes)

    def add_table(self, name: str, columns: Iterable[Any]) -> Any:
        """A table node with VTK's arrays as columns."""
        table = self._new("vtkMRMLTableNode", name)
        for column in columns:
            table.AddColumn(column)
        return table

    def add_chart(self, name: str, x_title: str = "", y_title: str = "") -> Any:
        """The chart; lines come into it."""
        self.chart = self._new("vtkMRMLPlotChartNode", name)
        self.chart.SetTitleVisibility(False)
        self.chart.SetLegendVisibility(False)
        self.chart.SetXAxisTitle(x_title)
        self.chart.SetYAxisTitle(y_title)
        self.chart.SetAxisTitleFontSize(FONT_SIZE)
        self.chart.SetAxisLabelFontSize(FONT_SIZE)
        return self.chart

    def add_line(
        self, name: str, table: Any, columns: tuple[str, str], color: tuple[int, int, int], marked: bool = True
    ) -> Any:
        """A line, which comes into the chart as soon as it can be drawn: see :meth:`draw_lines`.

        Args:
            name: in the legend.
            table: the node that has the numbers.
            columns: of x and of y.
            color: RGB, 0 to 255.
            marked: with a circle at each point.
        """
        line = self._new("vtkMRMLPlotSeriesNode", name)
        line.SetAndObserveTableNodeID(table.GetID())
        # Slicer's type Line ignores the column of x.
        line.SetPlotType(line.PlotTypeScatter)
        line.SetXColumnName(columns[0])
        line.SetYColumnName(columns[1])
        line.SetColor(*(value / 255 for value in color))
        line.SetLineStyle(line.LineStyleSolid)
        line.SetMarkerStyle(line.MarkerStyleCircle if marked else line.MarkerStyleNone)
        self._lines.append(line)
        self._waiting.append(line)
        return line

    def draw_lines(self, fit: bool = False) -> None:
        """Draws the lines that have enough points now.

        Args:
            fit: also brings all points into view: Slicer's plot keeps the axes of its first drawing.
        """
        for line in self._waiting[:]:
            if line.GetTableNode().GetTable().GetNumberOfRows() >= FEWEST_ROWS:
                self._waiting.remove(line)
                self.chart.AddAndObservePlotSeriesNodeID(line.GetID())
        if fit:
            self.widget.plotView().fitToContent()

    def show(self, layout: Any) -> None:
        """Shows the chart in a widget, which the layout gets at the first call."""
        if self.widget is None:
            self.widget = slicer.qMRMLPlotWidget()
            self.widget.setMRMLScene(slicer.mrmlScene)
            self.widget.minimumHeight = HEIGHT_PX
            layout.addWidget(self.widget)
            self.legend = qt.QLabel()
            self.legend.wordWrap = True
            layout.addWidget(self.legend)
        self.legend.text = " &nbsp; ".join(map(_legend_entry, self._lines))
        owner = self._new("vtkMRMLScriptedModuleNode", self._name)
        view = slicer.mrmlScene.CreateNodeByClass("vtkMRMLPlotViewNode")
        view.UnRegister(None)
        view.SetName(self._name)
        view.SetLayoutName(self._name)
        view.SetLayoutLabel(self._name[:1])
        # The layout manager leaves a view alone that belongs to another node.
        view.SetAndObserveParentLayoutNodeID(owner.GetID())
        view = self._add(view)
        view.SetPlotChartNodeID(self.chart.GetID())
        self.widget.setMRMLPlotViewNode(view)
        self.draw_lines()

    def close(self) -> None:
        """Removes the nodes. Harmless when there are none."""
        nodes, self._nodes = self._nodes, []
        self._lines, self._waiting = [], []
        self.chart = None
        if nodes and self.widget is not None:
            self.widget.setMRMLPlotViewNode(None)
            self.legend.text = ""
        for node in reversed(nodes):
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)

    def _new(self, kind: str, name: str) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(name)
        return self._add(node)

    def _add(self, node: Any) -> Any:
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        added = slicer.mrmlScene.AddNode(node)
        self._nodes.append(added)
        return added


def _legend_entry(line: Any) -> str:
    red, green, blue = (round(255 * value) for value in line.GetColor())
    return f'<span style="color: #{red:02x}{green:02x}{blue:02x}">■</span>&nbsp;{escape(line.GetName())}'


def number_column(name: str, values: Iterable[float] = ()) -> Any:
    """VTK's array of numbers."""
    return _column(vtk.vtkDoubleArray(), name, values)


def text_column(name: str, values: Iterable[str] = ()) -> Any:
    """VTK's array of texts."""
    return _column(vtk.vtkStringArray(), name, values)


def _column(array: Any, name: str, values: Iterable[Any]) -> Any:
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    return array
