"""A plot of the panel's own: nodes in no list and in no saved scene, and a view that no layout shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

FONT_SIZE = 12
LABEL, PLACE = "label", "place"


class PanelPlot:
    """A chart over one table, in a view of its own.

    Args:
        name: of the view, unique in Slicer.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._widget: Any = None
        self._nodes: list[Any] = []
        self.table: Any = None
        self.chart: Any = None

    def show(
        self, layout: Any, labels: Sequence[str], lines: Sequence[tuple[str, tuple[int, int, int], Sequence[float]]]
    ) -> None:
        """Draws lines over the places 1, 2 and so on.

        Args:
            layout: gets the plot's widget at the first call: a panel that draws nothing needs no graphics.
            labels: what is said of a place where the mouse points at it.
            lines: name, colour (RGB, 0 to 255) and values, one per place; NaN: none.
        """
        self.close()
        if self._widget is None:
            self._widget = slicer.qMRMLPlotWidget()
            self._widget.setMRMLScene(slicer.mrmlScene)
            layout.addWidget(self._widget)
        self.table = self._new("vtkMRMLTableNode", self._name)
        self.table.AddColumn(_strings(LABEL, labels))
        self.table.AddColumn(_numbers(PLACE, range(1, len(labels) + 1)))
        self.chart = self._new("vtkMRMLPlotChartNode", self._name)
        self.chart.SetTitleVisibility(False)
        self.chart.SetXAxisRangeAuto(False)
        self.chart.SetXAxisRange(0.5, len(labels) + 0.5)
        for size in (self.chart.SetAxisTitleFontSize, self.chart.SetAxisLabelFontSize, self.chart.SetLegendFontSize):
            size(FONT_SIZE)
        for number, (name, color, values) in enumerate(lines):
            column = f"{number} {name}"
            self.table.AddColumn(_numbers(column, values))
            self._add_line(name, column, color)
        self._show_chart()

    def close(self) -> None:
        """Removes the nodes. Harmless when there are none."""
        nodes, self._nodes = self._nodes, []
        self.table = self.chart = None
        if nodes:
            self._widget.setMRMLPlotViewNode(None)
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

    def _add_line(self, name: str, column: str, color: tuple[int, int, int]) -> None:
        line = self._new("vtkMRMLPlotSeriesNode", name)
        line.SetAndObserveTableNodeID(self.table.GetID())
        # Slicer's type Line ignores the column of x.
        line.SetPlotType(line.PlotTypeScatter)
        line.SetLabelColumnName(LABEL)
        line.SetXColumnName(PLACE)
        line.SetYColumnName(column)
        line.SetColor(*(value / 255 for value in color))
        line.SetLineStyle(line.LineStyleSolid)
        line.SetMarkerStyle(line.MarkerStyleCircle)
        self.chart.AddAndObservePlotSeriesNodeID(line.GetID())

    def _show_chart(self) -> None:
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
        self._widget.setMRMLPlotViewNode(view)


def _strings(name: str, values: Sequence[str]) -> Any:
    array = vtk.vtkStringArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    return array


def _numbers(name: str, values: Sequence[float]) -> Any:
    array = vtk.vtkDoubleArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    return array
